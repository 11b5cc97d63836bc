"""The unmodified boto3 invokes models with their vendors' bodies; the embedded model stands in."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conformance.conftest import Client

pytestmark = pytest.mark.slow

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ASKED: list[dict[str, Any]] = [{"role": "user", "content": "Say hello."}]
# At its default temperature the embedded model may end before its first word.
BODIES: dict[str, dict[str, Any]] = {
    CLAUDE: {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 5,
        "temperature": 0,
        "messages": ASKED,
    },
    "amazon.nova-lite-v1:0": {
        "messages": [{"role": "user", "content": [{"text": "Say hello."}]}],
        "inferenceConfig": {"maxTokens": 5, "temperature": 0},
    },
    "meta.llama3-8b-instruct-v1:0": {"prompt": "Say hello.", "max_gen_len": 5, "temperature": 0},
    "mistral.mistral-7b-instruct-v0:2": {
        "prompt": "<s>[INST]Hello[/INST]",
        "max_tokens": 5,
        "temperature": 0,
    },
    "openai.gpt-oss-20b-1:0": {"messages": ASKED, "max_completion_tokens": 5, "temperature": 0},
    "outcrop.smollm2-135m-instruct-v1:0": {
        "messages": ASKED,
        "max_completion_tokens": 5,
        "temperature": 0,
    },
}


_MALFORMED = (
    "Malformed input request: #: extraneous key [model] is not permitted, please reformat your"
    " input and try again."
)


@pytest.fixture(scope="module")
def runtime(client: Client) -> Iterator[Any]:
    with closing(client("bedrock-runtime")) as made:
        yield made


def invoked(runtime: Any, model_id: str, **members: Any) -> Any:
    body = json.dumps(BODIES.get(model_id, {}))
    return runtime.invoke_model(**{"modelId": model_id, "body": body, **members})


def streamed(runtime: Any, model_id: str, **members: Any) -> list[Any]:
    body = json.dumps(BODIES[model_id])
    answer = runtime.invoke_model_with_response_stream(
        **{"modelId": model_id, "body": body, **members}
    )
    with closing(answer["body"]) as events:
        return [json.loads(event["chunk"]["bytes"]) for event in events]


@pytest.mark.parametrize("model_id", BODIES)
def test_an_answer_comes_with_its_counts(runtime: Any, model_id: str) -> None:
    answer = invoked(runtime, model_id)

    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert answer["contentType"] == "application/json"
    assert int(headers["x-amzn-bedrock-input-token-count"]) > 0
    assert 0 < int(headers["x-amzn-bedrock-output-token-count"]) <= 5
    assert int(headers["x-amzn-bedrock-invocation-latency"]) > 0
    assert headers["x-outcrop-served-by"].startswith("embedded")
    assert isinstance(json.loads(answer["body"].read()), dict)


@pytest.mark.parametrize("model_id", BODIES)
def test_a_stream_ends_with_its_metrics(runtime: Any, model_id: str) -> None:
    *told, last = streamed(runtime, model_id)

    metrics = last["amazon-bedrock-invocationMetrics"]
    assert len(told) >= 1
    assert not [chunk for chunk in told if "amazon-bedrock-invocationMetrics" in chunk]
    assert metrics["inputTokenCount"] > 0
    assert 0 < metrics["outputTokenCount"] <= 5
    assert 0 <= metrics["firstByteLatency"] <= metrics["invocationLatency"]


def test_claude_tells_its_message(runtime: Any) -> None:
    message = json.loads(invoked(runtime, CLAUDE)["body"].read())

    assert message["id"].startswith("msg_bdrk_")
    assert message["model"] == "claude-sonnet-4-5-20250929"
    assert message["content"][0]["text"]
    assert message["stop_reason"] == "max_tokens"
    assert message["usage"]["output_tokens"] == 5


def test_claudes_stream_has_anthropics_events(runtime: Any) -> None:
    types = [chunk["type"] for chunk in streamed(runtime, CLAUDE)]

    assert types[:2] == ["message_start", "content_block_start"]
    assert types[2:-3] == ["content_block_delta"] * len(types[2:-3])
    assert types[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_what_was_asked_for_is_told_in_the_headers(runtime: Any) -> None:
    wanted = {"performanceConfigLatency": "optimized", "serviceTier": "flex"}

    answer = invoked(runtime, CLAUDE, **wanted)
    stream = runtime.invoke_model_with_response_stream(
        modelId=CLAUDE, body=json.dumps(BODIES[CLAUDE]), **wanted
    )
    stream["body"].close()

    for told in (answer, stream):
        assert told["contentType"] == "application/json"
        assert {name: told[name] for name in wanted} == wanted


@pytest.mark.parametrize("operation", ["invoke_model", "invoke_model_with_response_stream"])
@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"body": json.dumps({**BODIES[CLAUDE], "model": "x"})},
            _MALFORMED,
        ),
        (
            {"guardrailIdentifier": "abc", "guardrailVersion": "1"},
            "The guardrail identifier or version provided in the request does not exist.",
        ),
        (
            {"accept": "image/png"},
            "The provided Accept Type is invalid or not supported for this model",
        ),
        ({"modelId": "no.such-model"}, "The provided model identifier is invalid."),
    ],
)
def test_a_refusal_is_amazons(
    runtime: Any, operation: str, members: dict[str, Any], message: str
) -> None:
    asked = {"modelId": CLAUDE, "body": json.dumps(BODIES[CLAUDE]), **members}

    with pytest.raises(ClientError) as raised:
        getattr(runtime, operation)(**asked)

    error = raised.value.response["Error"]
    assert (error["Code"], error["Message"]) == ("ValidationException", message)
