"""Converse to and from OpenAI's chat completions: vLLM, SGLang, llama.cpp, Ollama, gateways."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from outcrop.runtime.dialects.dialect import Complaint, ComplaintError, ModelEvent
from outcrop.runtime.dialects.sse import EndlessLineError, EventReader
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    ContentBlockStopEvent,
    ConverseRequest,
    ConverseStreamRequest,
    InferenceConfiguration,
    Message,
    MessageStartEvent,
    MessageStopEvent,
    StopReason,
    SystemContentBlock,
    TokenUsage,
)

PATH: Final = "/chat/completions"

STOP_REASONS: Mapping[str, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "content_filtered",
    "tool_calls": "tool_use",
}

# Fields of the body that Converse has members for, by the member a caller should use instead.
_OURS: Mapping[str, str] = {
    "messages": "messages",
    "model": "modelId",
    "max_tokens": "inferenceConfig.maxTokens",
    "max_completion_tokens": "inferenceConfig.maxTokens",
    "temperature": "inferenceConfig.temperature",
    "top_p": "inferenceConfig.topP",
    "stop": "inferenceConfig.stopSequences",
    "tools": "toolConfig.tools",
    "tool_choice": "toolConfig.toolChoice",
    "response_format": "outputConfig.textFormat",
    "stream": "modelId",
    "stream_options": "modelId",
    "n": "modelId",
}

# What a caller may set on the embedded model besides. The rest is for other models (`thinking`,
# `anthropic_beta`, …) or would reach into the engine.
_SAMPLING = frozenset(
    {
        "frequency_penalty",
        "min_p",
        "presence_penalty",
        "repeat_penalty",
        "seed",
        "top_k",
        "typical_p",
    }
)


class ChatReader:
    """Server-sent events of one answer, however they were chunked, to Converse's events."""

    def __init__(self) -> None:
        self._events = EventReader()
        self._started = False
        self._in_block = False
        self._stop_reason: StopReason | None = None
        self._usage = TokenUsage(input_tokens=0, output_tokens=0, total_tokens=0)

    def feed(self, chunk: bytes) -> Iterator[ModelEvent]:
        try:
            for data in self._events.feed(chunk):
                yield from self._read(data)
        except EndlessLineError as error:
            raise ComplaintError(Complaint(502, "an endless line")) from error

    def end(self) -> Iterator[ModelEvent]:
        for data in self._events.end():
            yield from self._read(data)
        if self._stop_reason is None:
            raise ComplaintError(Complaint(502, "the answer ended before the model was done"))
        if self._in_block:
            yield ContentBlockStopEvent(content_block_index=0)
        yield MessageStopEvent(stop_reason=self._stop_reason)
        yield self._usage

    def _read(self, data: bytes) -> Iterator[ModelEvent]:
        if data == b"[DONE]":
            return
        chunk = _decoded(data)
        if chunk.error is not UNSET:
            raise ComplaintError(complaint(502, data))
        if chunk.usage is not None:
            self._usage = _token_usage(chunk.usage)
        for choice in chunk.choices:
            yield from self._choice(choice)
        if chunk.verbose is not None and chunk.verbose.stop_type == "word":
            self._stop_reason = "stop_sequence"

    def _choice(self, choice: "_Choice") -> Iterator[ModelEvent]:
        if not self._started:
            self._started = True
            yield MessageStartEvent(role="assistant")
        if choice.delta.content:
            self._in_block = True
            delta = ContentBlockDelta(text=choice.delta.content)
            yield ContentBlockDeltaEvent(delta=delta, content_block_index=0)
        if choice.finish_reason is not None:
            self._stop_reason = _stop_reason(choice, choice.finish_reason)


class OpenAiChat:
    """Any server of this API."""

    path = PATH

    def body(self, request: ConverseRequest | ConverseStreamRequest, served_as: str) -> bytes:
        body = _body(request, served_as)
        fields = _additional_fields(request.additional_model_request_fields)
        for name in fields:
            if name in _OURS:
                raise ValidationException(
                    f"The additional field {name} conflicts with the existing field {_OURS[name]}."
                    f" Remove {name} and try again."
                )
        return msgspec.json.encode({**fields, **body})

    def reader(self) -> ChatReader:
        return ChatReader()

    def complaint(self, status: int, body: bytes) -> Complaint:
        return complaint(status, body)


class EmbeddedChat:
    """llama.cpp as Outcrop runs it."""

    path = PATH

    def __init__(self, *, system_prompt: str, max_tokens: int) -> None:
        self._system_prompt = system_prompt
        self._max_tokens = max_tokens

    def body(self, request: ConverseRequest | ConverseStreamRequest, served_as: str) -> bytes:
        body: dict[str, Any] = {"max_tokens": self._max_tokens, **_body(request, served_as)}
        if not request.system:
            # Its template has one of its own, and with that one it answers nonsense.
            body["messages"] = [
                {"role": "system", "content": self._system_prompt},
                *body["messages"],
            ]
        # Without progress a closed connection does not stop it reading the prompt.
        body["return_progress"] = True
        # Says at the end which stop sequence it met; with a copy of the prompt, so only then.
        body["verbose"] = "stop" in body
        fields = _additional_fields(request.additional_model_request_fields)
        passed = {name: value for name, value in fields.items() if name in _SAMPLING}
        return msgspec.json.encode({**passed, **body})

    def reader(self) -> ChatReader:
        return ChatReader()

    def complaint(self, status: int, body: bytes) -> Complaint:
        return complaint(status, body)


