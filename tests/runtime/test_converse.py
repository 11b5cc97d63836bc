import asyncio
import gc
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outcrop.fleet.config import TimeoutsConfig
from outcrop.fleet.fleet import Fleet, Served
from outcrop.fleet.http_client import Address
from outcrop.fleet.model_server import ModelServer
from outcrop.fleet.pool import Candidate
from outcrop.fleet.router import Router
from outcrop.metering.invocation import ModelInvocation
from outcrop.runtime.converse import Converse
from outcrop.runtime.inference import Inference
from outcrop.runtime.target import Targets
from outcrop.store.catalogue import Catalogue
from outcrop.wire.errors import AwsError
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ContentBlockDeltaEvent,
    ConverseResponse,
    ConverseStreamMetadataEvent,
    ConverseStreamOutput,
    TokenUsage,
)
from tests.fakes.model_server import (
    Answers,
    AnswersStatus,
    BreaksOffAfter,
    FakeModelServer,
    Script,
    StallsAfter,
    StallsBeforeTheFirstByte,
    delta,
    sse,
    url_that_refuses,
    usage,
)
from tests.fakes.records import FakeInferenceProfiles, FakeProvisionedModelThroughputs
from tests.runtime.admitting import unlimited
from tests.runtime.requests import Answered, answered, converse_request, invocation, stream_request

MODEL_ID = "amazon.nova-lite-v1:0"
ANSWER = sse(delta(""), delta("Hel"), delta("lo"), delta(finish_reason="stop"), usage(9, 2))
BEGUN = b"data: " + sse(delta("Hel")).split(b"data: ")[1]
IMPATIENT = TimeoutsConfig(connect_s=1, first_byte_s=0.05, between_chunks_s=0.05)


