from typing import Any

from hypothesis import given, settings

from outcrop.runtime.dialects.dialect import StopDetail
from outcrop.runtime.families.anthropic import Anthropic
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    ContentBlockStopEvent,
    MessageStopEvent,
    ReasoningContentBlockDelta,
)
from tests.runtime.families.native import (
    FRAGMENTS,
    METRICS,
    NATIVE_METRICS,
    chunks,
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

CLAUDE = Anthropic()
MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
BODY: dict[str, Any] = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}


def test_an_answer_has_the_recorded_shape() -> None:
    answer = whole(CLAUDE, [text("Hello")], body=BODY, model=MODEL)

    # envoyproxy/ai-gateway, tests/data-plane/testupstream_test.go, for keys and their order.
    assert [*answer.items()] == [
        ("model", "claude-sonnet-4-5-20250929"),
        ("id", "msg_bdrk_abc123"),
        ("type", "message"),
        ("role", "assistant"),
        ("content", [{"type": "text", "text": "Hello"}]),
        ("stop_reason", "end_turn"),
        ("stop_sequence", None),
        (
            "usage",
            {
                "input_tokens": 7,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 0,
                    "ephemeral_1h_input_tokens": 0,
                },
                "output_tokens": 3,
            },
        ),
    ]


def test_an_answer_of_thoughts_and_tools_has_its_blocks() -> None:
    blocks = [reasoning("Hm."), text("So:"), tool_use("toolu_1", "weather", '{"city":"Åre"}')]

    answer = whole(CLAUDE, blocks, body=BODY, stop_reason="tool_use", model=MODEL)

    assert answer["stop_reason"] == "tool_use"
    assert answer["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "text", "text": "So:"},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Åre"}},
    ]


def test_a_stream_is_told_in_anthropics_events() -> None:
    events = message(
        reasoning_block(0, "Hm."),
        text_block(1, "Hel", "lo"),
        tool_block(2, "toolu_1", "weather", "", '{"city":', '"Åre"}'),
        stop_reason="tool_use",
    )

    told = chunks(CLAUDE, events, body=BODY, model=MODEL)

    start = told[0]["message"]
    assert [*start] == [
        *("model", "id", "type", "role", "content", "stop_reason", "stop_sequence", "usage")
    ]
    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    assert told[1:] == [
        {"type": "content_block_start", "index": 0, "content_block": thinking},
        delta(0, {"type": "thinking_delta", "thinking": "Hm."}),
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        delta(1, {"type": "text_delta", "text": "Hel"}),
        delta(1, {"type": "text_delta", "text": "lo"}),
        {"type": "content_block_stop", "index": 1},
        {"type": "content_block_start", "index": 2, "content_block": use},
        delta(2, {"type": "input_json_delta", "partial_json": ""}),
        delta(2, {"type": "input_json_delta", "partial_json": '{"city":'}),
        delta(2, {"type": "input_json_delta", "partial_json": '"Åre"}'}),
        {"type": "content_block_stop", "index": 2},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {
                "input_tokens": 7,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 3,
            },
        },
        {"type": "message_stop", "amazon-bedrock-invocationMetrics": NATIVE_METRICS},
    ]


def delta(index: int, native: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": native}


def test_chunks_are_compact() -> None:
    writer = CLAUDE.writer(invocation(BODY, MODEL))

    (last,) = writer.end(METRICS)

    assert last == (
        b'{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":7,'
        b'"outputTokenCount":3,"invocationLatency":40,"firstByteLatency":20}}'
    )


def test_the_stop_sequence_is_told_where_it_is_known() -> None:
    *events, stop, usage = said("Hello", stop_reason="stop_sequence")
    assert isinstance(stop, MessageStopEvent)

    told = chunks(CLAUDE, [*events, StopDetail("\n\nHuman:"), stop, usage], body=BODY)

    assert told[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "\n\nHuman:"}


def test_what_a_thought_is_signed_with_is_a_delta_and_what_is_hidden_is_none() -> None:
    signature = ReasoningContentBlockDelta(signature="c2ln")
    hidden = ReasoningContentBlockDelta(redacted_content=b"Opaque")
    deltas = [(0, signature), (1, hidden)]
    events = [
        event
        for index, native in deltas
        for event in (
            ContentBlockDeltaEvent(
                delta=ContentBlockDelta(reasoning_content=native), content_block_index=index
            ),
            ContentBlockStopEvent(content_block_index=index),
        )
    ]

    told = chunks(CLAUDE, events, body=BODY)

    assert told[1]["delta"] == {"type": "signature_delta", "signature": "c2ln"}
    assert told[3]["content_block"] == {"type": "redacted_thinking", "data": "Opaque"}
    assert told[4] == {"type": "content_block_stop", "index": 1}


def test_a_block_that_says_nothing_keeps_its_place() -> None:
    events = message(text_block(0), tool_block(1, "toolu_1", "weather", "{}"))

    told = chunks(CLAUDE, events, body=BODY)

    starts = [c["index"] for c in told if c["type"] == "content_block_start"]
    stops = [c["index"] for c in told if c["type"] == "content_block_stop"]
    assert starts == stops == [0, 1]


@given(texts=FRAGMENTS, inputs=FRAGMENTS)
@settings(derandomize=True, database=None)
def test_nothing_is_lost_however_it_was_cut(texts: list[str], inputs: list[str]) -> None:
    events = message(text_block(0, *texts), tool_block(1, "toolu_1", "weather", *inputs))

    told = [c["delta"] for c in chunks(CLAUDE, events, body=BODY) if "content_block_d" in c["type"]]

    assert "".join(d.get("text", "") for d in told) == "".join(texts)
    assert "".join(d.get("partial_json", "") for d in told) == "".join(inputs)
