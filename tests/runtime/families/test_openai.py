import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from outcrop.runtime.dialects.dialect import ModelEvent, StopDetail
from outcrop.runtime.families.family import Answer
from outcrop.runtime.families.openai import OpenAi
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    CitationGeneratedContent,
    CitationsContentBlock,
    ContentBlock,
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    ReasoningContentBlockDelta,
    TokenUsage,
)
from tests.runtime.families.native import (
    FRAGMENTS,
    MODEL_ID,
    NATIVE_METRICS,
    PNG,
    asked,
    chunks,
    conversation,
    invocation,
    message,
    reasoning,
    reasoning_block,
    said,
    text,
    text_block,
    tool_block,
    tool_use,
    whole,
)

GPT_OSS = OpenAi("tags in the text")
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


def test_no_tool_choice_means_no_tools() -> None:
    request = conversation(QWEN, {**BODY, "tools": [WEATHER], "tool_choice": "none"})

    assert "toolConfig" not in request


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
    with pytest.raises(ValidationException) as refused:
        asked(QWEN, body)

    words = f"Malformed input request: {violations}, please reformat your input and try again."
    assert refused.value.message == words


@pytest.mark.parametrize("url", [f"data:image/png,{PNG}", "data:image/png;base64,%", "data:,"])
def test_an_image_that_is_none_is_refused(url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}

    with pytest.raises(ValidationException, match="#/messages/0/content/0/image_url/url: string"):
        asked(QWEN, {"messages": [{"role": "user", "content": [part]}]})


def test_what_an_assistant_refused_it_has_said() -> None:
    parts = [{"type": "text", "text": "Sorry."}, {"type": "refusal", "refusal": "No."}]
    messages = [
        {"role": "assistant", "content": parts},
        {"role": "assistant", "content": "", "refusal": "Never."},
    ]

    request = conversation(QWEN, {"messages": messages})

    content = [{"text": "Sorry."}, {"text": "No."}, {"text": "Never."}]
    assert request["messages"] == [{"role": "assistant", "content": content}]


def test_input_from_a_cache_is_part_of_the_prompt() -> None:
    usage = TokenUsage(input_tokens=2, output_tokens=3, total_tokens=10, cache_read_input_tokens=5)
    answer = Answer(content=[text("Hello")], stop_reason="end_turn", usage=usage)

    native = json.loads(QWEN.response(answer, invocation(BODY)))

    assert native["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 5},
    }


def test_cited_text_is_text() -> None:
    cited = CitationsContentBlock(content=[CitationGeneratedContent(text="Hello")])

    answer = whole(QWEN, [ContentBlock(citations_content=cited)], body=BODY)

    assert answer["choices"][0]["message"]["content"] == "Hello"


def test_signatures_and_stop_sequences_have_no_chunk() -> None:
    signature = ContentBlockDelta(reasoning_content=ReasoningContentBlockDelta(signature="s"))
    events: list[ModelEvent] = [
        ContentBlockDeltaEvent(delta=signature, content_block_index=0),
        ContentBlockDeltaEvent(delta=ContentBlockDelta(), content_block_index=0),
        StopDetail(stop_sequence="|"),
    ]

    for family in (QWEN, GPT_OSS):
        assert len(chunks(family, events, body=BODY)) == 1


