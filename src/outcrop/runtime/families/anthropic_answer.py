"""What Claude's callers read: a message of Anthropic's Messages API, whole or as its events."""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from outcrop.runtime.dialects.anthropic_citations import as_anthropic
from outcrop.runtime.dialects.anthropic_content import own_tool_result
from outcrop.runtime.dialects.dialect import ModelEvent, StopDetail
from outcrop.runtime.families.family import METRICS, Answer, Invocation, Metrics
from outcrop.runtime.message import tool_result
from outcrop.wire.shapes.bedrock_runtime import (
    Citation,
    CitationsContentBlock,
    CitationsDelta,
    CitationSourceContent,
    ContentBlock,
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    MessageStartEvent,
    MessageStopEvent,
    ReasoningContentBlock,
    ReasoningContentBlockDelta,
    TokenUsage,
    ToolResultBlockDelta,
    ToolResultBlockStart,
    ToolUseType,
)

STOP_REASONS: Mapping[str, str] = {
    "end_turn": "end_turn",
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "content_filtered": "refusal",
    "model_context_window_exceeded": "model_context_window_exceeded",
}

_VERSION = re.compile(r"-v\d+(:.*)?$")
_ID_LENGTH = 24

_Json = dict[str, Any]


def response(answer: Answer, invocation: Invocation) -> bytes:
    message = _message(
        invocation,
        content=[_block(block) for block in answer.content],
        stop_reason=STOP_REASONS.get(answer.stop_reason, "end_turn"),
        stop_sequence=answer.stop_sequence,
        usage=_usage(answer.usage),
    )
    return msgspec.json.encode(message)


class EventWriter:
    """`message_start` to `message_stop`, in the order and with the keys that Amazon sends."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._open: int | None = None
        self._result: ToolResultBlockStart | None = None
        self._found: list[ToolResultBlockDelta] = []
        self._stop_reason = "end_turn"
        self._stop_sequence: str | None = None

    def feed(self, event: ModelEvent) -> Iterator[bytes]:
        match event:
            case MessageStartEvent():
                yield self._message_start()
            case ContentBlockStartEvent():
                yield from self._start(event)
            case ContentBlockDeltaEvent():
                yield from self._delta(event.delta, event.content_block_index)
            case ContentBlockStopEvent():
                yield from self._stop(event.content_block_index)
            case StopDetail():
                self._stop_sequence = event.stop_sequence
            case MessageStopEvent():
                self._stop_reason = STOP_REASONS.get(event.stop_reason, "end_turn")
            case TokenUsage():
                yield self._message_delta(event)
            case _:
                pass

    def end(self, metrics: Metrics) -> Iterator[bytes]:
        yield msgspec.json.encode({"type": "message_stop", METRICS: metrics})

    def _message_start(self) -> bytes:
        # How long the input is, most model servers say at the end: `message_delta` has it.
        usage = _usage(TokenUsage(input_tokens=0, output_tokens=0, total_tokens=0))
        message = _message(
            self._invocation, content=[], stop_reason=None, stop_sequence=None, usage=usage
        )
        return msgspec.json.encode({"type": "message_start", "message": message})

    def _start(self, event: ContentBlockStartEvent) -> Iterator[bytes]:
        use = event.start.tool_use
        self._result, self._found = event.start.tool_result, []
        if use is not None:
            block = _tool_use(use.tool_use_id, use.name, {}, use.type)
            yield from self._open_block(event.content_block_index, block)

    def _delta(self, delta: ContentBlockDelta, index: int) -> Iterator[bytes]:
        if delta.tool_result is not None:
            # Anthropic tells what its tools found whole, with the start of the block.
            self._found += delta.tool_result
            return
        if self._open != index:
            yield from self._open_block(index, _opening(delta))
        for native in _deltas(delta):
            yield msgspec.json.encode(
                {"type": "content_block_delta", "index": index, "delta": native}
            )

    def _open_block(self, index: int, block: _Json) -> Iterator[bytes]:
        self._open = index
        yield msgspec.json.encode(
            {"type": "content_block_start", "index": index, "content_block": block}
        )

    def _stop(self, index: int) -> Iterator[bytes]:
        if self._result is not None:
            found = own_tool_result(tool_result(self._result, self._found))
            yield from self._open_block(index, found)
            self._result = None
        elif self._open != index:
            # A block that says nothing is there all the same: clients count blocks by their starts.
            yield from self._open_block(index, {"type": "text", "text": ""})
        self._open = None
        yield msgspec.json.encode({"type": "content_block_stop", "index": index})

    def _message_delta(self, usage: TokenUsage) -> bytes:
        delta = {"stop_reason": self._stop_reason, "stop_sequence": self._stop_sequence}
        told = {
            "input_tokens": usage.input_tokens,
            "cache_creation_input_tokens": usage.cache_write_input_tokens or 0,
            "cache_read_input_tokens": usage.cache_read_input_tokens or 0,
            "output_tokens": usage.output_tokens,
        }
        return msgspec.json.encode({"type": "message_delta", "delta": delta, "usage": told})


def _message(
    invocation: Invocation,
    *,
    content: list[_Json],
    stop_reason: str | None,
    stop_sequence: str | None,
    usage: _Json,
) -> _Json:
    return {
        "model": _model_name(invocation.foundation_model_id),
        "id": f"msg_bdrk_{invocation.invocation_id[:_ID_LENGTH]}",
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": stop_sequence,
        "usage": usage,
    }


def _model_name(foundation_model_id: str) -> str:
    """`claude-sonnet-4-5-20250929`: the vendor's own name, not Bedrock's."""
    return _VERSION.sub("", foundation_model_id.removeprefix("anthropic."))


def _usage(usage: TokenUsage) -> _Json:
    written = usage.cache_write_input_tokens or 0
    for_an_hour = sum(d.input_tokens for d in usage.cache_details or () if d.ttl == "1h")
    return {
        "input_tokens": usage.input_tokens,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cache_read_input_tokens or 0,
        "cache_creation": {
            "ephemeral_5m_input_tokens": written - for_an_hour,
            "ephemeral_1h_input_tokens": for_an_hour,
        },
        "output_tokens": usage.output_tokens,
    }


def _block(block: ContentBlock) -> _Json:
    if block.tool_use is not None:
        use = block.tool_use
        return _tool_use(use.tool_use_id, use.name, use.input, use.type)
    if block.tool_result is not None:
        return own_tool_result(block.tool_result)
    if block.reasoning_content is not None:
        return _reasoning(block.reasoning_content)
    if block.citations_content is not None:
        return _cited(block.citations_content)
    return {"type": "text", "text": block.text or ""}


def _tool_use(tool_use_id: str, name: str, given: Any, kind: ToolUseType | None) -> _Json:
    return {"type": kind or "tool_use", "id": tool_use_id, "name": name, "input": given}


def _reasoning(reasoning: ReasoningContentBlock) -> _Json:
    if reasoning.redacted_content is not None:
        return _redacted(reasoning.redacted_content)
    text = reasoning.reasoning_text
    assert text is not None, "the union has two members"
    return {"type": "thinking", "thinking": text.text, "signature": text.signature or ""}


def _redacted(data: bytes) -> _Json:
    """Anthropic's own text, or the bytes of another server."""
    opaque = data.decode() if data.isascii() else b64encode(data).decode()
    return {"type": "redacted_thinking", "data": opaque}