class TickingClock:
    """Every look at it takes a second."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


@asynccontextmanager
async def converse_with(
    urls: Sequence[str], timeouts: TimeoutsConfig = IMPATIENT, *, stands_in: bool = False
) -> AsyncGenerator[Converse]:
    servers = [
        # Of two, the first is asked first.
        ModelServer(f"gpu-{number}", Address.parse(url), timeouts=timeouts, weight=10.0**-number)
        for number, url in enumerate(urls)
    ]
    candidates = [
        Candidate(server=server, dialect="openai", served_as="nova", region=None)
        for server in servers
    ]
    served = [] if stands_in else [Served(MODEL_ID, candidate) for candidate in candidates]
    fleet = Fleet(served, stand_in=candidates[0] if stands_in else None)
    targets = Targets(
        Catalogue(), fleet, FakeInferenceProfiles(), FakeProvisionedModelThroughputs()
    )
    try:
        yield Converse(Inference(targets, unlimited(), Router(), clock=TickingClock()))
    finally:
        for server in servers:
            await server.aclose()


def answer_to(script: Script, **body: Any) -> Answered[ConverseResponse]:
    async def main() -> Answered[ConverseResponse]:
        async with FakeModelServer(script) as fake, converse_with([fake.url]) as converse:
            return await answered(converse.converse, converse_request(**body))

    return asyncio.run(main())


def events_of(script: Script) -> list[ConverseStreamOutput]:
    async def main() -> list[ConverseStreamOutput]:
        async with FakeModelServer(script) as fake, converse_with([fake.url]) as converse:
            events = await converse.converse_stream(invocation(), stream_request())
            try:
                return [event async for event in events]
            finally:
                await events.aclose()

    return asyncio.run(main())


def test_an_answer_is_one_message_with_usage_and_the_time_it_took() -> None:
    answer = answer_to(Answers([ANSWER])).output

    assert answer.output.message is not None
    assert answer.output.message.content == [ContentBlock(text="Hello")]
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (9, 2)
    assert answer.metrics.latency_ms == 2000


def test_events_arrive_in_amazons_order() -> None:
    assert [type(event).__name__ for event in events_of(Answers([ANSWER]))] == [
        "MessageStartEvent",
        "ContentBlockDeltaEvent",
        "ContentBlockDeltaEvent",
        "ContentBlockStopEvent",
        "MessageStopEvent",
        "ConverseStreamMetadataEvent",
    ]


def test_metadata_carries_usage_and_latency() -> None:
    *_, metadata = events_of(Answers([ANSWER]))

    assert isinstance(metadata, ConverseStreamMetadataEvent)
    assert metadata.usage == TokenUsage(input_tokens=9, output_tokens=2, total_tokens=11)
    assert metadata.metrics.latency_ms == 2000


def test_cached_input_is_told_apart_for_those_who_asked_for_a_cache() -> None:
    answer = Answers([sse(delta("x"), delta(finish_reason="stop"), usage(9, 2, cached=6))])
    cached = [{"role": "user", "content": [{"text": "x"}, {"cachePoint": {"type": "default"}}]}]

    plain = answer_to(answer).output.usage
    told_apart = answer_to(answer, messages=cached).output.usage

    assert plain == TokenUsage(input_tokens=9, output_tokens=2, total_tokens=11)
    assert (told_apart.input_tokens, told_apart.cache_read_input_tokens) == (3, 6)
    assert told_apart.total_tokens == 11


def test_tier_and_latency_are_echoed() -> None:
    answer = answer_to(
        Answers([ANSWER]),
        serviceTier={"type": "flex"},
        performanceConfig={"latency": "optimized"},
    ).output

    assert answer.service_tier is not None
    assert answer.service_tier.type == "flex"
    assert answer.performance_config is not None
    assert answer.performance_config.latency == "optimized"


def test_who_answered_is_told() -> None:
    assert answer_to(Answers([ANSWER])).served_by == 'gpu-0; model="nova"'


def test_standing_in_is_told() -> None:
    async def main() -> Answered[ConverseResponse]:
        async with (
            FakeModelServer(Answers([ANSWER])) as fake,
            converse_with([fake.url], stands_in=True) as converse,
        ):
            return await answered(converse.converse, converse_request(MODEL_ID))

    assert asyncio.run(main()).served_by == f'gpu-0; model="nova"; stands-in-for="{MODEL_ID}"'


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (AnswersStatus(400, b'{"error":{"message":"no"}}'), "ValidationException"),
        (
            AnswersStatus(400, b'{"error":{"type":"exceed_context_size_error"}}'),
            "ValidationException",
        ),
        (AnswersStatus(401), "ModelErrorException"),
        (AnswersStatus(404), "ModelErrorException"),
        (AnswersStatus(429), "ThrottlingException"),
        (AnswersStatus(500), "ModelErrorException"),
        (AnswersStatus(503), "ServiceUnavailableException"),
        (AnswersStatus(504), "ModelTimeoutException"),
        (StallsBeforeTheFirstByte(), "ModelTimeoutException"),
        (StallsAfter([]), "ModelTimeoutException"),
        (BreaksOffAfter([]), "ServiceUnavailableException"),
        (Answers([b"data: rubbish\n\n"]), "ModelErrorException"),
        (Answers([sse({"error": {"message": "no", "code": 500}})]), "ModelErrorException"),
        (Answers([b"\n"]), "ModelErrorException"),
    ],
    ids=repr,
)
def test_a_failure_before_the_first_event_is_an_ordinary_error(script: Script, error: str) -> None:
    for ask in (answer_to, events_of):
        with pytest.raises(AwsError) as caught:
            ask(script)
        assert caught.value.name == error


def test_a_refused_connection_is_an_unavailable_service() -> None:
    async def main() -> None:
        async with converse_with([url_that_refuses()]) as converse:
            await converse.converse(invocation(), converse_request())

    with pytest.raises(AwsError) as caught:
        asyncio.run(main())

    assert caught.value.name == "ServiceUnavailableException"


def test_the_callers_fault_is_told_in_the_models_words_and_the_servers_is_not() -> None:
    with pytest.raises(AwsError) as callers:
        answer_to(AnswersStatus(400, b'{"error":{"message":"top_k is odd"}}'))
    with pytest.raises(AwsError) as servers:
        answer_to(AnswersStatus(500, b'{"error":{"message":"/secret/path"}}'))

    assert callers.value.message == "The model returned the following errors: top_k is odd"
    assert "secret" not in servers.value.message
    assert servers.value.members == {"originalStatusCode": 500, "resourceName": MODEL_ID}


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (StallsAfter([BEGUN]), "ModelStreamErrorException"),
        (BreaksOffAfter([BEGUN]), "ModelStreamErrorException"),
        (Answers([BEGUN]), "ModelStreamErrorException"),
        (Answers([BEGUN + b"data: rubbish\n\n"]), "ModelStreamErrorException"),
        (Answers([BEGUN, sse({"error": {"code": 429}})]), "ThrottlingException"),
    ],
    ids=repr,
)
def test_events_before_a_failure_go_out_and_then_the_stream_fails(
    script: Script, error: str
) -> None:
    async def main() -> list[str]:
        seen: list[str] = []
        async with FakeModelServer(script) as fake, converse_with([fake.url]) as converse:
            events = await converse.converse_stream(invocation(), stream_request())
            try:
                async for event in events:
                    assert not isinstance(event, ConverseStreamMetadataEvent)
                    if isinstance(event, ContentBlockDeltaEvent):
                        seen.append(event.delta.text or "")
            except AwsError as failure:
                seen.append(failure.name)
            await events.aclose()
        return seen

    assert asyncio.run(main()) == ["Hel", error]


def test_the_next_server_answers_when_the_first_refuses() -> None:
    async def main() -> Answered[ConverseResponse]:
        async with (
            FakeModelServer(AnswersStatus(503)) as busy,
            FakeModelServer(Answers([ANSWER])) as free,
            converse_with([url_that_refuses(), busy.url, free.url]) as converse,
        ):
            return await answered(converse.converse, converse_request())

    assert asyncio.run(main()).served_by == 'gpu-2; model="nova"'


@pytest.mark.parametrize("script", [AnswersStatus(400), BreaksOffAfter([BEGUN])], ids=repr)
def test_no_other_server_is_asked_when_it_could_not_help(script: Script) -> None:
    async def main() -> int:
        async with (
            FakeModelServer(script) as first,
            FakeModelServer(script) as second,
            converse_with([first.url, second.url]) as converse,
        ):
            with pytest.raises(AwsError):
                await converse.converse(invocation(), converse_request())
            return len(first.requests) + len(second.requests)

    assert asyncio.run(main()) == 1


def test_a_caller_that_goes_away_between_events_stops_the_model() -> None:
    async def main() -> None:
        async with (
            FakeModelServer(StallsAfter([BEGUN])) as fake,
            converse_with([fake.url], TimeoutsConfig()) as converse,
        ):
            events = await converse.converse_stream(invocation(), stream_request())
            await events.aclose()
            async with asyncio.timeout(0.1):
                await fake.left.wait()

    asyncio.run(main())


@pytest.mark.parametrize("script", [StallsBeforeTheFirstByte(), StallsAfter([BEGUN])], ids=repr)
def test_a_caller_that_goes_away_while_waiting_stops_the_model(script: Script) -> None:
    async def main() -> None:
        async with (
            FakeModelServer(script) as fake,
            converse_with([fake.url], TimeoutsConfig()) as converse,
            asyncio.TaskGroup() as tasks,
        ):
            asking = tasks.create_task(converse.converse(invocation(), converse_request()))
            await fake.asked.wait()
            asking.cancel()
            async with asyncio.timeout(0.1):
                await fake.left.wait()

    asyncio.run(main())


def test_a_model_that_nobody_serves_is_not_accessible() -> None:
    async def main() -> None:
        async with converse_with([]) as converse:
            await converse.converse(invocation(), converse_request())

    with pytest.raises(AwsError) as caught:
        asyncio.run(main())

    assert caught.value.name == "AccessDeniedException"


@pytest.mark.parametrize("model_id", ["amazon.titan-embed-text-v2:0", "amazon.rerank-v1:0"])
def test_a_model_of_another_kind_is_refused(model_id: str) -> None:
    async def main() -> None:
        async with converse_with(["http://127.0.0.1:1"]) as converse:
            await converse.converse(invocation("us-west-2"), converse_request(model_id))

    with pytest.raises(AwsError, match="This action doesn't support the model"):
        asyncio.run(main())


def test_what_has_been_answered_is_in_memory_no_longer() -> None:
    def invocations() -> int:
        return sum(type(one) is ModelInvocation for one in gc.get_objects())

    async def main() -> int:
        async with (
            FakeModelServer(Answers([ANSWER])) as fake,
            converse_with([fake.url]) as converse,
        ):
            gc.collect()
            gc.disable()
            before = invocations()
            await converse.converse(invocation(), converse_request())
            return invocations() - before

    try:
        assert asyncio.run(main()) == 0
    finally:
        gc.enable()
