"""The unmodified boto3 in our own environment: both back ends, every way to invoke."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from botocore.exceptions import ClientError, EventStreamError

from tests.boto3_client import client_of
from tests.clients.scripted_server import GREETING, ScriptedServer
from tests.outcrop_process import OutcropProcess

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]

SCRIPTED = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
EMBEDDED_CLAUDE = "us.anthropic.claude-opus-4-5-20251101-v1:0"
TITAN_EMBED = "amazon.titan-embed-text-v2:0"
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "inputSchema": {
        "json": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        }
    },
}
TOOLS: Any = {"tools": [{"toolSpec": WEATHER}]}


@pytest.fixture(scope="module")
def runtime(outcrop: OutcropProcess) -> Iterator[Any]:
    with closing(client_of(outcrop, "bedrock-runtime")) as runtime:
        yield runtime


def said(text: str) -> Any:
    return {"role": "user", "content": [{"text": text}]}


def native(text: str) -> str:
    return json.dumps(
        {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 16,
            "messages": [{"role": "user", "content": text}],
        }
    )


def test_a_tool_is_called_and_its_result_is_read(runtime: Any) -> None:
    asked = said("Call get_weather.")
    called = runtime.converse(modelId=SCRIPTED, messages=[asked], toolConfig=TOOLS)
    use = called["output"]["message"]["content"][0]["toolUse"]
    result = {"toolUseId": use["toolUseId"], "content": [{"json": {"weather": "rain"}}]}
    messages = [
        asked,
        called["output"]["message"],
        {"role": "user", "content": [{"toolResult": result}]},
    ]

    answer = runtime.converse(modelId=SCRIPTED, messages=messages, toolConfig=TOOLS)

    assert called["stopReason"] == "tool_use"
    assert (use["name"], use["input"]) == ("get_weather", {"city": "Zürich"})
    assert answer["stopReason"] == "end_turn"
    text = answer["output"]["message"]["content"][0]["text"]
    assert json.loads(text.removeprefix("The tool says: ")) == {"weather": "rain"}


def test_an_answer_is_held_to_a_schema(runtime: Any) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    kept = {"jsonSchema": {"name": "city", "schema": json.dumps(schema)}}

    answer = runtime.converse(
        modelId=SCRIPTED,
        messages=[said("Which city?")],
        outputConfig={"textFormat": {"type": "json_schema", "structure": kept}},
    )

    text = answer["output"]["message"]["content"][0]["text"]
    assert json.loads(text) == {"name": "Zürich"}


def test_the_model_server_is_asked_for_what_the_caller_asked(
    runtime: Any, scripted: ScriptedServer
) -> None:
    runtime.converse(
        modelId=SCRIPTED,
        system=[{"text": "Be brief."}],
        messages=[said("Which city?")],
        toolConfig={**TOOLS, "toolChoice": {"tool": {"name": "get_weather"}}},
        inferenceConfig={"maxTokens": 16, "temperature": 0.5, "stopSequences": ["END"]},
    )

    asked = scripted.requests[-1]
    assert asked["model"] == "scripted-large"
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    assert asked["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    assert (asked["temperature"], asked["stop"]) == (0.5, ["END"])


def test_a_tools_input_arrives_in_fragments(runtime: Any) -> None:
    answer = runtime.converse_stream(
        modelId=SCRIPTED, messages=[said("Call get_weather.")], toolConfig=TOOLS
    )

    events = list(answer["stream"])
    deltas = [
        event["contentBlockDelta"]["delta"]
        for event in events
        if len(event) == 1 and "contentBlockDelta" in event
    ]
    fragments = [delta["toolUse"]["input"] for delta in deltas]
    assert events[1]["contentBlockStart"]["start"]["toolUse"]["name"] == "get_weather"
    assert len(fragments) > 2
    assert json.loads("".join(fragments)) == {"city": "Zürich"}
    assert events[-2]["messageStop"]["stopReason"] == "tool_use"
    assert events[-1]["metadata"]["usage"]["totalTokens"] == 18


@pytest.mark.parametrize("model_id", [SCRIPTED, EMBEDDED_CLAUDE])
def test_a_native_body_is_answered_natively(runtime: Any, model_id: str) -> None:
    answer = runtime.invoke_model(modelId=model_id, body=native("Say hello."))

    message = json.loads(answer["body"].read())
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert answer["contentType"] == "application/json"
    assert message["content"][0]["text"]
    assert message["usage"]["output_tokens"] > 0
    assert headers["x-amzn-bedrock-output-token-count"] == str(message["usage"]["output_tokens"])
    assert headers["x-amzn-bedrock-input-token-count"] == str(message["usage"]["input_tokens"])


def test_a_native_stream_ends_with_the_metrics_of_the_call(runtime: Any) -> None:
    answer = runtime.invoke_model_with_response_stream(modelId=SCRIPTED, body=native("Say hello."))

    chunks = [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]
    texts = [chunk["delta"]["text"] for chunk in chunks if chunk["type"] == "content_block_delta"]
    metrics = chunks[-1]["amazon-bedrock-invocationMetrics"]
    assert "".join(texts) == GREETING
    assert chunks[-1]["type"] == "message_stop"
    assert (metrics["inputTokenCount"], metrics["outputTokenCount"]) == (11, 7)
    assert metrics["invocationLatency"] >= metrics["firstByteLatency"] >= 0


def test_tokens_are_counted(runtime: Any) -> None:
    short = runtime.count_tokens(
        modelId=EMBEDDED_CLAUDE, input={"converse": {"messages": [said("Say hello.")]}}
    )
    longer = runtime.count_tokens(
        modelId=EMBEDDED_CLAUDE, input={"converse": {"messages": [said("Say hello. " * 9)]}}
    )

    assert 0 < short["inputTokens"] < longer["inputTokens"]


def test_like_texts_have_like_vectors(runtime: Any) -> None:
    def embedded(text: str) -> list[float]:
        body = json.dumps({"inputText": text, "dimensions": 1024, "normalize": True})
        answer = json.loads(runtime.invoke_model(modelId=TITAN_EMBED, body=body)["body"].read())
        assert answer["inputTextTokenCount"] > 0
        vector: list[float] = answer["embedding"]
        return vector

    cat, kitten, invoice = map(embedded, ("A cat.", "A kitten.", "The invoice is overdue."))

    assert len(cat) == 1024
    assert _product(cat, cat) == pytest.approx(1, abs=1e-3)
    assert _product(cat, kitten) > _product(cat, invoice)


@pytest.mark.parametrize(
    ("order", "code", "status"),
    [
        ("Answer 429.", "ThrottlingException", 429),
        ("Answer 500.", "ModelErrorException", 424),
        ("Answer 503.", "ServiceUnavailableException", 503),
        ("Answer too long.", "ValidationException", 400),
    ],
)
def test_a_model_servers_failure_is_bedrocks(
    runtime: Any, order: str, code: str, status: int
) -> None:
    with pytest.raises(ClientError) as refused:
        runtime.converse(modelId=SCRIPTED, messages=[said(order)])

    assert refused.value.response["Error"]["Code"] == code
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_a_model_error_names_the_status_the_server_gave(runtime: Any) -> None:
    with pytest.raises(runtime.exceptions.ModelErrorException) as refused:
        runtime.converse(modelId=SCRIPTED, messages=[said("Answer 500.")])

    assert refused.value.response["originalStatusCode"] == 500


def test_a_stream_that_breaks_off_raises_in_the_middle(runtime: Any) -> None:
    answer = runtime.converse_stream(modelId=SCRIPTED, messages=[said("Break off.")])
    events: list[Any] = []

    with (
        closing(answer["stream"]) as stream,
        pytest.raises(EventStreamError, match="modelStreamErrorException"),
    ):
        events.extend(stream)

    assert "contentBlockDelta" in events[-1]


def _product(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))
