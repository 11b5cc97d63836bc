import json
from base64 import b64encode
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from outcrop.fleet.capabilities import Capabilities
from outcrop.runtime.dialects.anthropic_messages import AnthropicMessages
from outcrop.runtime.families.anthropic import Anthropic
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ConverseStreamRequest,
    ReasoningContentBlock,
)
from tests.runtime.families.native import (
    MODEL_ID,
    PNG,
    asked,
    conversation,
    whole,
)

CLAUDE = Anthropic()
MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
BODY: dict[str, Any] = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 100,
    "messages": HELLO,
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "description": "Of a city.", "input_schema": SCHEMA}
EPHEMERAL = {"type": "ephemeral"}


def turn(*blocks: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": [*blocks]}


def converse(**body: Any) -> Any:
    return conversation(CLAUDE, {**BODY, **body})


def content(*blocks: dict[str, Any], role: str = "user") -> Any:
    """Of the last message."""
    turns = HELLO if role == "assistant" else []
    return converse(messages=[*turns, turn(*blocks, role=role)])["messages"][-1]["content"]


def refusal(**body: Any) -> str:
    with pytest.raises(ValidationException) as caught:
        asked(CLAUDE, {name: value for name, value in {**BODY, **body}.items() if value != "-"})
    return caught.value.message


def test_the_least_body_is_a_conversation() -> None:
    assert converse() == {
        "modelId": MODEL_ID,
        "messages": [{"role": "user", "content": [{"text": "hello"}]}],
        "inferenceConfig": {"maxTokens": 100},
    }


def test_a_stream_asks_the_same() -> None:
    assert isinstance(asked(CLAUDE, BODY, streaming=True), ConverseStreamRequest)


def test_parameters_are_converses_or_additional_fields() -> None:
    request = converse(
        system="Be brief.",
        temperature=0.5,
        top_p=0.9,
        top_k=7,
        stop_sequences=["\n\nHuman:"],
        thinking={"type": "enabled", "budget_tokens": 1024},
        anthropic_beta=["context-1m-2025-08-07"],
        metadata={"user_id": "u"},
        context_management={"edits": []},
        output_config={"effort": "low"},
    )

    assert request["system"] == [{"text": "Be brief."}]
    assert request["inferenceConfig"] == {
        "maxTokens": 100,
        "temperature": 0.5,
        "topP": 0.9,
        "stopSequences": ["\n\nHuman:"],
    }
    assert request["additionalModelRequestFields"] == {
        "top_k": 7,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "anthropic_beta": ["context-1m-2025-08-07"],
        "metadata": {"user_id": "u"},
        "context_management": {"edits": []},
        "output_config": {"effort": "low"},
    }


def test_an_answer_can_be_held_to_a_schema() -> None:
    wanted = {"type": "json_schema", "schema": SCHEMA}

    config = converse(output_config={"format": wanted})["outputConfig"]

    definition = config["textFormat"]["structure"]["jsonSchema"]
    assert json.loads(definition["schema"]) == SCHEMA
    assert converse(output_format=wanted)["outputConfig"]["textFormat"]["type"] == "json_schema"


def test_cache_control_is_a_cache_point_behind_its_block() -> None:
    request = converse(
        system=[{"type": "text", "text": "Be brief.", "cache_control": EPHEMERAL}],
        tools=[{**WEATHER, "cache_control": {**EPHEMERAL, "ttl": "1h"}}],
        messages=[turn({"type": "text", "text": "hello", "cache_control": EPHEMERAL})],
    )

    point = {"cachePoint": {"type": "default"}}
    assert request["system"] == [{"text": "Be brief."}, point]
    assert request["toolConfig"]["tools"][1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert request["messages"][0]["content"] == [{"text": "hello"}, point]


def test_turns_of_one_role_in_a_row_are_one_message() -> None:
    turns = [*HELLO, {"role": "user", "content": "again"}, {"role": "assistant", "content": "Hi"}]

    assert converse(messages=turns)["messages"] == [
        {"role": "user", "content": [{"text": "hello"}, {"text": "again"}]},
        {"role": "assistant", "content": [{"text": "Hi"}]},
    ]


def test_images_and_documents_are_taken() -> None:
    pdf = b64encode(b"%PDF-1.7").decode()
    image = {"type": "base64", "media_type": "image/png", "data": PNG}
    base64 = {"type": "base64", "media_type": "application/pdf", "data": pdf}
    plain = {"type": "text", "media_type": "text/plain", "data": "as it is"}
    parts = {"type": "content", "content": [{"type": "text", "text": "in parts"}]}

    blocks = content(
        {"type": "image", "source": image},
        {"type": "document", "source": base64, "title": "Report", "citations": {"enabled": True}},
        {"type": "document", "source": plain, "context": "trustworthy"},
        {"type": "document", "source": parts},
    )

    assert blocks == [
        {"image": {"format": "png", "source": {"bytes": PNG}}},
        {
            "document": {
                "format": "pdf",
                "name": "Report",
                "source": {"bytes": pdf},
                "citations": {"enabled": True},
            }
        },
        {
            "document": {
                "format": "txt",
                "name": "document",
                "source": {"text": "as it is"},
                "context": "trustworthy",
            }
        },
        {
            "document": {
                "format": "txt",
                "name": "document",
                "source": {"content": [{"text": "in parts"}]},
            }
        },
    ]


def test_a_turn_of_thoughts_and_tools_goes_there_and_back() -> None:
    thoughts = [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "Opaque+Text=="},
    ]
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Åre"}}

    blocks = content(*thoughts, use, role="assistant")

    assert blocks[0] == {
        "reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}
    }
    assert blocks[2]["toolUse"] == {
        "toolUseId": "toolu_1",
        "name": "weather",
        "input": {"city": "Åre"},
    }
    redacted = ReasoningContentBlock(redacted_content=b"Opaque+Text==")
    answered = whole(CLAUDE, [ContentBlock(reasoning_content=redacted)], body=BODY, model=MODEL)
    assert answered["content"] == [thoughts[1]]


@pytest.mark.parametrize(
    ("given_content", "parts"),
    [
        ("sunny", [{"text": "sunny"}]),
        ([{"type": "text", "text": "sunny"}], [{"text": "sunny"}]),
        (None, []),
    ],
)
def test_a_tools_result_has_any_form(given_content: Any, parts: list[Any]) -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": given_content}

    assert content(result)[0]["toolResult"] == {"toolUseId": "toolu_1", "content": parts}


def test_a_tool_may_have_failed() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": "no", "is_error": True}

    assert content(result)[0]["toolResult"]["status"] == "error"


def test_tools_of_the_caller_are_converses() -> None:
    config = converse(tools=[WEATHER, {**WEATHER, "type": "custom", "name": "w2"}])["toolConfig"]

    assert config["tools"][0]["toolSpec"] == {
        "name": "weather",
        "description": "Of a city.",
        "inputSchema": {"json": SCHEMA},
    }
    assert config["tools"][1]["toolSpec"]["name"] == "w2"


def test_anthropics_own_tools_go_as_they_are() -> None:
    bash = {"type": "bash_20250124", "name": "bash"}

    request = converse(tools=[bash])

    assert "toolConfig" not in request
    assert request["additionalModelRequestFields"] == {"tools": [bash]}


def test_a_choice_among_anthropics_own_tools_goes_with_them() -> None:
    bash = {"type": "bash_20250124", "name": "bash"}

    request = converse(tools=[bash], tool_choice={"type": "any"})

    assert request["additionalModelRequestFields"] == {
        "tool_choice": {"type": "any"},
        "tools": [bash],
    }


def test_an_empty_turn_at_the_end_is_an_answer_not_begun() -> None:
    request = converse(messages=[*HELLO, {"role": "assistant", "content": ""}])

    assert [message["role"] for message in request["messages"]] == ["user"]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"type": "auto"}, {"auto": {}}),
        ({"type": "any"}, {"any": {}}),
        ({"type": "tool", "name": "weather"}, {"tool": {"name": "weather"}}),
    ],
)
def test_every_choice_of_a_tool_is_converses(choice: Any, wanted: Any) -> None:
    config = converse(tools=[WEATHER], tool_choice=choice)["toolConfig"]

    assert config["toolChoice"] == wanted


