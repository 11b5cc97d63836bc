import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from outcrop.fleet.config import TimeoutsConfig
from outcrop.fleet.fleet import Fleet, Served
from outcrop.fleet.http_client import Address
from outcrop.fleet.model_server import ModelServer
from outcrop.fleet.pool import Candidate
from outcrop.fleet.router import Router
from outcrop.runtime.embeddings import Embeddings
from outcrop.runtime.inference import Inference
from outcrop.runtime.invoke_model import InvokeModel
from outcrop.runtime.target import Targets
from outcrop.store.catalogue import Catalogue, CustomModel
from outcrop.wire.errors import AwsError
from outcrop.wire.shapes.bedrock_runtime import (
    InvokeModelRequest,
    InvokeModelResponse,
    InvokeModelWithResponseStreamRequest,
)
from tests.fakes.connections import Request
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
from tests.fakes.records import (
    FakeInferenceProfiles,
    FakeProvisionedModelThroughputs,
    provisioned_model,
)
from tests.runtime.admitting import unlimited
from tests.runtime.requests import ACCOUNT, Answered, answered, invocation
from tests.runtime.test_converse import TickingClock

CLAUDE = "anthropic.claude-haiku-4-5-20251001-v1:0"
PROFILE = f"us.{CLAUDE}"
TITAN = "amazon.titan-embed-text-v2:0"
CUSTOM = CustomModel(
    custom_model_id="abcdefghijkl", custom_model_name="my-claude", base_model_id=CLAUDE
)
BOUGHT = provisioned_model(
    f"arn:aws:bedrock:us-east-1:{ACCOUNT}:provisioned-model/mnopqrstuvwx",
    CUSTOM.arn("aws", "us-east-1", ACCOUNT),
)
IMPATIENT = TimeoutsConfig(connect_s=1, first_byte_s=0.05, between_chunks_s=0.05)
ANSWER = sse(delta(""), delta("Hel"), delta("lo"), delta(finish_reason="stop"), usage(9, 2))
BEGUN = b"data: " + sse(delta("Hel")).split(b"data: ")[1]
BODY: dict[str, Any] = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}
WEATHER = {"name": "weather", "input_schema": {"type": "object"}}


@asynccontextmanager
async def invoking(*urls: str, timeouts: TimeoutsConfig = IMPATIENT) -> AsyncGenerator[InvokeModel]:
    servers = [
        ModelServer(f"gpu-{number}", Address.parse(url), timeouts=timeouts)
        for number, url in enumerate(urls)
    ]
    served = [
        Served(model_id, Candidate(server=server, dialect="openai", served_as="m", region=None))
        for server in servers
        for model_id in (CLAUDE, TITAN, CUSTOM.custom_model_name)
    ]
    targets = Targets(
        Catalogue(custom_models=[CUSTOM]),
        Fleet(served, stand_in=None),
        FakeInferenceProfiles(),
        FakeProvisionedModelThroughputs([BOUGHT]),
    )
    clock, router = TickingClock(), Router()
    inference = Inference(targets, unlimited(), router, clock=clock)
    try:
        yield InvokeModel(inference, Embeddings(unlimited(), router), clock=clock)
    finally:
        for server in servers:
            await server.aclose()


def request(body: Any = BODY, **members: Any) -> InvokeModelRequest:
    return InvokeModelRequest(**{"model_id": PROFILE, "body": native(body), **members})


def stream_request(body: Any = BODY, **members: Any) -> InvokeModelWithResponseStreamRequest:
    given_members = {"model_id": PROFILE, "body": native(body), **members}
    return InvokeModelWithResponseStreamRequest(**given_members)