def complaint(status: int, body: bytes) -> Complaint:
    """From `{"error": {…}}`, `{"message": …}`, or whatever else came."""
    try:
        document = msgspec.json.decode(body, type=_ErrorDocument)
    except msgspec.DecodeError:
        return Complaint(status, body.decode(errors="replace").strip())
    error = document.error
    if isinstance(error, str):
        return Complaint(status, error)
    error = error or _Error(message=document.message, type=document.type, code=document.code)
    return Complaint(
        error.code if isinstance(error.code, int) and error.code >= 400 else status,
        error.message or body.decode(errors="replace").strip(),
        input_too_long=_is_input_too_long(error),
    )


def _is_input_too_long(error: "_Error") -> bool:
    """llama.cpp has a type for it, OpenAI a code, vLLM and SGLang a sentence."""
    return (
        error.type == "exceed_context_size_error"
        or error.code == "context_length_exceeded"
        or "maximum context length" in error.message
        or "longer than the model's context length" in error.message
    )


class _Delta(Struct, frozen=True):
    content: str | None = None


class _Choice(Struct, frozen=True):
    delta: _Delta = _Delta()
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    """vLLM: the stop string it met."""
    matched_stop: str | int | None = None
    """SGLang: likewise."""


class _PromptTokensDetails(Struct, frozen=True):
    cached_tokens: int | None = None


class _Usage(Struct, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _PromptTokensDetails | None = None


class _Verbose(Struct, frozen=True):
    stop_type: str | None = None


class _Chunk(Struct, frozen=True):
    choices: tuple[_Choice, ...] = ()
    usage: _Usage | None = None
    error: Raw | UnsetType = UNSET
    verbose: _Verbose | None = field(default=None, name="__verbose")


class _Error(Struct, frozen=True):
    message: str = ""
    type: str | None = None
    code: str | int | None = None


class _ErrorDocument(Struct, frozen=True):
    error: _Error | str | None = None
    message: str = ""
    type: str | None = None
    code: str | int | None = None


_CHUNKS = msgspec.json.Decoder(_Chunk)


def _decoded(data: bytes) -> _Chunk:
    try:
        return _CHUNKS.decode(data)
    except msgspec.DecodeError as error:
        raise ComplaintError(Complaint(502, f"not a chat completion: {error}")) from error


def _stop_reason(choice: _Choice, finish_reason: str) -> StopReason:
    met_a_string = isinstance(choice.stop_reason or choice.matched_stop, str)
    if finish_reason == "stop" and met_a_string:
        return "stop_sequence"
    return STOP_REASONS.get(finish_reason, "end_turn")


def _token_usage(usage: _Usage) -> TokenUsage:
    """Amazon counts what came from the cache apart from the rest of the input."""
    details = usage.prompt_tokens_details
    cached = None if details is None else details.cached_tokens
    return TokenUsage(
        input_tokens=usage.prompt_tokens - (cached or 0),
        output_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        cache_read_input_tokens=cached,
        cache_write_input_tokens=None if cached is None else 0,
    )


def _body(request: ConverseRequest | ConverseStreamRequest, served_as: str) -> dict[str, Any]:
    return {
        "model": served_as,
        "messages": [*_system(request.system or ()), *map(_message, request.messages or ())],
        "stream": True,
        "stream_options": {"include_usage": True},
        **_inference(request.inference_config or InferenceConfiguration()),
    }


def _inference(config: InferenceConfiguration) -> dict[str, Any]:
    members = {
        "max_tokens": config.max_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "stop": config.stop_sequences or None,
    }
    return {name: value for name, value in members.items() if value is not None}


def _system(blocks: Iterable[SystemContentBlock]) -> Iterator[dict[str, Any]]:
    """One message: many chat templates know no second."""
    texts = [block.text for block in blocks if block.text is not None]
    if texts:
        yield {"role": "system", "content": "\n".join(texts)}


def _message(message: Message) -> dict[str, Any]:
    texts = [block.text for block in message.content if block.text is not None]
    if len(texts) == 1:
        return {"role": message.role, "content": texts[0]}
    parts = [{"type": "text", "text": text} for text in texts]
    return {"role": message.role, "content": parts}


def _additional_fields(document: Raw) -> dict[str, Raw]:
    if not document:
        return {}
    try:
        return msgspec.json.decode(document, type=dict[str, Raw])
    except msgspec.DecodeError as error:
        raise ValidationException(
            "The format of the value at additionalModelRequestFields is invalid. Provide a json"
            " object for the field and try again."
        ) from error
