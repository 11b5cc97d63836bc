"""What Anthropic's body says of tools and Converse does not: to each kind of server, or refused."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from outcrop.fleet.capabilities import Capabilities
from outcrop.runtime.dialects.anthropic_messages import AnthropicMessages
from outcrop.runtime.dialects.bedrock_converse import BedrockConverse
from outcrop.runtime.dialects.dialect import Dialect
from outcrop.runtime.dialects.openai_chat import OpenAiChat
from outcrop.runtime.dialects.refusals import refusal
from outcrop.runtime.families.anthropic import Anthropic
from outcrop.runtime.families.family import Family
from outcrop.runtime.families.mistral_chat import MistralChat
from outcrop.runtime.families.openai import OpenAi
from outcrop.runtime.families.palmyra import Palmyra
from outcrop.wire.errors import ValidationException
from tests.runtime.families.native import asked

CLAUDE = Anthropic()
READS_FILES = Capabilities(documents=True)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "description": "How it is outside", "input_schema": SCHEMA}
SEARCH = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
COMPUTER = {
    "type": "computer_20250124",
    "name": "computer",
    "display_width_px": 800,
    "display_height_px": 600,
}
CALLED = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}}


def body(*tools: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "?"}],
        "tools": list(tools),
        **members,
    }


def sent(dialect: Dialect, native: dict[str, Any], family: Family = CLAUDE) -> Any:
    text = json.dumps(native, separators=(",", ":")).encode()
    question = family.asked(text, "the-model", streaming=False)
    return json.loads(dialect.call(question, "m", READS_FILES).body)


@pytest.mark.parametrize(
    "more",
    [
        {"defer_loading": True},
        {"input_examples": [{"city": "Bern"}]},
        {"allowed_callers": ["direct"]},
        {"eager_input_streaming": False},
        {"type": "custom", "defer_loading": True, "strict": True},
        {"input_examples": [{}], "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ],
)
def test_to_anthropic_and_amazon_a_tool_goes_with_all_that_it_says(more: dict[str, Any]) -> None:
    tool, native = {**WEATHER, **more}, body({**WEATHER, **more}, SEARCH, {**WEATHER, "name": "b"})

    anthropics, amazons = sent(AnthropicMessages(), native), sent(BedrockConverse(), native)

    assert anthropics["tools"] == [{**WEATHER, "name": "b"}, tool, SEARCH]
    assert amazons["additionalModelRequestFields"]["tools"] == [tool, SEARCH]
    assert [one["toolSpec"]["name"] for one in amazons["toolConfig"]["tools"]] == ["b"]


def test_a_computer_goes_to_anthropic_and_amazon_with_its_screen() -> None:
    native = body(COMPUTER, anthropic_beta=["computer-use-2025-01-24"])

    assert sent(AnthropicMessages(), native)["tools"] == [COMPUTER]
    assert sent(BedrockConverse(), native)["additionalModelRequestFields"] == {
        "anthropic_beta": ["computer-use-2025-01-24"],
        "tools": [COMPUTER],
    }


def test_to_others_a_tool_is_offered_at_once_with_its_examples_in_the_schema() -> None:
    more = {"defer_loading": True, "input_examples": [{"city": "Bern"}], "strict": True}

    tools = sent(OpenAiChat(), body({**WEATHER, **more}))["tools"]

    assert tools == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "How it is outside",
                "parameters": {**SCHEMA, "examples": [{"city": "Bern"}]},
                "strict": True,
            },
        }
    ]


@pytest.mark.parametrize(
    ("tool", "why"),
    [
        (SEARCH, "tools of type tool_search_tool_regex_20251119"),
        (COMPUTER, "tools of type computer_20250124"),
        ({**WEATHER, "allowed_callers": ["code_execution_20250825"]}, "not call directly"),
    ],
)
def test_to_others_what_only_anthropic_can_do_is_refused(tool: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationException, match=why):
        sent(OpenAiChat(), body(tool))


def test_a_key_of_a_tool_that_nobody_knows_is_refused_and_not_dropped() -> None:
    with pytest.raises(ValidationException, match=r"#/tools/0: extraneous key \[colour\]"):
        asked(CLAUDE, body({**WEATHER, "colour": "red"}))


@pytest.mark.parametrize("tool", [{**WEATHER, "defer_loading": True}, COMPUTER])
def test_the_choice_of_a_tool_goes_where_the_tool_goes(tool: dict[str, Any]) -> None:
    choice = {"type": "tool", "name": tool["name"]}
    native = body(tool, {**WEATHER, "name": "b"}, tool_choice=choice)

    amazons = sent(BedrockConverse(), native)

    assert amazons["additionalModelRequestFields"]["tool_choice"] == choice
    assert "toolChoice" not in amazons["toolConfig"]
    assert sent(AnthropicMessages(), native)["tool_choice"] == choice


def test_a_tool_that_the_caller_has_found_is_a_reference_to_anthropic() -> None:
    found = [{"type": "tool_reference", "tool_name": "weather"}]
    native = body({**WEATHER, "defer_loading": True}, {**WEATHER, "name": "find"})
    native["messages"] = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": [{**CALLED, "name": "find"}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": found}],
        },
    ]

    anthropics, amazons = sent(AnthropicMessages(), native), sent(BedrockConverse(), native)

    assert anthropics["messages"][2]["content"][0]["content"] == found
    assert amazons["additionalModelRequestFields"]["tools"] == [WEATHER], "found by nobody else"
    assert "tool_reference" in sent(OpenAiChat(), native)["messages"][2]["content"]


CLAUDES = body(WEATHER, tool_choice={"type": "none"})
CLAUDES["messages"] = [
    {"role": "user", "content": "?"},
    {"role": "assistant", "content": [CALLED]},
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "12 C"},
            {"type": "text", "text": "Tell me in words."},
        ],
    },
]
CHAT: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "?"},
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": "toolu_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Bern"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "12 C"},
        {"role": "user", "content": "Tell me in words."},
    ],
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
    "tool_choice": "none",
    "max_tokens": 9,
}
FORBIDDEN: Mapping[str, tuple[Family, dict[str, Any]]] = {
    "anthropic": (CLAUDE, CLAUDES),
    "openai": (OpenAi("a member of its own"), CHAT),
    "mistral": (MistralChat(), CHAT),
    "palmyra": (Palmyra(), CHAT),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_anthropic_keeps_earlier_tools_when_none_may_be_called(name: str) -> None:
    family, native = FORBIDDEN[name]

    request = sent(AnthropicMessages(), native, family)

    assert request["tool_choice"] == {"type": "none"}
    assert [tool["name"] for tool in request["tools"]] == ["weather"]
    assert request["messages"][1]["content"] == [CALLED]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_amazon_reads_earlier_calls_as_text_when_none_may_be_made(name: str) -> None:
    family, native = FORBIDDEN[name]

    request = sent(BedrockConverse(), native, family)

    assert "toolConfig" not in request
    assert "tool_choice" not in request.get("additionalModelRequestFields", {})
    assert [message["content"] for message in request["messages"][1:]] == [
        [{"text": 'Call of the tool weather: {"city":"Bern"}'}],
        [{"text": "Result of the call toolu_1: 12 C"}, {"text": "Tell me in words."}],
    ]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_others_are_told_of_no_tool_when_none_may_be_called(name: str) -> None:
    family, native = FORBIDDEN[name]

    request = sent(OpenAiChat(), native, family)

    assert not {"tools", "tool_choice"} & request.keys()
    assert request["messages"][2]["role"] == "tool"


def test_a_server_without_tools_may_answer_when_none_may_be_called() -> None:
    plain = Capabilities(tools=False)

    assert refusal(asked(CLAUDE, CLAUDES), plain) is None
    assert refusal(asked(CLAUDE, {**CLAUDES, "tool_choice": {"type": "auto"}}), plain) is not None


def test_pictures_in_earlier_results_stay_pictures() -> None:
    picture = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
    }
    native = json.loads(json.dumps(CLAUDES))
    native["messages"][2]["content"][0]["content"] = [picture]

    answered = sent(BedrockConverse(), native)["messages"][2]["content"]

    assert answered[1] == {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}
