"""Outcrop in front of "Amazon": another Outcrop, so that both can be asked the same."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EventStreamError

from tests.boto3_client import client_of
from tests.fakes.model_server import (
    Answers,
    AnswersStatus,
    BreaksOffAfter,
    Script,
    delta,
    in_thread,
    sse,
    usage,
)
from tests.outcrop_process import outcrop_process

pytestmark = pytest.mark.slow

CALL = {"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": ""}}
FRAGMENTS = [{"index": 0, "function": {"arguments": part}} for part in ('{"city":', '"Köln 🌧"}')]
TOOLS = sse(
    {"choices": [{"delta": {"reasoning_content": "One city."}}]},
    delta("I'll look. "),
    *({"choices": [{"delta": {"tool_calls": [call]}}]} for call in (CALL, *FRAGMENTS)),
    delta(finish_reason="tool_calls"),
    usage(900, 20, cached=400),
)
BEGUN = b"data: " + sse(delta("Hel")).split(b"data: ")[1]
TOO_LONG = json.dumps({"error": {"message": "This model's maximum context length is 9."}}).encode()
WRONG = json.dumps({"error": {"message": "temperature is too hot"}}).encode()

SCRIPTS: Mapping[str, Script] = {
    "amazon.nova-lite-v1:0": Answers([TOOLS]),
    "amazon.nova-micro-v1:0": AnswersStatus(429),
    "amazon.nova-pro-v1:0": BreaksOffAfter([BEGUN]),
    "mistral.mistral-large-2402-v1:0": AnswersStatus(400, TOO_LONG),
    "mistral.mistral-small-2402-v1:0": AnswersStatus(400, WRONG),
    "meta.llama3-8b-instruct-v1:0": AnswersStatus(500),
    "meta.llama3-70b-instruct-v1:0": AnswersStatus(503),
}
EMBEDDED = "mistral.mixtral-8x7b-instruct-v0:1"
QUESTION = [{"text": "Wétter? 🌍"}, {"cachePoint": {"type": "default"}}]
REQUEST: Mapping[str, Any] = {
    "messages": [{"role": "user", "content": QUESTION}],
    "inferenceConfig": {"maxTokens": 12, "temperature": 0.0},
}
TOOL_CONFIG = {
    "tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}]
}

Clients = tuple[Any, ...]
"""boto3 on Outcrop, and on the one behind it."""


def behind_config(urls: Mapping[str, str]) -> str:
    servers = [
        f"""
        [[model_servers]]
        name = "gpu-{number}"
        url = "{url}"
        models = {{ "{model_id}" = "model" }}
        """
        for number, (model_id, url) in enumerate(urls.items())
    ]
    return "[embedded]\nstand_in = true\n" + "".join(servers)


def front_config(url: str) -> str:
    names = ", ".join(f'"{model_id}" = "{model_id}"' for model_id in (*SCRIPTS, EMBEDDED))
    return f"""
    [embedded]
    enabled = false
    [[model_servers]]
    name = "amazon"
    url = "{url}"
    dialect = "bedrock"
    models = {{ {names} }}
    [model_servers.aws]
    signing_region = "us-east-1"
    access_key_id_env = "OPS_KEY"
    secret_access_key_env = "OPS_SECRET"
    """


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    folder: Path = tmp_path_factory.mktemp("two")
    with ExitStack() as held:
        urls = {
            model: held.enter_context(in_thread(script)).url for model, script in SCRIPTS.items()
        }
        behind = held.enter_context(outcrop_process(folder / "behind", config=behind_config(urls)))
        key = behind.credentials
        front = held.enter_context(
            outcrop_process(
                folder / "front",
                config=front_config(behind.url),
                environment={
                    "OPS_KEY": key.access_key_id,
                    "OPS_SECRET": key.secret_access_key,
                },
            )
        )
        yield tuple(
            held.enter_context(closing(client_of(server, "bedrock-runtime")))
            for server in (front, behind)
        )


def answer(client: Any, **request: Any) -> Any:
    """Without what no two answers have in common."""
    answered = client.converse(**request)
    del answered["ResponseMetadata"], answered["metrics"]
    return answered


def stream(client: Any, **request: Any) -> list[Any]:
    with closing(client.converse_stream(**request)["stream"]) as told:
        return list(told)


def events(client: Any, **request: Any) -> list[Any]:
    told = stream(client, **request)
    del told[-1]["metadata"]["metrics"]
    return told


def error(ask: Callable[[], Any]) -> tuple[Any, ...]:
    with pytest.raises(ClientError) as raised:
        ask()
    response: Any = raised.value.response
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    members = {name: value for name, value in response.items() if name.startswith("original")}
    return type(raised.value).__name__, status, response["Error"], members


def test_an_answer_with_reasoning_tools_and_cache_counts_passes(clients: Clients) -> None:
    front, behind = clients
    request = {**REQUEST, "modelId": "amazon.nova-lite-v1:0", "toolConfig": TOOL_CONFIG}

    answered = answer(front, **request)

    assert answered == answer(behind, **request)
    content = answered["output"]["message"]["content"]
    assert content[0]["reasoningContent"]["reasoningText"]["text"] == "One city."
    assert content[-1]["toolUse"]["input"] == {"city": "Köln 🌧"}
    assert answered["stopReason"] == "tool_use"
    assert answered["usage"]["cacheReadInputTokens"] == 400


def test_a_stream_passes_event_by_event(clients: Clients) -> None:
    front, behind = clients
    request = {**REQUEST, "modelId": "amazon.nova-lite-v1:0", "toolConfig": TOOL_CONFIG}

    told = events(front, **request)

    assert told == events(behind, **request)
    assert [*told[0]] == ["messageStart"]
    assert [*told[-1]] == ["metadata"]


def test_the_time_told_is_amazons_and_the_server_is_named(clients: Clients) -> None:
    front, _ = clients

    answered = front.converse(**REQUEST, modelId="amazon.nova-lite-v1:0", toolConfig=TOOL_CONFIG)

    headers = answered["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-outcrop-served-by"] == 'amazon; model="amazon.nova-lite-v1:0"'
    assert answered["metrics"]["latencyMs"] >= 0


def test_a_real_model_answers_through_both(clients: Clients) -> None:
    front, behind = clients
    question = [{"role": "user", "content": [{"text": "What is the capital of France?"}]}]
    request = {**REQUEST, "modelId": EMBEDDED, "messages": question}

    answered = answer(front, **request)

    assert answered == answer(behind, **request)
    assert "Paris" in answered["output"]["message"]["content"][0]["text"]
    assert events(front, **request) == events(behind, **request)


def test_tokens_are_counted_by_amazon(clients: Clients) -> None:
    front, behind = clients
    request = {
        "modelId": EMBEDDED,
        "input": {"converse": {"messages": [{"role": "user", "content": [{"text": "Hällo"}]}]}},
    }

    assert front.count_tokens(**request)["inputTokens"] > 1
    assert (
        front.count_tokens(**request)["inputTokens"]
        == behind.count_tokens(**request)["inputTokens"]
    )


@pytest.mark.parametrize(
    ("model_id", "body"),
    [
        (EMBEDDED, {"prompt": "<s>[INST] Say hi. [/INST]", "max_tokens": 8, "temperature": 0.0}),
        (
            "amazon.nova-lite-v1:0",
            {
                "messages": REQUEST["messages"][:1],
                "toolConfig": TOOL_CONFIG,
            },
        ),
    ],
)
def test_native_bodies_pass_streamed_and_not(
    clients: Clients, model_id: str, body: dict[str, Any]
) -> None:
    (once, streamed), given = (
        (invoked(client, model_id, body), invoked_stream(client, model_id, body))
        for client in clients
    )

    assert (once, streamed) == given
    assert len(streamed) > 1


def invoked(client: Any, model_id: str, body: Any) -> Any:
    answered = client.invoke_model(modelId=model_id, body=json.dumps(body))
    return json.loads(answered["body"].read())


def invoked_stream(client: Any, model_id: str, body: Any) -> list[Any]:
    answered = client.invoke_model_with_response_stream(modelId=model_id, body=json.dumps(body))
    with closing(answered["body"]) as told:
        chunks = [json.loads(one["chunk"]["bytes"]) for one in told]
    for name in ("invocationLatency", "firstByteLatency"):
        del chunks[-1]["amazon-bedrock-invocationMetrics"][name]
    return chunks


REFUSING = [model_id for model_id, script in SCRIPTS.items() if isinstance(script, AnswersStatus)]


@pytest.mark.parametrize("model_id", REFUSING)
def test_errors_pass_with_status_and_words(clients: Clients, model_id: str) -> None:
    front, behind = clients
    request = {**REQUEST, "modelId": model_id}

    assert error(lambda: front.converse(**request)) == error(lambda: behind.converse(**request))
    assert error(lambda: front.converse_stream(**request)) == error(
        lambda: behind.converse_stream(**request)
    )


def test_an_exception_in_the_stream_passes(clients: Clients) -> None:
    front, behind = clients
    request = {**REQUEST, "modelId": "amazon.nova-pro-v1:0"}

    passed, given = (error(partial(stream, client, **request)) for client in (front, behind))

    assert passed == given
    assert passed[0] == EventStreamError.__name__
    assert passed[2]["Code"] == "modelStreamErrorException"


def test_what_amazon_refuses_is_refused_in_its_words(clients: Clients) -> None:
    front, behind = clients
    guarded = {
        **REQUEST,
        "modelId": "amazon.nova-lite-v1:0",
        "guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "1"},
    }

    refused = error(lambda: front.converse(**guarded))

    assert refused == error(lambda: behind.converse(**guarded))
    assert "guardrail identifier" in refused[2]["Message"]


def test_what_is_between_the_operator_and_amazon_is_not_told(tmp_path: Path) -> None:
    with outcrop_process(tmp_path / "behind") as behind:
        key = behind.credentials
        wrong = {"OPS_KEY": key.access_key_id, "OPS_SECRET": "wrong"}
        config = front_config(behind.url)
        with outcrop_process(tmp_path / "front", config=config, environment=wrong) as front:
            with closing(client_of(front, "bedrock-runtime")) as client:
                name, status, told, _ = error(lambda: client.converse(**REQUEST, modelId=EMBEDDED))

            log = front.log.read_text()

    assert (name, status) == ("ModelErrorException", 424)
    assert "signature" not in told["Message"]
    assert key.access_key_id not in told["Message"]
    assert "wrong" not in log
