"""Converse on a server of Anthropic's API, on a real socket: what it is sent, and how it fails."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from outcrop.fleet.config import ModelServerConfig, TimeoutsConfig
from outcrop.fleet.member import capabilities, model_server, set_up
from outcrop.fleet.pool import Candidate
from outcrop.runtime.converse import Converse
from outcrop.wire.errors import AwsError
from outcrop.wire.shapes.bedrock_runtime import ConverseResponse
from tests.fakes import anthropic_streams as recorded
from tests.fakes.connections import Request
from tests.fakes.model_server import (
    Answers,
    AnswersStatus,
    BreaksOffAfter,
    FakeModelServer,
    Script,
    StallsAfter,
    StallsBeforeTheFirstByte,
)
from tests.runtime.requests import converse_request, invocation, stream_request
from tests.runtime.served import MODEL_ID, converse_over
from tests.runtime.test_documents import xlsx

TOOL = {"toolSpec": {"name": "get_weather", "inputSchema": {"json": {"type": "object"}}}}
IMPATIENT = TimeoutsConfig(connect_s=1, first_byte_s=0.05, between_chunks_s=0.05)
BEGUN = recorded.start() + recorded.event(
    "content_block_start", index=0, content_block={"type": "text", "text": ""}
)


@asynccontextmanager
async def converse_on(
    urls: Sequence[str], environ: Mapping[str, str] | None = None
) -> AsyncGenerator[Converse]:
    configs = [
        ModelServerConfig(
            name=f"claude-{number}",
            url=url,
            dialect="anthropic",
            models={MODEL_ID: "claude-sonnet-4-5"},
            api_key_env="KEY" if environ else None,
            timeouts=IMPATIENT,
            # Of two, the first is asked first.
            weight=10.0**-number,
        )
        for number, url in enumerate(urls)
    ]
    servers = [model_server(set_up(config, environ or {})) for config in configs]
    candidates = [
        Candidate(
            server=server,
            dialect="anthropic",
            served_as="claude-sonnet-4-5",
            region=None,
            capabilities=capabilities(config, None),
        )
        for config, server in zip(configs, servers, strict=True)
    ]
    async with converse_over(servers, candidates) as converse:
        yield converse


def answer_to(*scripts: Script, **members: Any) -> ConverseResponse:
    return asked(*scripts, **members)[0]


def asked(*scripts: Script, **members: Any) -> tuple[ConverseResponse, list[list[Request]]]:
    async def main() -> tuple[ConverseResponse, list[list[Request]]]:
        fakes = [FakeModelServer(script) for script in scripts]
        try:
            urls = [(await fake.__aenter__()).url for fake in fakes]
            async with converse_on(urls, {"KEY": "sk-ant-1"}) as converse:
                answer = await converse.converse(invocation(), converse_request(**members))
                return answer, [fake.requests for fake in fakes]
        finally:
            for fake in fakes:
                await fake.__aexit__()

    return asyncio.run(main())


def error_of(*scripts: Script, **members: Any) -> AwsError:
    with pytest.raises(AwsError) as raised:
        answer_to(*scripts, **members)
    return raised.value


def streamed_error_of(script: Script) -> tuple[int, AwsError]:
    """How many events came before it."""

    async def main() -> tuple[int, AwsError]:
        async with FakeModelServer(script) as fake, converse_on([fake.url]) as converse:
            events = await converse.converse_stream(invocation(), stream_request())
            seen = 0
            try:
                async for _ in events:
                    seen += 1
            except AwsError as error:
                return seen, error
            finally:
                await events.aclose()
            raise AssertionError("the stream came to its end")

    return asyncio.run(main())


def refusal(kind: str, message: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


def test_reasoning_and_parallel_tools_become_one_message() -> None:
    answer = answer_to(Answers([recorded.EVERYTHING]), toolConfig={"tools": [TOOL]})

    assert answer.output.message is not None
    thought, redacted, said, *uses = answer.output.message.content
    assert thought.reasoning_content is not None
    assert thought.reasoning_content.reasoning_text is not None
    assert thought.reasoning_content.reasoning_text.text == "Two cities, two calls. 🤔"
    assert thought.reasoning_content.reasoning_text.signature == "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"
    assert redacted.reasoning_content is not None
    assert redacted.reasoning_content.redacted_content == b"EmwKAhgBEgy3va3pzix/LafPsn4a"
    assert said.text == "I'll look."
    inputs = [json.loads(bytes(use.tool_use.input)) for use in uses if use.tool_use is not None]
    assert inputs == [{"city": "Köln"}, {}]
    assert answer.stop_reason == "tool_use"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (25, 15)


def test_an_answer_in_pieces_is_the_same_answer() -> None:
    pieces = [recorded.EVERYTHING[at : at + 7] for at in range(0, len(recorded.EVERYTHING), 7)]
    members = {"toolConfig": {"tools": [TOOL]}}

    assert answer_to(Answers(pieces), **members) == answer_to(
        Answers([recorded.EVERYTHING]), **members
    )


def test_what_the_model_said_can_be_sent_back_as_it_was() -> None:
    first = answer_to(Answers([recorded.EVERYTHING]), toolConfig={"tools": [TOOL]})
    said = json.loads(msgspec.json.encode(first))["output"]["message"]
    uses = [block["toolUse"]["toolUseId"] for block in said["content"] if "toolUse" in block]
    results = [{"toolResult": {"toolUseId": one, "content": [{"text": "7°"}]}} for one in uses]
    question = {"role": "user", "content": [{"text": "Weather?"}]}

    _, [[request]] = asked(
        Answers([recorded.HELLO]),
        messages=[question, said, {"role": "user", "content": results}],
        toolConfig={"tools": [TOOL]},
    )

    assert request.json["messages"][1]["content"] == [
        {
            "type": "thinking",
            "thinking": "Two cities, two calls. 🤔",
            "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h",
        },
        {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4a"},
        {"type": "text", "text": "I'll look."},
        {
            "type": "tool_use",
            "id": "toolu_01A09q90qw90lq917835lq9",
            "name": "get_weather",
            "input": {"city": "Köln"},
        },
        {"type": "tool_use", "id": "toolu_01B", "name": "now", "input": {}},
    ]


def test_a_call_carries_version_key_and_betas() -> None:
    _, [[request]] = asked(
        Answers([recorded.HELLO]),
        additionalModelRequestFields={"anthropic_beta": ["context-1m-2025-08-07"]},
    )

    assert request.path == "/v1/messages"
    assert request.headers["x-api-key"] == "sk-ant-1"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert request.headers["anthropic-beta"] == "context-1m-2025-08-07"
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    ("status", "kind", "message", "name", "words"),
    [
        (
            400,
            "invalid_request_error",
            "messages: text content blocks must be non-empty",
            "ValidationException",
            "The model returned the following errors: messages: text content blocks must be",
        ),
        (
            400,
            "invalid_request_error",
            "prompt is too long: 200049 tokens > 200000 maximum",
            "ValidationException",
            "Input is too long for requested model.",
        ),
        (401, "authentication_error", "invalid x-api-key", "ModelErrorException", "an error"),
        (404, "not_found_error", "model: claude", "ModelErrorException", "an error"),
        (413, "request_too_large", "too large", "ValidationException", "too large"),
        (429, "rate_limit_error", "slow down", "ThrottlingException", "Too many requests"),
        (500, "api_error", "oh", "ModelErrorException", "an error"),
        (529, "overloaded_error", "Overloaded", "ServiceUnavailableException", "unable"),
    ],
)
def test_every_way_to_refuse_is_an_error_that_bedrocks_users_know(
    status: int, kind: str, message: str, name: str, words: str
) -> None:
    error = error_of(AnswersStatus(status, refusal(kind, message)))

    assert error.name == name
    assert words in error.message
    assert "api-key" not in error.message


def test_an_overloaded_server_leaves_the_question_to_another() -> None:
    overloaded = AnswersStatus(529, refusal("overloaded_error", "Overloaded"))

    answer, requests = asked(overloaded, Answers([recorded.HELLO]))

    assert answer.stop_reason == "end_turn"
    assert [len(seen) for seen in requests] == [1, 1]


@pytest.mark.parametrize(
    ("script", "name"),
    [
        (StallsBeforeTheFirstByte(), "ModelTimeoutException"),
        (
            Answers([recorded.event("error", error={"type": "overloaded_error", "message": "x"})]),
            "ServiceUnavailableException",
        ),
        (
            Answers([recorded.event("error", error={"type": "rate_limit_error", "message": "x"})]),
            "ThrottlingException",
        ),
        (Answers([b"<html></html>\n\ndata: <p>\n\n"]), "ModelErrorException"),
    ],
)
def test_before_the_first_event_a_failure_is_an_ordinary_error(script: Script, name: str) -> None:
    assert error_of(script).name == name


@pytest.mark.parametrize(
    ("script", "original"),
    [
        (BreaksOffAfter([recorded.start()]), 503),
        (StallsAfter([recorded.start()]), 408),
        (Answers([recorded.start()]), 502),
        (Answers([recorded.start(), b"data: rubbish\n\n"]), 502),
    ],
)
def test_after_the_first_event_a_failure_is_an_exception_of_the_stream(
    script: Script, original: int
) -> None:
    seen, error = streamed_error_of(script)

    assert seen == 1
    assert error.name == "ModelStreamErrorException"
    assert error.members["originalStatusCode"] == original


def test_a_server_that_is_overloaded_in_the_middle_of_its_answer_says_so() -> None:
    overloaded = recorded.event("error", error={"type": "overloaded_error"})

    seen, error = streamed_error_of(Answers([recorded.start(), overloaded]))

    assert seen == 1
    assert error.name == "ServiceUnavailableException"


def test_files_that_anthropic_reads_stay_files_and_others_become_text() -> None:
    pdf = {"name": "a", "format": "pdf", "source": {"bytes": b64encode(b"%PDF").decode()}}
    sheet = {"name": "b", "format": "xlsx", "source": {"bytes": b64encode(xlsx()).decode()}}
    content = [{"text": "?"}, {"document": pdf}, {"document": sheet}]

    _, [[request]] = asked(
        Answers([recorded.HELLO]), messages=[{"role": "user", "content": content}]
    )

    _, first, second = request.json["messages"][0]["content"]
    assert first["source"]["media_type"] == "application/pdf"
    assert second["source"]["media_type"] == "text/plain"
    assert "nova,1.5" in second["source"]["data"]


def test_a_caller_that_goes_away_ends_the_generation() -> None:
    async def main() -> bool:
        script = StallsAfter([BEGUN])
        async with FakeModelServer(script) as fake, converse_on([fake.url]) as converse:
            events = await converse.converse_stream(invocation(), stream_request())
            await events.aclose()
            async with asyncio.timeout(0.1):
                await fake.left.wait()
            return fake.left.is_set()

    assert asyncio.run(main())