@pytest.mark.parametrize(
    "choice", [{"type": "none"}, {"type": "any", "disable_parallel_tool_use": True}]
)
def test_a_choice_that_converse_has_no_word_for_goes_as_it_is(choice: Any) -> None:
    request = converse(tools=[WEATHER], tool_choice=choice)

    assert "toolChoice" not in request["toolConfig"]
    assert request["additionalModelRequestFields"] == {"tool_choice": choice}


@pytest.mark.parametrize(
    ("body", "violations"),
    [
        ({"max_tokens": "-"}, "#: required key [max_tokens] not found"),
        ({"model": MODEL, "stream": True},
         "#: extraneous key [model] is not permitted, #: extraneous key [stream] is not permitted"),
        ({"max_tokens": "1"}, "#/max_tokens: expected type: Integer, found: String"),
        ({"max_tokens": 0}, "#/max_tokens: 0 is not greater or equal to 1"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool"}},
         "#/tool_choice: required key [name] not found"),
        ({"stop_sequences": [""]}, "#/stop_sequences/0: expected minLength: 1, actual: 0"),
        ({"anthropic_version": "2023-06-01"},
         "#/anthropic_version: 2023-06-01 is not a valid enum value"),
        ({"temperature": 1.5}, "#/temperature: 1.5 is not less or equal to 1"),
        ({"messages": []}, "#/messages: expected minimum item count: 1, found: 0"),
        ({"messages": [{"role": "system", "content": "x"}]},
         "#/messages/0/role: system is not a valid enum value"),
        ({"messages": [turn({"type": "txt"})]},
         "#/messages/0/content/0/type: txt is not a valid enum value"),
        ({"messages": [turn({"type": "text", "text": "x", "y": 1})]},
         "#/messages/0/content/0: extraneous key [y] is not permitted"),
        ({"messages": [{"role": "user", "content": 7}]},
         "#/messages/0/content: no subschema matched out of the total 2 subschemas"),
        ({"tools": [{"name": 7}]}, "#/tools/0/name: expected type: String, found: Integer"),
        ({"tools": [{"name": "t"}]}, "#/tools/0: required key [input_schema] not found"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
         "#/tools/0/type: web_search_20250305 is not a valid enum value"),
        ({"tools": [{"name": "t", "input_schema": []}]},
         "#/tools/0/input_schema: expected type: JSONObject, found: JSONArray"),
    ],
)  # fmt: skip
def test_a_body_that_breaks_the_schema_is_refused(body: dict[str, Any], violations: str) -> None:
    assert refusal(**body) == (
        f"Malformed input request: {violations}, please reformat your input and try again."
    )


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"a":"\xff"}', b"[" * 100_000])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(ValidationException, match="Malformed input request"):
        CLAUDE.asked(body, MODEL_ID, streaming=False)


