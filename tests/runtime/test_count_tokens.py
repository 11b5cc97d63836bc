import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest

from outcrop.fleet.capabilities import Capabilities
from outcrop.fleet.config import TimeoutsConfig
from outcrop.fleet.fleet import Fleet, Served
from outcrop.fleet.http_client import Address
from outcrop.fleet.model_server import ModelServer
from outcrop.fleet.pool import Candidate
from outcrop.fleet.router import Router
from outcrop.runtime.count_tokens import CountTokens
from outcrop.runtime.target import Targets
from outcrop.store.catalogue import Catalogue
from outcrop.wire.errors import AwsError
from outcrop.wire.http import HttpRequest
from outcrop.wire.shapes.bedrock_runtime import COUNT_TOKENS, CountTokensRequest
from tests.fakes.connections import Request
from tests.fakes.model_server import (
    Answers,
    AnswersStatus,
    FakeModelServer,
    Script,
    url_that_refuses,
)
from tests.fakes.records import FakeInferenceProfiles, FakeProvisionedModelThroughputs
from tests.runtime.requests import HELLO, caller

MODEL_ID = "anthropic.claude-sonnet-4-5-20250929-v1:0"
LLAMA = "meta.llama3-8b-instruct-v1:0"
CONVERSE = {"converse": {"messages": HELLO}}


def request(model_id: str, asked: Any) -> CountTokensRequest:
    http = HttpRequest(
        method="POST",
        raw_path="/",
        headers={"content-type": "application/json"},
        body=json.dumps({"input": asked}).encode(),
    )
    return COUNT_TOKENS.decode(http, {"modelId": model_id})


async def counted(url: str, dialect: str, model_id: str, asked: Any) -> int:
    return await counted_by([(url, dialect)], model_id, asked)


async def counted_by(servers: Sequence[tuple[str, str]], model_id: str, asked: Any) -> int:
    """Of the servers, each with its dialect, the first is asked first."""
    patience = TimeoutsConfig(connect_s=1)
    model_servers = [
        ModelServer(str(number), Address.parse(url), timeouts=patience, weight=10.0**-number)
        for number, (url, _) in enumerate(servers)
    ]
    candidates = [
        Candidate(
            server=server,
            dialect=dialect,
            served_as="m",
            region=None,
            capabilities=Capabilities(documents=dialect != "openai"),
        )
        for server, (_, dialect) in zip(model_servers, servers, strict=True)
    ]
    targets = Targets(
        Catalogue(),
        Fleet([Served(model_id, candidate) for candidate in candidates], stand_in=None),
        FakeInferenceProfiles(),
        FakeProvisionedModelThroughputs(),
    )
    try:
        count = CountTokens(targets, Router())
        answer = await count.count_tokens(caller(), request(model_id, asked))
    finally:
        for server in model_servers:
            await server.aclose()
    return answer.input_tokens


def count_on(
    script: Script, *, dialect: str = "openai", model_id: str = MODEL_ID, asked: Any = CONVERSE
) -> tuple[int, list[Request]]:
    async def main() -> tuple[int, list[Request]]:
        async with FakeModelServer(script) as fake:
            return await counted(fake.url, dialect, model_id, asked), fake.requests

    return asyncio.run(main())