def test_an_answer_is_a_chat_completion() -> None:
    answer = whole(QWEN, [reasoning("Hm."), text("Hello")], body=BODY, model="qwen.qwen3-32b-v1:0")

    assert answer == {
        "id": "chatcmpl-abc123",
        "object": "chat.completion",
        "created": 1_800_000_000,
        "model": "qwen.qwen3-32b-v1:0",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "refusal": None,
                    "reasoning_content": "Hm.",
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def test_gpt_oss_thinks_aloud_before_it_answers() -> None:
    answer = whole(GPT_OSS, [reasoning("Hm."), text("Hello")], body=BODY)
    blocks = [reasoning_block(0, "H", "m."), text_block(1, "Hello")]
    streamed = chunks(GPT_OSS, message(*blocks), body=BODY)

    aloud = "<reasoning>Hm.</reasoning>Hello"
    assert answer["choices"][0]["message"]["content"] == aloud
    assert _content(streamed) == aloud


def test_thoughts_that_lead_nowhere_are_closed_all_the_same() -> None:
    events = message(reasoning_block(0, "Hm"), stop_reason="max_tokens")

    assert _content(chunks(GPT_OSS, events, body=BODY)) == "<reasoning>Hm</reasoning>"


def test_tool_calls_are_answered_with_null_text() -> None:
    calls = [tool_use("call_1", "weather", '{"city":"Bern"}')]

    answer = whole(QWEN, calls, body=BODY, stop_reason="tool_use")

    choice = answer["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    assert choice["message"]["tool_calls"] == [CALL]


def test_arguments_that_were_broken_off_are_told_as_they_were_written() -> None:
    broken = tool_use("call_1", "weather", json.dumps('{"city":"B'))

    answer = whole(QWEN, [broken], body=BODY, stop_reason="max_tokens")

    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["arguments"] == '{"city":"B'


def test_no_stop_sequences_are_none() -> None:
    assert conversation(QWEN, {**BODY, "stop": []}) == conversation(QWEN, BODY)


def test_tool_calls_are_streamed_as_the_model_writes_them() -> None:
    events = message(
        text_block(0, "One moment."),
        tool_block(1, "call_1", "weather", '{"city":', '"Bern"}'),
        tool_block(2, "call_2", "now"),
        stop_reason="tool_use",
    )

    streamed = chunks(QWEN, events, body=BODY)

    deltas = [choice["delta"] for chunk in streamed for choice in chunk["choices"]]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "One moment."},
        {"tool_calls": [_start(0, "call_1", "weather")]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Bern"}'}}]},
        {"tool_calls": [_start(1, "call_2", "now")]},
        {},
    ]
    assert streamed[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_only_the_last_chunk_has_the_metrics() -> None:
    *before, last = chunks(QWEN, said("Hello"), body=BODY)

    assert last == {
        "id": "chatcmpl-abc123",
        "object": "chat.completion.chunk",
        "created": 1_800_000_000,
        "model": "vendor.model-v1:0",
        "choices": [{"delta": {}, "index": 0, "finish_reason": "stop"}],
        "amazon-bedrock-invocationMetrics": NATIVE_METRICS,
    }
    assert all("amazon-bedrock-invocationMetrics" not in chunk for chunk in before)


def test_usage_comes_in_a_chunk_of_its_own_when_asked_for() -> None:
    body = {**BODY, "stream": True, "stream_options": {"include_usage": True}}

    *_, stop, last = chunks(QWEN, said("Hello"), body=body)

    assert stop["choices"][0]["finish_reason"] == "stop"
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert last["amazon-bedrock-invocationMetrics"] == NATIVE_METRICS


@given(FRAGMENTS, FRAGMENTS)
def test_a_stream_tells_what_the_whole_answer_tells(
    thoughts: list[str], fragments: list[str]
) -> None:
    blocks = [reasoning_block(0, *thoughts), text_block(1, *fragments)]
    content = [reasoning("".join(thoughts)), text("".join(fragments))]
    for family in (QWEN, GPT_OSS):
        streamed = chunks(family, message(*blocks), body=BODY)

        told = whole(family, content, body=BODY)["choices"][0]["message"]
        assert _content(streamed) == told["content"]
        assert _joined(streamed, "reasoning_content") == told.get("reasoning_content", "")


@given(st.dictionaries(st.text(), st.text()), st.data())
def test_a_tools_input_survives_any_cut(value: dict[str, str], data: st.DataObject) -> None:
    written = json.dumps(value)
    cut = data.draw(st.integers(0, len(written)))
    events = message(tool_block(0, "call_1", "weather", written[:cut], written[cut:]))

    streamed = chunks(QWEN, events, body=BODY)

    calls = [one for chunk in streamed for one in _delta(chunk).get("tool_calls", [])]
    assert "".join(one["function"]["arguments"] for one in calls) == written


@given(st.text(min_size=1), st.dictionaries(st.text(), st.text()))
def test_any_text_and_any_input_reach_the_model(value: str, arguments: dict[str, str]) -> None:
    call = {**CALL, "function": {"name": "weather", "arguments": json.dumps(arguments)}}
    answer = {"role": "assistant", "content": None, "tool_calls": [call]}
    messages = [{"role": "user", "content": value}, answer]

    request = conversation(QWEN, {"messages": messages})

    assert request["messages"][0]["content"] == [{"text": value}]
    assert request["messages"][1]["content"][0]["toolUse"]["input"] == arguments


def _start(index: int, call_id: str, name: str) -> dict[str, Any]:
    function = {"name": name, "arguments": ""}
    return {"index": index, "id": call_id, "type": "function", "function": function}


def _delta(chunk: Any) -> dict[str, Any]:
    delta: dict[str, Any] = chunk["choices"][0]["delta"]
    return delta


def _content(streamed: list[Any]) -> str:
    return _joined(streamed, "content")


def _joined(streamed: list[Any], member: str) -> str:
    return "".join(_delta(chunk).get(member, "") for chunk in streamed)