def native(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def invoked(script: Script, body: Any = BODY, **members: Any) -> Answered[InvokeModelResponse]:
    asked = request(body, **members)

    async def main() -> Answered[InvokeModelResponse]:
        async with FakeModelServer(script) as fake, invoking(fake.url) as invoke:
            return await answered(invoke.invoke_model, asked)

    return asyncio.run(main())


def streamed(script: Script, body: Any = BODY, **members: Any) -> list[Any]:
    """The native chunks, and at their end the error if there is one."""
    asked = stream_request(body, **members)

    async def main() -> list[Any]:
        told: list[Any] = []
        async with FakeModelServer(script) as fake, invoking(fake.url) as invoke:
            chunks = await invoke.invoke_model_with_response_stream(invocation(), asked)
            try:
                async for chunk in chunks:
                    told += [json.loads(chunk.bytes or b"")]
            except AwsError as error:
                told.append(error)
            finally:
                await chunks.aclose()
        return told

    return asyncio.run(main())


def refused(**members: Any) -> AwsError:
    with pytest.raises(AwsError) as caught:
        invoked(Answers([ANSWER]), **members)
    return caught.value


def refused_stream(**members: Any) -> AwsError:
    with pytest.raises(AwsError) as caught:
        streamed(Answers([ANSWER]), **members)
    return caught.value


def asked_of_the_server(body: dict[str, Any]) -> Any:
    async def main() -> Request:
        async with FakeModelServer(Answers([ANSWER])) as fake, invoking(fake.url) as invoke:
            await invoke.invoke_model(invocation(), request(body))
            return fake.requests[0]

    return asyncio.run(main()).json


def test_an_answer_is_the_familys_own_with_counts_beside_it() -> None:
    answer = invoked(Answers([ANSWER]), performance_config_latency="standard", service_tier="flex")

    assert json.loads(answer.output.body)["content"] == [{"type": "text", "text": "Hello"}]
    assert answer.output.content_type == "application/json"
    assert (answer.output.input_token_count, answer.output.output_token_count) == (9, 2)
    assert answer.output.invocation_latency == 4000
    assert answer.output.performance_config_latency == "standard"
    assert answer.output.service_tier == "flex"
    assert answer.served_by == 'gpu-0; model="m"'


def test_a_custom_model_speaks_as_its_base_model_does() -> None:
    model_id = BOUGHT.provisioned_model_arn

    answer = json.loads(invoked(Answers([ANSWER]), model_id=model_id).output.body)
    *_, last = streamed(Answers([ANSWER]), model_id=model_id)

    assert answer["model"] == "claude-haiku-4-5-20251001"
    assert answer["content"] == [{"type": "text", "text": "Hello"}]
    assert "amazon-bedrock-invocationMetrics" in last


def test_a_stream_ends_with_its_metrics() -> None:
    told = streamed(Answers([ANSWER]))

    assert told[0]["type"] == "message_start"
    assert told[-1] == {
        "type": "message_stop",
        "amazon-bedrock-invocationMetrics": {
            "inputTokenCount": 9,
            "outputTokenCount": 2,
            "invocationLatency": 5000,
            "firstByteLatency": 3000,
        },
    }


def test_a_stream_says_in_its_headers_what_its_chunks_are() -> None:
    async def main() -> Any:
        asked = stream_request(service_tier="priority")
        async with FakeModelServer(Answers([ANSWER])) as fake, invoking(fake.url) as invoke:
            chunks = await invoke.invoke_model_with_response_stream(invocation(), asked)
            await chunks.aclose()
            return chunks.head

    head = asyncio.run(main())

    assert (head.content_type, head.service_tier) == ("application/json", "priority")


TOOL_CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather"}}


def calling(*fragments: str) -> bytes:
    """A server that calls a tool, its input in pieces."""
    pieces = [{"index": 0, "function": {"arguments": fragment}} for fragment in fragments]
    deltas = [{"tool_calls": [call]} for call in ({**TOOL_CALL}, *pieces)]
    chunks = [{"choices": [{"index": 0, "delta": one, "finish_reason": None}]} for one in deltas]
    return sse(*chunks, delta(finish_reason="tool_calls"), usage(20, 8))


def test_a_tool_is_called_in_anthropics_shape() -> None:
    script = Answers([calling('{"ci', 'ty": "Åre"}')])

    message = json.loads(invoked(script, {**BODY, "tools": [WEATHER]}).output.body)

    assert message["stop_reason"] == "tool_use"
    assert message["content"] == [
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Åre"}}
    ]


@given(cuts=st.sets(st.integers(1, 40)), value=st.text(max_size=8))
@settings(max_examples=15, derandomize=True, database=None)
def test_the_input_of_a_tool_may_be_cut_anywhere(cuts: set[int], value: str) -> None:
    given_input = json.dumps({"city": value}, ensure_ascii=False)
    places = [0, *sorted(cut for cut in cuts if cut < len(given_input)), len(given_input)]
    fragments = [given_input[a:b] for a, b in pairwise(places)]
    stream = calling(*fragments)
    chunks = [stream[at : at + 7] for at in range(0, len(stream), 7)]

    told = streamed(Answers(chunks), {**BODY, "tools": [WEATHER]})

    deltas = [chunk["delta"] for chunk in told if chunk["type"] == "content_block_delta"]
    assert json.loads("".join(one["partial_json"] for one in deltas)) == {"city": value}


def test_what_only_claude_knows_does_not_reach_another_server() -> None:
    body = asked_of_the_server(
        {
            **BODY,
            "anthropic_beta": ["interleaved-thinking-2025-05-14"],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "metadata": {"user_id": "u"},
            "context_management": {"edits": []},
            "output_config": {"effort": "high"},
            "tools": [WEATHER],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        }
    )

    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 100,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [
            {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }


def test_a_model_that_shall_call_no_tool_is_told_of_none() -> None:
    body = asked_of_the_server({**BODY, "tools": [WEATHER], "tool_choice": {"type": "none"}})

    assert not {"tools", "tool_choice"} & body.keys()


def test_anthropics_own_tools_need_a_server_of_anthropics() -> None:
    body = {**BODY, "tools": [{"type": "bash_20250124", "name": "bash"}]}

    assert "tools of type bash_20250124" in refused(body=body).message


def test_embeddings_are_answered_whole() -> None:
    vectors = {
        "data": [{"index": 0, "embedding": [0.6, 0.8, *[0.0] * 254]}],
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    script = AnswersStatus(200, json.dumps(vectors).encode())
    body = {"inputText": "hello", "dimensions": 256}

    answer = invoked(script, body, model_id=TITAN)

    assert json.loads(answer.output.body)["embedding"][:2] == [0.6, 0.8]
    assert answer.output.input_token_count == 4
    assert answer.output.output_token_count is None


@pytest.mark.parametrize("model_id", [TITAN, "cohere.rerank-v3-5:0"])
def test_what_is_answered_whole_cannot_be_streamed(model_id: str) -> None:
    error = refused_stream(model_id=model_id)

    assert (error.name, error.message) == (
        "ValidationException",
        "The model is unsupported for streaming.",
    )


@pytest.mark.parametrize("model_id", ["stability.sd3-5-large-v1:0", "amazon.rerank-v1:0"])
def test_a_model_of_another_kind_is_refused(model_id: str) -> None:
    with pytest.raises(AwsError, match="This action doesn't support the model"):
        asyncio.run(_invoke_unserved(model_id, region="us-west-2"))


async def _invoke_unserved(model_id: str, region: str = "us-east-1") -> None:
    async with invoking() as invoke:
        await invoke.invoke_model(invocation(region), request(model_id=model_id))


def test_a_model_that_nobody_serves_is_not_accessible() -> None:
    with pytest.raises(AwsError) as caught:
        asyncio.run(_invoke_unserved(PROFILE))

    assert caught.value.name == "AccessDeniedException"


def test_an_unknown_model_is_refused() -> None:
    assert refused(model_id="no.such-model").message == "The provided model identifier is invalid."


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_body_is_malformed(body: bytes) -> None:
    assert refused(body=body).message.startswith("Malformed input request")
    assert refused_stream(body=body).message.startswith("Malformed input request")


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        (
            {"content_type": "text/csv"},
            "The provided Content Type is invalid or not supported for this model",
        ),
        (
            {"accept": "image/png"},
            "The provided Accept Type is invalid or not supported for this model",
        ),
        (
            {"guardrail_identifier": "abc", "guardrail_version": "1"},
            "The guardrail identifier or version provided in the request does not exist.",
        ),
        ({"service_tier": "fastest"}, "service tier provided is invalid"),
        ({"service_tier": "reserved"}, "Reservation not found."),
        (
            {"request_metadata": "[1]"},
            "The request metadata is invalid. Provide a json object of strings and try again.",
        ),
    ],
)
def test_headers_that_ask_too_much_are_refused(members: dict[str, Any], sentence: str) -> None:
    assert refused(**members).message == sentence
    assert refused_stream(**members).message == sentence


@pytest.mark.parametrize("accept", ["application/json; charset=utf-8", "*/*", "text/html, */*", ""])
def test_whoever_takes_json_is_answered(accept: str) -> None:
    answer = invoked(
        Answers([ANSWER]),
        accept=accept,
        content_type="Application/JSON; charset=utf-8",
        request_metadata='{"team":"a"}',
        trace="ENABLED",
    )

    assert answer.output.body.startswith(b"{")


@pytest.mark.parametrize(
    ("script", "name"),
    [
        (AnswersStatus(429), "ThrottlingException"),
        (AnswersStatus(500), "ModelErrorException"),
        (StallsBeforeTheFirstByte(), "ModelTimeoutException"),
        (AnswersStatus(400, b'{"error":{"message":"no"}}'), "ValidationException"),
    ],
)
def test_before_the_first_event_a_failure_is_an_ordinary_error(script: Script, name: str) -> None:
    with pytest.raises(AwsError) as caught:
        streamed(script)

    assert caught.value.name == name


@pytest.mark.parametrize(
    ("script", "name"),
    [
        (BreaksOffAfter([BEGUN]), "ModelStreamErrorException"),
        (StallsAfter([BEGUN]), "ModelTimeoutException"),
        (Answers([BEGUN, b"data: rubbish\n\n"]), "ModelStreamErrorException"),
    ],
)
def test_after_it_a_failure_ends_the_stream(script: Script, name: str) -> None:
    *told, error = streamed(script)

    assert told[-1]["delta"] == {"type": "text_delta", "text": "Hel"}
    assert error.name == name


def test_another_server_answers_when_the_first_refuses() -> None:
    async def main() -> str | None:
        async with (
            FakeModelServer(Answers([ANSWER])) as fake,
            invoking(url_that_refuses(), fake.url) as invoke,
        ):
            return (await answered(invoke.invoke_model, request())).served_by

    assert asyncio.run(main()) == 'gpu-1; model="m"'


def test_a_caller_that_goes_away_stops_the_model() -> None:
    async def main() -> None:
        async with (
            FakeModelServer(StallsAfter([BEGUN])) as fake,
            invoking(fake.url, timeouts=TimeoutsConfig()) as invoke,
        ):
            chunks = await invoke.invoke_model_with_response_stream(invocation(), stream_request())
            await chunks.aclose()
            async with asyncio.timeout(0.1):
                await fake.left.wait()

    asyncio.run(main())
