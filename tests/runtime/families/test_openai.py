import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from outcrop.runtime.families.openai import OpenAi
from outcrop.wire.errors import ValidationException
from tests.runtime.families.native import MODEL_ID, PNG, asked, conversation, refused_for

QWEN = OpenAi("a member of its own")
USER = {"role": "user", "content": "hi"}
BODY = {"messages": [USER]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "How it is outside",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Bern"}'},
}


def test_the_smallest_body_asks_for_nothing_else() -> None:
    assert conversation(QWEN, BODY) == {
        "modelId": MODEL_ID,
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "inferenceConfig": {},
    }


def test_what_converse_has_members_for_goes_there() -> None:
    body = {
        **BODY,
        "model": MODEL_ID,
        "stream": False,
        "max_completion_tokens": 10,
        "temperature": 1.5,
        "top_p": 0.5,
        "stop": "|",
        "service_tier": "flex",
        "n": 1,
        "logprobs": False,
        "store": None,
    }

    request = conversation(QWEN, body)

    assert request["inferenceConfig"] == {
        "maxTokens": 10,
        "temperature": 1.5,
        "topP": 0.5,
        "stopSequences": ["|"],
    }
    assert request["serviceTier"] == {"type": "flex"}
    assert "additionalModelRequestFields" not in request


def test_everything_else_goes_to_the_server_as_it_came() -> None:
    others = {
        "seed": 7,
        "frequency_penalty": 0.1,
        "reasoning_effort": "low",
        "logit_bias": {"5": 1},
        "chat_template_kwargs": {"enable_thinking": False},
    }

    request = conversation(QWEN, {**BODY, **others, "user": None})

    assert request["additionalModelRequestFields"] == others


def test_system_and_developer_messages_are_converses_system() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "developer", "content": [{"type": "text", "text": "In German."}]},
    ]

    request = conversation(QWEN, {"messages": messages})

    assert request["system"] == [{"text": "Be brief."}, {"text": "In German."}]
    assert request["messages"] == [{"role": "user", "content": [{"text": "hi"}]}]


def test_images_and_sounds_come_in_the_body() -> None:
    parts = [
        {"type": "text", "text": "What is it?"},
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"},
        },
        {"type": "image_url", "image_url": f"data:image/jpeg;base64,{PNG}"},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
    ]

    request = conversation(QWEN, {"messages": [{"role": "user", "content": parts}]})

    assert request["messages"][0]["content"] == [
        {"text": "What is it?"},
        {"image": {"format": "png", "source": {"bytes": PNG}}},
        {"image": {"format": "jpeg", "source": {"bytes": PNG}}},
        {"audio": {"format": "wav", "source": {"bytes": "aGk="}}},
    ]


def test_tools_and_their_history_become_converses() -> None:
    messages = [
        USER,
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "Two places.",
            "tool_calls": [CALL, {**CALL, "id": "call_2", "index": 1}],
            "refusal": None,
            "annotations": [],
            "audio": None,
            "function_call": None,
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": ""}]},
        {"role": "user", "content": "And?", "name": "Ann"},
    ]

    request = conversation(QWEN, {"messages": messages, "tools": [WEATHER]})

    _, answer, results = request["messages"]
    assert answer["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "Two places."}}},
        *(
            {"toolUse": {"toolUseId": name, "name": "weather", "input": {"city": "Bern"}}}
            for name in ("call_1", "call_2")
        ),
    ]
    assert results["content"] == [
        {"toolResult": {"toolUseId": "call_1", "content": [{"text": "sunny"}]}},
        {"toolResult": {"toolUseId": "call_2", "content": [{"text": ""}]}},
        {"text": "And?"},
    ]
    assert request["toolConfig"] == {
        "tools": [
            {
                "toolSpec": {
                    "name": "weather",
                    "description": "How it is outside",
                    "inputSchema": {"json": WEATHER["function"]["parameters"]},  # type: ignore[index]
                }
            }
        ]
    }


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"auto": {}}),
        ("required", {"any": {}}),
        ({"type": "function", "function": {"name": "weather"}}, {"tool": {"name": "weather"}}),
    ],
)
def test_every_tool_choice_has_its_place(choice: Any, expected: dict[str, Any]) -> None:
    request = conversation(QWEN, {**BODY, "tools": [WEATHER], "tool_choice": choice})

    assert request["toolConfig"]["toolChoice"] == expected


def test_no_tool_choice_is_kept_beside_the_tools() -> None:
    request = conversation(QWEN, {**BODY, "tools": [WEATHER], "tool_choice": "none", "seed": 1})

    assert "toolChoice" not in request["toolConfig"]
    assert request["additionalModelRequestFields"] == {"tool_choice": {"type": "none"}, "seed": 1}


