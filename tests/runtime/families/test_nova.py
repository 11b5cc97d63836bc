import json
from typing import Any

import pytest
from hypothesis import given, settings

from outcrop.runtime.families.nova import Nova
from outcrop.wire.shapes.bedrock_runtime import ConverseStreamRequest
from tests.runtime.families.native import (
    FRAGMENTS,
    MODEL_ID,
    NATIVE_METRICS,
    PNG,
    asked,
    chunks,
    conversation,
    message,
    refused_for,
    said,
    text,
    text_block,
    tool_block,
    tool_use,
    whole,
)

NOVA = Nova()
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
WEATHER = {
    "toolSpec": {
        "name": "weather",
        "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
}
USAGE = {
    "inputTokens": 7,
    "outputTokens": 3,
    "totalTokens": 10,
    "cacheReadInputTokenCount": 0,
    "cacheWriteInputTokenCount": 0,
}


def test_a_body_is_a_converse_request_but_for_a_few_keys() -> None:
    request = conversation(
        NOVA,
        {
            **BODY,
            "schemaVersion": "messages-v1",
            "system": [{"text": "Be brief."}],
            "inferenceConfig": {
                "maxTokens": 100,
                "temperature": 0.7,
                "topP": 0.9,
                "topK": 20,
                "stopSequences": ["."],
            },
            "toolConfig": {"tools": [WEATHER], "toolChoice": {"tool": {"name": "weather"}}},
        },
    )

    assert request == {
        "modelId": MODEL_ID,
        **BODY,
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {
            "maxTokens": 100,
            "temperature": 0.7,
            "topP": 0.9,
            "stopSequences": ["."],
        },
        "toolConfig": {"tools": [WEATHER], "toolChoice": {"tool": {"name": "weather"}}},
        "additionalModelRequestFields": {"inferenceConfig": {"topK": 20}},
    }


def test_a_stream_asks_the_same() -> None:
    assert isinstance(asked(NOVA, BODY, streaming=True), ConverseStreamRequest)


def test_the_older_spelling_is_taken() -> None:
    config = {"max_new_tokens": 1000, "top_p": 0.5, "top_k": 5}

    request = conversation(NOVA, {**BODY, "inferenceConfig": config})

    assert request["inferenceConfig"] == {"maxTokens": 1000, "topP": 0.5}
    assert request["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 5}}


def test_images_are_taken() -> None:
    block = {"image": {"format": "png", "source": {"bytes": PNG}}}
    turn = {"role": "user", "content": [block, {"text": "What is it?"}]}

    assert conversation(NOVA, {"messages": [turn]})["messages"] == [turn]


def test_how_it_reasons_is_an_additional_field() -> None:
    config = {"type": "enabled", "maxReasoningEffort": "low"}

    request = conversation(NOVA, {**BODY, "inferenceConfig": {"reasoningConfig": config}})

    assert request["additionalModelRequestFields"] == {"reasoningConfig": config}


@pytest.mark.parametrize(
    ("body", "violation"),
    [
        ({}, "#: required key [messages] not found"),
        ({**BODY, "max_tokens": 5}, "#: extraneous key [max_tokens] is not permitted"),
        (
            {**BODY, "inferenceConfig": {"topK": 129}},
            "#/inferenceConfig/topK: 129 is not less or equal to 128",
        ),
        (
            {**BODY, "schemaVersion": "messages-v2"},
            "#/schemaVersion: messages-v2 is not a valid enum value",
        ),
        (
            {"messages": [{"role": "user", "content": "hello"}]},
            "#/messages/0/content: expected type: JSONArray, found: String",
        ),
        (
            {"messages": [{"role": "user", "content": [{}]}]},
            "#/messages: no subschema matched",
        ),
    ],
)
def test_a_body_that_breaks_the_schema_is_refused(body: dict[str, Any], violation: str) -> None:
    assert refused_for(NOVA, body) == violation


def test_an_answer_has_the_documented_shape() -> None:
    # docs.aws.amazon.com/nova/latest/userguide/using-invoke-api.html
    blocks = [text("So:"), tool_use("t1", "weather", '{"city":"Åre"}')]

    answer = whole(NOVA, blocks, body=BODY, stop_reason="tool_use")

    use = {"toolUseId": "t1", "name": "weather", "input": {"city": "Åre"}}
    assert answer == {
        "output": {
            "message": {"content": [{"text": "So:"}, {"toolUse": use}], "role": "assistant"}
        },
        "stopReason": "tool_use",
        "usage": USAGE,
    }


def test_a_stream_is_converses_events_under_their_names() -> None:
    events = message(
        text_block(0, "Hel", "lo"), tool_block(1, "t1", "weather", "{}"), stop_reason="tool_use"
    )

    start = {"toolUse": {"toolUseId": "t1", "name": "weather"}}
    assert chunks(NOVA, events, body=BODY) == [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"delta": {"text": "Hel"}, "contentBlockIndex": 0}},
        {"contentBlockDelta": {"delta": {"text": "lo"}, "contentBlockIndex": 0}},
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"contentBlockStart": {"start": start, "contentBlockIndex": 1}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": "{}"}}, "contentBlockIndex": 1}},
        {"contentBlockStop": {"contentBlockIndex": 1}},
        {"messageStop": {"stopReason": "tool_use"}},
        {
            "metadata": {"usage": USAGE, "metrics": {}, "trace": {}},
            "amazon-bedrock-invocationMetrics": NATIVE_METRICS,
        },
    ]


@given(texts=FRAGMENTS)
@settings(derandomize=True, database=None)
def test_nothing_is_lost_however_it_was_cut(texts: list[str]) -> None:
    told = chunks(NOVA, said(*texts), body=BODY)

    deltas = [chunk["contentBlockDelta"] for chunk in told if "contentBlockDelta" in chunk]
    assert "".join(delta["delta"]["text"] for delta in deltas) == "".join(texts)


def test_any_unicode_goes_in_and_out() -> None:
    odd = '\x00\u2028\U0001f9ff\\"'
    turn = {"role": "user", "content": [{"text": odd}]}

    request = NOVA.asked(json.dumps({"messages": [turn]}).encode(), MODEL_ID, streaming=False)

    assert not isinstance(request, str)
    assert conversation(NOVA, {"messages": [turn]})["messages"] == [turn]
    answer = whole(NOVA, [text(odd)], body=BODY)
    assert answer["output"]["message"]["content"] == [{"text": odd}]