@pytest.mark.parametrize(
    ("turns", "sentence"),
    [
        ([{"role": "assistant", "content": "x"}], 'first message must use the "user" role'),
        ([turn({"type": "text", "text": ""})], "text content blocks must be non-empty"),
        ([turn({"type": "text", "text": " "})], "must contain non-whitespace text"),
        ([{"role": "user", "content": ""}], "messages.0: all messages must have non-empty content"),
    ],
)
def test_what_the_model_refuses_is_refused_in_its_words(turns: Any, sentence: str) -> None:
    assert sentence in refusal(messages=turns)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(key=st.sampled_from(["system", "tools", "messages", "thinking", "tool_choice", "metadata"]),
       value=JSON_VALUES)  # fmt: skip
@settings(derandomize=True, database=None)
def test_any_value_is_accepted_or_refused(key: str, value: Any) -> None:
    with suppress(ValidationException):
        asked(CLAUDE, {**BODY, key: value})


def test_a_body_reaches_a_server_of_anthropics_as_it_was() -> None:
    image = {"type": "base64", "media_type": "image/png", "data": PNG}
    body = {
        "max_tokens": 2000,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": EPHEMERAL}],
        "messages": [
            turn({"type": "text", "text": "What is it?"}, {"type": "image", "source": image}),
            turn(
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "Opaque+Text=="},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
                role="assistant",
            ),
            turn(
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "sunny"}],
                    "is_error": True,
                    "cache_control": {**EPHEMERAL, "ttl": "1h"},
                }
            ),
        ],
        "tools": [WEATHER, {"type": "bash_20250124", "name": "bash"}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "temperature": 1.0,
        "top_k": 5,
        "stop_sequences": ["."],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "metadata": {"user_id": "u"},
        "output_config": {"effort": "low"},
    }
    version = {"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["b-1"]}

    call = AnthropicMessages().call(asked(CLAUDE, {**body, **version}), "claude", Capabilities())

    assert json.loads(call.body) == {**body, "model": "claude", "stream": True}
    assert call.headers["anthropic-beta"] == "b-1"