def test_a_tool_without_parameters_takes_none() -> None:
    tool = {"type": "function", "function": {"name": "now", "parameters": None, "strict": True}}

    request = conversation(QWEN, {**BODY, "tools": [tool]})

    assert request["toolConfig"]["tools"][0]["toolSpec"] == {
        "name": "now",
        "inputSchema": {"json": {"type": "object", "properties": {}}},
        "strict": True,
    }


@pytest.mark.parametrize(
    ("response_format", "schema"),
    [
        ({"type": "json_object"}, {"schema": '{"type":"object"}'}),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": 1}}},
            {"schema": '{"a": 1}', "name": "n"},
        ),
    ],
)
def test_a_response_format_is_converses_output_config(
    response_format: dict[str, Any], schema: dict[str, Any]
) -> None:
    request = conversation(QWEN, {**BODY, "response_format": response_format})

    structure = request["outputConfig"]["textFormat"]["structure"]
    assert structure == {"jsonSchema": schema}


def test_text_as_response_format_asks_for_nothing() -> None:
    request = conversation(QWEN, {**BODY, "response_format": {"type": "text"}})

    assert "outputConfig" not in request


BROKEN = {"name": "weather", "arguments": '{"city"'}
FIRST = "#/messages/0"
DATA_URI = "^data:image/(png|jpeg|gif|webp);base64,"
REMOTE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.mark.parametrize(
    ("body", "violations"),
    [
        ({}, "#: required key [messages] not found"),
        ({"messages": []}, "#/messages: expected minimum item count: 1, found: 0"),
        ({"messages": [{"content": "hi"}]}, "#/messages/0: required key [role] not found"),
        (
            {"messages": [{"role": "robot", "content": "hi"}]},
            "#/messages/0/role: robot is not a valid enum value",
        ),
        (
            {"messages": [{**USER, "mood": "good"}]},
            "#/messages/0: extraneous key [mood] is not permitted",
        ),
        (
            {"messages": [{"role": "user", "content": [REMOTE]}]},
            f"{FIRST}/content/0/image_url/url: string does not match pattern {DATA_URI}",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{**CALL, "function": BROKEN}]}]},
            f"{FIRST}/tool_calls/0/function/arguments: expected type: JSONObject, found: String",
        ),
        ({**BODY, "stop": ""}, "#/stop: expected minLength: 1, actual: 0"),
        ({**BODY, "n": 2}, "#/n: 2 is not less or equal to 1"),
        ({**BODY, "logprobs": True}, "#/logprobs: true is not a valid enum value"),
        ({**BODY, "top_logprobs": 3}, "#/top_logprobs: 3 is not less or equal to 0"),
        ({**BODY, "store": True}, "#/store: true is not a valid enum value"),
        ({**BODY, "modalities": ["audio"]}, "#/modalities/0: audio is not a valid enum value"),
        (
            {**BODY, "amazon-bedrock-guardrailConfig": {"tagSuffix": "x"}},
            "#/amazon-bedrock-guardrailConfig: expected type: Null, found: JSONObject",
        ),
        ({**BODY, "functions": []}, "#/functions: expected type: Null, found: JSONArray"),
        ({**BODY, "max_tokens": "5"}, "#/max_tokens: expected type: Integer, found: String"),
        ({**BODY, "model": "other"}, "#/model: other is not a valid enum value"),
        ({**BODY, "stream": True}, "#/stream: true is not a valid enum value"),
        (
            {**BODY, "max_tokens": 1, "max_completion_tokens": 1},
            "#: only one of [max_tokens, max_completion_tokens] is permitted",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused(body: dict[str, Any], violations: str) -> None:
    assert refused_for(QWEN, body) == violations


@pytest.mark.parametrize("url", [f"data:image/png,{PNG}", "data:image/png;base64,%", "data:,"])
def test_an_image_that_is_none_is_refused(url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}

    with pytest.raises(ValidationException, match="#/messages/0/content/0/image_url/url: string"):
        asked(QWEN, {"messages": [{"role": "user", "content": [part]}]})


@given(st.text(min_size=1), st.dictionaries(st.text(), st.text()))
def test_any_text_and_any_input_reach_the_model(value: str, arguments: dict[str, str]) -> None:
    call = {**CALL, "function": {"name": "weather", "arguments": json.dumps(arguments)}}
    answer = {"role": "assistant", "content": None, "tool_calls": [call]}
    messages = [{"role": "user", "content": value}, answer]

    request = conversation(QWEN, {"messages": messages})

    assert request["messages"][0]["content"] == [{"text": value}]
    assert request["messages"][1]["content"][0]["toolUse"]["input"] == arguments


def _delta(chunk: Any) -> dict[str, Any]:
    delta: dict[str, Any] = chunk["choices"][0]["delta"]
    return delta