def test_llama_cpp_counts_the_conversation_as_it_would_read_it() -> None:
    count, (asked,) = count_on(AnswersStatus(200, b'{"input_tokens": 12}'))

    assert count == 12
    assert asked.path == "/v1/chat/completions/input_tokens"
    assert asked.json == {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def test_vllm_counts_beside_its_api() -> None:
    count, (_, asked) = count_on(AnswersStatus(200, b'{"count": 9, "tokens": [1]}'))

    assert count == 9
    assert asked.path == "/tokenize"
    assert asked.json["add_generation_prompt"] is True


def test_vllm_counts_an_answer_that_is_begun_as_it_would_go_on_with_it() -> None:
    begun = {"role": "assistant", "content": [{"text": "{"}]}
    messages = [*CONVERSE["converse"]["messages"], begun]

    _, (_, asked) = count_on(
        AnswersStatus(200, b'{"count": 9}'), asked={"converse": {"messages": messages}}
    )

    assert asked.json["add_generation_prompt"] is False
    assert asked.json["continue_final_message"] is True


def test_anthropic_counts_by_its_own_operation() -> None:
    count, (asked,) = count_on(AnswersStatus(200, b'{"input_tokens": 8}'), dialect="anthropic")

    assert count == 8
    assert asked.path == "/v1/messages/count_tokens"


def test_a_native_body_is_counted_too() -> None:
    body = base64.b64encode(b'{"prompt": "hello"}').decode()

    count, (asked,) = count_on(
        AnswersStatus(200, b'{"count": 3}'), model_id=LLAMA, asked={"invokeModel": {"body": body}}
    )

    assert count == 3
    assert asked.json == {"model": "m", "prompt": "hello"}


def test_llama_cpp_lists_the_tokens_of_a_prompt() -> None:
    body = base64.b64encode(b'{"prompt": "hello"}').decode()

    count, _ = count_on(
        AnswersStatus(200, b'{"tokens": [1, 2]}'),
        model_id=LLAMA,
        asked={"invokeModel": {"body": body}},
    )

    assert count == 2


@pytest.mark.parametrize(
    ("script", "dialect"),
    [
        (AnswersStatus(404), "openai"),
        (AnswersStatus(200, b'{"error": "Unexpected endpoint"}'), "openai"),
        (Answers([b"no JSON"]), "openai"),
        (AnswersStatus(200, b'{"input_tokens": 12}'), "bedrock"),
    ],
    ids=repr,
)
def test_a_server_that_cannot_count_is_never_guessed_for(script: Script, dialect: str) -> None:
    with pytest.raises(AwsError) as caught:
        count_on(script, dialect=dialect)

    assert caught.value.name == "ValidationException"
    assert caught.value.message == "The provided model doesn't support counting tokens."


def test_a_server_that_is_away_is_an_unavailable_service() -> None:
    with pytest.raises(AwsError) as caught:
        asyncio.run(counted(url_that_refuses(), "openai", MODEL_ID, CONVERSE))

    assert caught.value.name == "ServiceUnavailableException"


def test_a_conversation_that_no_model_takes_is_refused() -> None:
    with pytest.raises(AwsError, match="must start with a user message"):
        count_on(AnswersStatus(200), asked={"converse": {"messages": []}})


def test_what_one_kind_of_server_cannot_be_asked_another_counts() -> None:
    cited = {"name": "d", "format": "txt", "source": {"text": "x"}, "citations": {"enabled": True}}
    asked = {"messages": [{"role": "user", "content": [{"text": "?"}, {"document": cited}]}]}

    async def main() -> int:
        async with (
            FakeModelServer(AnswersStatus(200, b'{"count": 1}')) as chat,
            FakeModelServer(AnswersStatus(200, b'{"input_tokens": 8}')) as claude,
        ):
            servers = [(chat.url, "openai"), (claude.url, "anthropic")]
            count = await counted_by(servers, MODEL_ID, {"converse": asked})
            assert chat.requests == []
            return count

    assert asyncio.run(main()) == 8


def test_what_no_server_can_be_asked_is_refused_in_the_words_of_the_first() -> None:
    picture = {"format": "png", "source": {"s3Location": {"uri": "s3://b/k"}}}
    asked = {"messages": [{"role": "user", "content": [{"text": "?"}, {"image": picture}]}]}

    with pytest.raises(AwsError, match=r"image\.source\.s3Location"):
        count_on(AnswersStatus(200, b'{"count": 1}'), asked={"converse": asked})


@pytest.mark.parametrize(
    ("status", "name"), [(429, "ThrottlingException"), (503, "ServiceUnavailableException")]
)
def test_a_server_that_is_busy_may_count_later(status: int, name: str) -> None:
    with pytest.raises(AwsError) as caught:
        count_on(AnswersStatus(status, b"{}", {"retry-after": "7"}))

    assert (caught.value.name, caught.value.retry_after_s) == (name, 7)