def _cited(block: CitationsContentBlock) -> _Json:
    text = "".join(part.text or "" for part in block.content or ())
    cited = [native for one in block.citations or () if (native := as_anthropic(one))]
    return {"type": "text", "text": text, "citations": cited}


def _opening(delta: ContentBlockDelta) -> _Json:
    """The start of a block, which Converse leaves out for all but tools."""
    if delta.reasoning_content is None:
        return {"type": "text", "text": ""}
    if delta.reasoning_content.redacted_content is not None:
        return _redacted(delta.reasoning_content.redacted_content)
    return {"type": "thinking", "thinking": "", "signature": ""}


def _deltas(delta: ContentBlockDelta) -> Iterator[_Json]:
    if delta.text is not None:
        yield {"type": "text_delta", "text": delta.text}
    elif delta.tool_use is not None:
        yield {"type": "input_json_delta", "partial_json": delta.tool_use.input}
    elif delta.reasoning_content is not None:
        yield from _thinking(delta.reasoning_content)
    elif delta.citation is not None:
        cited = as_anthropic(_whole(delta.citation))
        if cited is not None:
            yield {"type": "citations_delta", "citation": cited}


def _thinking(delta: ReasoningContentBlockDelta) -> Iterator[_Json]:
    if delta.text is not None:
        yield {"type": "thinking_delta", "thinking": delta.text}
    elif delta.signature is not None:
        yield {"type": "signature_delta", "signature": delta.signature}


def _whole(delta: CitationsDelta) -> Citation:
    texts = [CitationSourceContent(text=part.text) for part in delta.source_content or ()]
    return Citation(
        title=delta.title, source=delta.source, source_content=texts, location=delta.location
    )
