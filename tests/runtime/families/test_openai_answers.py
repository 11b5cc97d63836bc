import json
from typing import Any

from hypothesis import given, strategies as st

from outcrop.runtime.dialects.dialect import ModelEvent, StopDetail
from outcrop.runtime.families.family import Answer
from outcrop.runtime.families.openai import OpenAi
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
    NATIVE_METRICS,
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
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Bern"}'},
}


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
