"""Anthropic's server-sent events of one answer, however they were chunked, to Converse's events."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

from outcrop.runtime.dialects.additional_fields import picked
from outcrop.runtime.dialects.anthropic_citations import AnthropicCitation, delta as citations_delta
from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.runtime.dialects.content_blocks import is_tool_use_id, own_tool_use_id
from outcrop.runtime.dialects.dialect import Complaint, ComplaintError, ModelEvent, StopDetail
from outcrop.runtime.dialects.sse import EventReader
from outcrop.wire.shapes.bedrock_runtime import (
    CacheDetail,
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    ContentBlockStart,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    MessageStartEvent,
    MessageStopEvent,
    ReasoningContentBlockDelta,
    StopReason,
    TokenUsage,
    ToolResultBlockDelta,
    ToolResultBlockStart,
    ToolUseBlockDelta,
    ToolUseBlockStart,
    ToolUseType,
)

STOP_REASONS: Mapping[str, StopReason] = {
    "end_turn": "end_turn",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "refusal": "content_filtered",
    "model_context_window_exceeded": "model_context_window_exceeded",
    # One of Anthropic's own tools needs longer; Converse has no word for it, and nothing is lost.
    "pause_turn": "end_turn",
}

# https://docs.claude.com/en/api/errors; in a stream the type is all there is.
_STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class MessageReader:
    def __init__(self, *, response_field_paths: Sequence[str] = ()) -> None:
        self._events = EventReader()
        self._paths = response_field_paths
        self._native: dict[str, Any] = {}
        self._open: set[int] = set()
        self._id = ""
        self._usage = _Usage()
        self._stop = _Delta()
        self._done = False

    def feed(self, chunk: bytes) -> Iterator[ModelEvent]:
        for data in self._events.feed(chunk):
            yield from self._read(data)

    def end(self) -> Iterator[ModelEvent]:
        for data in self._events.end():
            yield from self._read(data)
        yield from self._stopped()

    def _read(self, data: bytes) -> Iterator[ModelEvent]:
        # OpenAI's farewell, which gateways add here, too.
        if self._done or data == b"[DONE]":
            return
        event = _decoded(data)
        match event.type:
            case "content_block_delta" if event.index in self._open:
                for part in _deltas(event.delta):
                    yield ContentBlockDeltaEvent(delta=part, content_block_index=event.index)
            case "content_block_start":
                yield from self._block(event.index, event.content_block)
            case "content_block_stop" if event.index in self._open:
                self._open.discard(event.index)
                yield ContentBlockStopEvent(content_block_index=event.index)
            case "message_start" | "message_delta" | "message_stop":
                yield from self._message(event, data)
            case "error":
                raise ComplaintError(complaint(None, data))
            case _:
                # `ping`; and whatever comes to be, as Anthropic asks of its clients.
                return

    def _message(self, event: "_Event", data: bytes) -> Iterator[ModelEvent]:
        if self._paths:
            self._remember(_members(data))
        if event.type == "message_start":
            self._id = event.message.id or ""
            self._usage = event.message.usage or self._usage
            yield MessageStartEvent(role="assistant")
        elif event.type == "message_delta":
            self._stop = event.delta if event.delta.stop_reason else self._stop
            self._usage = _merged(self._usage, event.usage)
        else:
            yield from self._stopped()

    def _remember(self, document: dict[str, Any]) -> None:
        """The message as it would have come unstreamed, and its `delta` for paths into a stream."""
        self._native |= document.get("message", {})
        if "delta" in document:
            self._native |= {**document["delta"], "delta": document["delta"]}

    def _block(self, index: int, block: "_Block") -> Iterator[ModelEvent]:
        if block.type == "tool_use" and not is_tool_use_id(block.id or ""):
            block = structs.replace(block, id=own_tool_use_id(self._id, index))
        starts = _STARTS.get(block.type, _of_a_tool_of_anthropics)
        try:
            start, deltas = starts(block)
        except BAD_JSON as error:
            raise ComplaintError(Complaint(502, f"not a block of Messages: {error}")) from error
        if start is None and not deltas and block.type not in _STARTS:
            return
        self._open.add(index)
        if start is not None:
            yield ContentBlockStartEvent(start=start, content_block_index=index)
        for part in deltas:
            yield ContentBlockDeltaEvent(delta=part, content_block_index=index)

    def _stopped(self) -> Iterator[ModelEvent]:
        if self._done:
            return
        if self._stop.stop_reason is None:
            raise ComplaintError(Complaint(502, "the answer ended before the model was done"))
        self._done = True
        for index in sorted(self._open):
            yield ContentBlockStopEvent(content_block_index=index)
        if self._stop.stop_sequence is not None:
            yield StopDetail(self._stop.stop_sequence)
        yield MessageStopEvent(
            stop_reason=STOP_REASONS.get(self._stop.stop_reason, "end_turn"),
            additional_model_response_fields=picked(self._native, self._paths),
        )
        yield _token_usage(self._usage)


def complaint(status: int | None, body: bytes) -> Complaint:
    """From `{"type": "error", "error": {…}}`, or whatever else came."""
    try:
        error = msgspec.json.decode(body, type=_ErrorDocument).error
    except BAD_JSON:
        return Complaint(status or 502, body.decode(errors="replace").strip())
    return Complaint(
        status or _STATUSES.get(error.type, 502),
        error.message or body.decode(errors="replace").strip(),
        input_too_long=error.message.lower().startswith("prompt is too long"),
    )


class _Block(Struct, frozen=True):
    type: str = ""
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    input: Raw = Raw()
    tool_use_id: str = ""
    content: Raw = Raw()


class _Delta(Struct, frozen=True):
    """Of a block, or of the message."""

    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    citation: AnthropicCitation | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _CacheCreation(Struct, frozen=True):
    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class _Usage(Struct, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None


class _Message(Struct, frozen=True):
    id: str | None = None
    usage: _Usage | None = None


class _Event(Struct, frozen=True):
    type: str
    index: int = 0
    message: _Message = _Message()
    content_block: _Block = _Block()
    delta: _Delta = _Delta()
    usage: _Usage | None = None


class _Error(Struct, frozen=True):
    type: str = ""
    message: str = ""


class _ErrorDocument(Struct, frozen=True):
    error: _Error


_EVENTS = msgspec.json.Decoder(_Event)
_LIST = msgspec.json.Decoder(list[Raw])


def _members(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except BAD_JSON as error:
        raise ComplaintError(Complaint(502, f"not an event of Messages: {error}")) from error


def _decoded(data: bytes) -> _Event:
    try:
        return _EVENTS.decode(data)
    except BAD_JSON as error:
        raise ComplaintError(Complaint(502, f"not an event of Messages: {error}")) from error


_Begun = tuple[ContentBlockStart | None, list[ContentBlockDelta]]
"""How a block begins: its start, if its kind has one, and what it holds already."""


def _begun_text(block: _Block) -> _Begun:
    return None, [ContentBlockDelta(text=block.text)] if block.text else []


def _begun_thinking(block: _Block) -> _Begun:
    parts = [_Delta(type="thinking_delta", thinking=block.thinking)] if block.thinking else []
    signed = [_Delta(type="signature_delta", signature=block.signature)] if block.signature else []
    return None, [part for given in (*parts, *signed) for part in _deltas(given)]


def _begun_redacted(block: _Block) -> _Begun:
    redacted = ReasoningContentBlockDelta(redacted_content=(block.data or "").encode())
    return None, [ContentBlockDelta(reasoning_content=redacted)]


def _begun_tool_use(block: _Block) -> _Begun:
    kind: ToolUseType | None = "server_tool_use" if block.type == "server_tool_use" else None
    use = ToolUseBlockStart(tool_use_id=block.id or "", name=block.name or "", type=kind)
    # Anthropic begins with `{}` and sends the input in pieces; others know it all at the start.
    known = bytes(block.input).strip() not in {b"", b"{}", b"null"}
    given = [ContentBlockDelta(tool_use=ToolUseBlockDelta(input=bytes(block.input).decode()))]
    return ContentBlockStart(tool_use=use), given if known else []


def _of_a_tool_of_anthropics(block: _Block) -> _Begun:
    """What one found (`web_search_tool_result`); it comes whole. Other kinds say nothing."""
    if not block.tool_use_id:
        return None, []
    content = bytes(block.content or b"[]")
    failed = _is_error(content)
    found = _found(content)
    start = ToolResultBlockStart(
        tool_use_id=block.tool_use_id,
        type=block.type,
        status="error" if failed else "success",
    )
    return ContentBlockStart(tool_result=start), [ContentBlockDelta(tool_result=found)]


def _is_error(content: bytes) -> bool:
    """Some find an object where others find a list; an error has a type that says so."""
    if not content.startswith(b"{"):
        return False
    return msgspec.json.decode(content, type=_Error).type.endswith("_error")


def _found(content: bytes) -> list[ToolResultBlockDelta]:
    """A list of objects, one object alone, or (of tools behind MCP) a text."""
    content.decode()
    if content.startswith(b'"'):
        return [ToolResultBlockDelta(text=msgspec.json.decode(content, type=str))]
    if content.startswith(b"["):
        return [ToolResultBlockDelta(json=one.copy()) for one in _LIST.decode(content)]
    return [ToolResultBlockDelta(json=Raw(content))]


_STARTS: Mapping[str, Callable[[_Block], _Begun]] = {
    "text": _begun_text,
    "thinking": _begun_thinking,
    "redacted_thinking": _begun_redacted,
    "tool_use": _begun_tool_use,
    "server_tool_use": _begun_tool_use,
}


def _deltas(delta: _Delta) -> Iterator[ContentBlockDelta]:
    match delta.type:
        case "text_delta":
            yield ContentBlockDelta(text=delta.text or "")
        case "input_json_delta":
            yield ContentBlockDelta(tool_use=ToolUseBlockDelta(input=delta.partial_json or ""))
        case "thinking_delta":
            thought = ReasoningContentBlockDelta(text=delta.thinking or "")
            yield ContentBlockDelta(reasoning_content=thought)
        case "signature_delta":
            signed = ReasoningContentBlockDelta(signature=delta.signature or "")
            yield ContentBlockDelta(reasoning_content=signed)
        case "citations_delta" if delta.citation is not None:
            yield ContentBlockDelta(citation=citations_delta(delta.citation))
        case _:
            return


def _merged(usage: _Usage, later: _Usage | None) -> _Usage:
    """The counts of `message_delta` are those of the whole message; some servers send only some."""
    if later is None:
        return usage
    told = {name: value for name, value in structs.asdict(later).items() if value is not None}
    return structs.replace(usage, **told)


def _token_usage(usage: _Usage) -> TokenUsage:
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    input_tokens, output_tokens = usage.input_tokens or 0, usage.output_tokens or 0
    return TokenUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=input_tokens + (read or 0) + (written or 0) + output_tokens,
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
        cache_details=_cache_details(usage.cache_creation),
    )


def _cache_details(creation: _CacheCreation | None) -> list[CacheDetail] | None:
    if creation is None:
        return None
    one_hour, five_minutes = creation.ephemeral_1h_input_tokens, creation.ephemeral_5m_input_tokens
    details = [
        *([CacheDetail(ttl="1h", input_tokens=one_hour)] if one_hour else []),
        *([CacheDetail(ttl="5m", input_tokens=five_minutes)] if five_minutes else []),
    ]
    return details or None
