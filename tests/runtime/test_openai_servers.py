"""Streams as vLLM, SGLang, llama.cpp and Ollama write them, read to the same events."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from outcrop.runtime.dialects.dialect import ComplaintError, ModelEvent, StopDetail
from outcrop.runtime.dialects.openai_reader import ChatReader
from outcrop.runtime.message import MessageParts
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ContentBlockDeltaEvent,
    ContentBlockStartEvent,
    MessageStopEvent,
    TokenUsage,
)
from tests.fakes.model_server import delta, sse, usage

VLLM = (
    b'data: {"id":"chatcmpl-8a","object":"chat.completion.chunk","created":1760000000,"model":"m",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,'
    b'"finish_reason":null}],"prompt_token_ids":null}\n\n'
    b'data: {"id":"chatcmpl-8a","choices":[{"index":0,"delta":{"reasoning":"Weather. "},'
    b'"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'
    b'data: {"id":"chatcmpl-8a","choices":[{"index":0,"delta":{"content":"\\n\\n"},'
    b'"finish_reason":null}]}\n\n'
    b'data: {"id":"chatcmpl-8a","choices":[{"index":0,"delta":{"tool_calls":[{"id":'
    b'"chatcmpl-tool-1","type":"function","index":0,"function":{"name":"weather"}}]},'
    b'"finish_reason":null}]}\n\n'
    b'data: {"id":"chatcmpl-8a","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,'
    b'"function":{"arguments":"{\\"city\\": "}}]},"finish_reason":null}]}\n\n'
    b'data: {"id":"chatcmpl-8a","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,'
    b'"function":{"arguments":"\\"Bern\\"}"}}]},"finish_reason":null}]}\n\n'
    b'data: {"id":"chatcmpl-8a","choices":[{"index":0,"delta":{"tool_calls":[{"id":'
    b'"chatcmpl-tool-2","type":"function","index":1,"function":{"name":"time"}}]}}]}\n\n'
    b'data: {"id":"chatcmpl-8a","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,'
    b'"function":{"arguments":"{}"}}]}}]}\n\n'
    b'data: {"id":"chatcmpl-8a","choices":[{"index":0,"delta":{"content":""},"logprobs":null,'
    b'"finish_reason":"tool_calls","stop_reason":null}]}\n\n'
    b'data: {"id":"chatcmpl-8a","choices":[],"usage":{"prompt_tokens":170,"total_tokens":200,'
    b'"completion_tokens":30,"prompt_tokens_details":null}}\n\ndata: [DONE]\n\n'
)
SGLANG = (
    b'data: {"id":"5f","object":"chat.completion.chunk","created":1760000000,"model":"m",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":null,'
    b'"tool_calls":null},"logprobs":null,"finish_reason":null,"matched_stop":null}],'
    b'"usage":null}\n\n'
    b'data: {"id":"5f","choices":[{"index":0,"delta":{"role":null,"content":null,'
    b'"reasoning_content":"Count.","tool_calls":null},"finish_reason":null,'
    b'"matched_stop":null}],"usage":null}\n\n'
    b'data: {"id":"5f","choices":[{"index":0,"delta":{"content":"one two "},'
    b'"finish_reason":null,"matched_stop":null}],"usage":null}\n\n'
    b'data: {"id":"5f","choices":[{"index":0,"delta":{"content":null},"finish_reason":"stop",'
    b'"matched_stop":"three"}],"usage":null}\n\n'
    b'data: {"id":"5f","choices":[],"usage":{"prompt_tokens":9,"total_tokens":14,'
    b'"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}\n\ndata: [DONE]\n\n'
)
LLAMA_CPP = (
    b'data: {"choices":[],"prompt_progress":{"total":20,"cache":0,"processed":20}}\n\n'
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant",'
    b'"content":null}}],"created":1760000000,"id":"chatcmpl-Xy","model":"m",'
    b'"system_fingerprint":"b1","object":"chat.completion.chunk"}\n\n'
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"one two "}}],'
    b'"id":"chatcmpl-Xy"}\n\n'
    b'data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"id":"chatcmpl-Xy",'
    b'"__verbose":{"stop_type":"word","stopping_word":"three"}}\n\n'
    b'data: {"choices":[],"id":"chatcmpl-Xy","usage":{"completion_tokens":5,"prompt_tokens":9,'
    b'"total_tokens":14},"timings":{"cache_n":0}}\n\ndata: [DONE]\n\n'
)
OLLAMA = (
    b'data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":1760000000,"model":"m",'
    b'"system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant",'
    b'"content":"","tool_calls":[{"id":"call_a","index":0,"type":"function","function":'
    b'{"name":"weather","arguments":"{\\"city\\":\\"Bern\\"}"}}]},"finish_reason":null}]}\n\n'
    b'data: {"id":"chatcmpl-7","choices":[{"index":0,"delta":{"role":"assistant","content":"",'
    b'"tool_calls":[{"id":"call_b","index":0,"type":"function","function":{"name":"time",'
    b'"arguments":"{}"}}]},"finish_reason":null}]}\n\n'
    b'data: {"id":"chatcmpl-7","choices":[{"index":0,"delta":{"role":"assistant","content":""},'
    b'"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"chatcmpl-7","choices":[],"usage":{"prompt_tokens":170,'
    b'"completion_tokens":30,"total_tokens":200}}\n\ndata: [DONE]\n\n'
)
COMPLETION = (
    b'data: {"id":"cmpl-1","object":"text_completion","created":1760000000,"model":"m","choices":'
    b'[{"index":0,"text":" one two","logprobs":null,"finish_reason":null,"stop_reason":null}],'
    b'"usage":null}\n\n'
    b'data: {"id":"cmpl-1","choices":[{"index":0,"text":"","finish_reason":"length",'
    b'"stop_reason":null}],"usage":null}\n\n'
    b'data: {"id":"cmpl-1","choices":[],"usage":{"prompt_tokens":3,"total_tokens":5,'
    b'"completion_tokens":2}}\n\ndata: [DONE]\n\n'
)


def read(*chunks: bytes, **options: Any) -> list[ModelEvent]:
    reader = ChatReader(**options)
    return [event for chunk in chunks for event in reader.feed(chunk)] + [*reader.end()]


def blocks(events: list[ModelEvent]) -> list[ContentBlock]:
    parts = MessageParts()
    for event in events:
        if isinstance(event, ContentBlockStartEvent | ContentBlockDeltaEvent):
            parts.add(event)
    return parts.blocks()


def calls(events: list[ModelEvent]) -> list[tuple[str, str, Any]]:
    uses = [block.tool_use for block in blocks(events) if block.tool_use]
    return [(use.tool_use_id, use.name, json.loads(bytes(use.input))) for use in uses]


def stop(events: list[ModelEvent]) -> MessageStopEvent:
    return next(event for event in events if isinstance(event, MessageStopEvent))


def reasoning(events: list[ModelEvent]) -> list[str]:
    found = [block.reasoning_content for block in blocks(events)]
    return [one.reasoning_text.text for one in found if one and one.reasoning_text]


def test_vllm_calls_two_tools_after_it_reasoned() -> None:
    events = read(VLLM)

    assert reasoning(events) == ["Weather. "]
    assert calls(events) == [
        ("chatcmpl-tool-1", "weather", {"city": "Bern"}),
        ("chatcmpl-tool-2", "time", {}),
    ]
    assert stop(events).stop_reason == "tool_use"
    assert len(blocks(events)) == 3


def test_sglang_tells_the_stop_string() -> None:
    events = read(SGLANG)

    assert reasoning(events) == ["Count."]
    assert blocks(events)[1].text == "one two "
    assert stop(events).stop_reason == "stop_sequence"
    assert events[events.index(stop(events)) - 1] == StopDetail("three")


def test_llama_cpp_tells_the_stop_string_of_its_own_accord() -> None:
    events = read(LLAMA_CPP)

    assert blocks(events) == [ContentBlock(text="one two ")]
    assert stop(events).stop_reason == "stop_sequence"
    assert StopDetail("three") in events


def test_ollama_gives_every_call_the_same_position_and_stops_without_a_word() -> None:
    events = read(OLLAMA)

    assert [name for _, name, _ in calls(events)] == ["weather", "time"]
    assert stop(events).stop_reason == "tool_use"


def test_a_completion_is_read_like_a_chat() -> None:
    events = read(COMPLETION)

    assert blocks(events) == [ContentBlock(text=" one two")]
    assert stop(events).stop_reason == "max_tokens"
    assert events[-1] == TokenUsage(input_tokens=3, output_tokens=2, total_tokens=5)


@given(
    st.sampled_from([VLLM, SGLANG, LLAMA_CPP, OLLAMA, COMPLETION]),
    st.lists(st.integers(0, 2500), max_size=20),
)
def test_every_server_reads_the_same_at_any_chunking(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(stream)]

    assert read(*(stream[a:b] for a, b in pairwise(edges))) == read(stream)


@pytest.mark.parametrize(
    ("written", "stop_reason"), [(7, "max_tokens"), (5, "model_context_window_exceeded")]
)
def test_an_end_before_the_callers_limit_is_the_models_own(written: int, stop_reason: str) -> None:
    stream = sse(delta("x"), delta(finish_reason="length"), usage(3, written))

    assert stop(read(stream, max_tokens=7)).stop_reason == stop_reason
    assert stop(read(stream)).stop_reason == "max_tokens"


def test_a_call_cut_off_by_the_limit_ended_for_the_limit() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "t", "arguments": '{"a":'}}
    cut = {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "length"}]}

    events = read(sse(cut))

    assert stop(events).stop_reason == "max_tokens"
    assert calls(events) == [("a", "t", '{"a":')]


def test_a_call_that_is_no_json_is_malformed_and_kept_as_it_was() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "t", "arguments": "city=Bern"}}
    answer = {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}

    events = read(sse(answer))

    assert stop(events).stop_reason == "malformed_tool_use"
    assert calls(events) == [("a", "t", "city=Bern")]


def test_a_refusal_is_text_and_a_filtered_answer() -> None:
    answer = {"choices": [{"delta": {"refusal": "No."}, "finish_reason": "stop"}]}

    events = read(sse(answer))

    assert blocks(events) == [ContentBlock(text="No.")]
    assert stop(events).stop_reason == "content_filtered"


def test_a_signature_ends_the_reasoning_it_belongs_to() -> None:
    thinking = {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "sig"}]}
    stream = sse(
        {"choices": [{"delta": {"reasoning_content": "hm"}}]},
        {"choices": [{"delta": thinking}]},
        delta("Yes"),
        delta(finish_reason="stop"),
    )

    first, second = blocks(read(stream))

    assert first.reasoning_content is not None
    assert first.reasoning_content.reasoning_text is not None
    assert first.reasoning_content.reasoning_text.signature == "sig"
    assert second.text == "Yes"


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_an_engine_that_gave_up_did_not_answer(reason: str) -> None:
    with pytest.raises(ComplaintError):
        read(sse(delta("x"), delta(finish_reason=reason)))


def test_fields_asked_for_come_back_where_the_pointers_find_them() -> None:
    stream = sse(
        {"system_fingerprint": "fp", **delta("a", logprobs={"content": [{"token": "a"}]})},
        delta("b", logprobs={"content": [{"token": "b"}]}),
        delta(finish_reason="stop", stop_reason="END"),
    )
    paths = ["/system_fingerprint", "/choices/0/logprobs", "/delta/stop_sequence", "/nothing/0"]

    fields = stop(read(stream, paths=paths)).additional_model_response_fields

    assert json.loads(bytes(fields)) == {
        "system_fingerprint": "fp",
        "choices": {"0": {"logprobs": {"content": [{"token": "a"}, {"token": "b"}]}}},
        "delta": {"stop_sequence": "END"},
    }


def test_no_field_found_is_no_member() -> None:
    stream = sse(delta("a"), delta(finish_reason="stop"))

    assert not stop(read(stream, paths=["/nothing"])).additional_model_response_fields


def test_what_servers_write_as_null_is_left_out() -> None:
    call = {"index": 0, "id": "a", "function": None, "type": None}
    stream = sse(
        {"id": None, "choices": None, "error": None},
        {"choices": [{"delta": {"content": "x", "tool_calls": [call]}, "finish_reason": None}]},
        {"choices": [{"delta": None, "finish_reason": "length"}]},
        {"choices": [], "usage": {"prompt_tokens": None, "completion_tokens": 2}},
    )

    events = read(stream)

    assert blocks(events) == [ContentBlock(text="x")]
    assert stop(events).stop_reason == "max_tokens"
    assert events[-1] == TokenUsage(input_tokens=0, output_tokens=2, total_tokens=2)


def test_mistrals_content_in_parts_is_reasoning_and_text() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    parts = [thinking, {"type": "text", "text": "Yes"}]
    stream = sse(
        {"choices": [{"delta": {"content": parts}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    )

    events = read(stream)

    assert reasoning(events) == ["hm"]
    assert blocks(events)[1].text == "Yes"


def test_reasoning_under_both_its_names_is_read_once() -> None:
    thought = {"reasoning": "hm", "reasoning_content": "hm"}
    stream = sse({"choices": [{"delta": thought, "finish_reason": "stop"}]})

    assert reasoning(read(stream)) == ["hm"]


def test_more_from_the_cache_than_there_was_is_no_debt() -> None:
    events = read(sse(delta("x"), delta(finish_reason="stop"), usage(3, 1, cached=5)))

    assert isinstance(events[-1], TokenUsage)
    assert events[-1].input_tokens == 0
