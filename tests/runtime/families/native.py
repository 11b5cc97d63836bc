"""A family at work: bodies in, what a model said in Converse's events, chunks and answers out."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from msgspec import Raw

from outcrop.runtime.dialects.dialect import ModelEvent, Prompt
from outcrop.runtime.families.family import Answer, Family, Invocation, Metrics
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    ContentBlockStart,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    ConverseRequest,
    MessageStartEvent,
    MessageStopEvent,
    ReasoningContentBlock,
    ReasoningContentBlockDelta,
    ReasoningTextBlock,
    StopReason,
    TokenUsage,
    ToolUseBlock,
    ToolUseBlockDelta,
    ToolUseBlockStart,
)

MODEL_ID = "the-model"
USAGE = TokenUsage(input_tokens=7, output_tokens=3, total_tokens=10)
METRICS = Metrics(
    input_token_count=7, output_token_count=3, invocation_latency=40, first_byte_latency=20
)
NATIVE_METRICS = {
    "inputTokenCount": 7,
    "outputTokenCount": 3,
    "invocationLatency": 40,
    "firstByteLatency": 20,
}
PNG = "iVBORw0KGgo="
_MALFORMED = re.compile(
    r"Malformed input request: (?P<violations>.*), please reformat your input and try again\."
)

# Whatever a model may say, cut wherever a server may cut it.
FRAGMENTS = st.lists(st.text(min_size=1), min_size=1, max_size=8)


def asked(family: Family, body: dict[str, Any], *, streaming: bool = False) -> Any:
    return family.asked(json.dumps(body).encode(), MODEL_ID, streaming=streaming)


def refused_for(family: Family, body: dict[str, Any]) -> str:
    """What is wrong with the body, out of Amazon's words around it."""
    with pytest.raises(ValidationException) as refused:
        asked(family, body)
    found = _MALFORMED.fullmatch(refused.value.message)
    assert found, refused.value.message
    return found["violations"]


def prompt(family: Family, body: dict[str, Any]) -> Prompt:
    answer = asked(family, body)
    assert isinstance(answer, Prompt)
    return answer


def conversation(family: Family, body: dict[str, Any], *, streaming: bool = False) -> Any:
    """The canonical request, as JSON."""
    answer = asked(family, body, streaming=streaming)
    assert isinstance(answer, ConverseRequest)
    names = zip(answer.__struct_fields__, answer.__struct_encode_fields__, strict=True)
    members = {wire_name: getattr(answer, name) for name, wire_name in names}
    # An empty document is none.
    return {name: plain(value) for name, value in members.items() if value or value == {}}


def plain(value: Any) -> Any:
    return json.loads(msgspec.json.encode(value))


def invocation(body: dict[str, Any], foundation_model_id: str = "vendor.model-v1:0") -> Invocation:
    return Invocation(
        model_id=MODEL_ID,
        foundation_model_id=foundation_model_id,
        body=json.dumps(body).encode(),
        invocation_id="abc123",
        created=1_800_000_000,
    )


def whole(
    family: Family,
    content: Sequence[ContentBlock],
    *,
    body: dict[str, Any],
    stop_reason: StopReason = "end_turn",
    model: str = "vendor.model-v1:0",
) -> Any:
    answer = Answer(content=[*content], stop_reason=stop_reason, usage=USAGE)
    return json.loads(family.response(answer, invocation(body, model)))


def chunks(
    family: Family,
    events: Iterable[ModelEvent],
    *,
    body: dict[str, Any],
    model: str = "vendor.model-v1:0",
) -> list[Any]:
    writer = family.writer(invocation(body, model))
    native = [chunk for event in events for chunk in writer.feed(event)]
    native += writer.end(METRICS)
    return [json.loads(chunk) for chunk in native]


def said(*texts: str, stop_reason: StopReason = "end_turn") -> list[ModelEvent]:
    return message(text_block(0, *texts), stop_reason=stop_reason)


def message(*blocks: list[ModelEvent], stop_reason: StopReason = "end_turn") -> list[ModelEvent]:
    """Usage comes last."""
    events: list[ModelEvent] = [MessageStartEvent(role="assistant")]
    for block in blocks:
        events += block
    return [*events, MessageStopEvent(stop_reason=stop_reason), USAGE]


def text_block(index: int, *texts: str) -> list[ModelEvent]:
    return _block(index, [ContentBlockDelta(text=text) for text in texts])


def reasoning_block(index: int, *texts: str) -> list[ModelEvent]:
    deltas = [ReasoningContentBlockDelta(text=text) for text in texts]
    return _block(index, [ContentBlockDelta(reasoning_content=delta) for delta in deltas])


def tool_block(index: int, tool_use_id: str, name: str, *inputs: str) -> list[ModelEvent]:
    start = ContentBlockStart(tool_use=ToolUseBlockStart(tool_use_id=tool_use_id, name=name))
    deltas = [ContentBlockDelta(tool_use=ToolUseBlockDelta(input=one)) for one in inputs]
    started = ContentBlockStartEvent(start=start, content_block_index=index)
    return [started, *_block(index, deltas)]


def text(value: str) -> ContentBlock:
    return ContentBlock(text=value)


def reasoning(value: str) -> ContentBlock:
    block = ReasoningContentBlock(reasoning_text=ReasoningTextBlock(text=value))
    return ContentBlock(reasoning_content=block)


def tool_use(tool_use_id: str, name: str, arguments: str) -> ContentBlock:
    block = ToolUseBlock(tool_use_id=tool_use_id, name=name, input=Raw(arguments.encode()))
    return ContentBlock(tool_use=block)


def _block(index: int, deltas: Iterable[ContentBlockDelta]) -> list[ModelEvent]:
    events: list[ModelEvent] = [
        ContentBlockDeltaEvent(delta=delta, content_block_index=index) for delta in deltas
    ]
    return [*events, ContentBlockStopEvent(content_block_index=index)]
