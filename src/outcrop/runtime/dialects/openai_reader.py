"""Answers of OpenAI's chat completions, and of its completions, to Converse's events."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from outcrop.runtime.dialects.additional_fields import picked
from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.runtime.dialects.content_blocks import ContentBlocks
from outcrop.runtime.dialects.dialect import Complaint, ComplaintError, ModelEvent, StopDetail
from outcrop.runtime.dialects.openai_complaint import complaint
from outcrop.runtime.dialects.sse import EventReader
from outcrop.wire.shape import ABSENT
from outcrop.wire.shapes.bedrock_runtime import (
    MessageStartEvent,
    MessageStopEvent,
    ReasoningContentBlockDelta,
    StopReason,
    TokenUsage,
)

STOP_REASONS: Mapping[str, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "content_filtered",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
}

# The engine gave up: vLLM and SGLang say so in the place of a reason.
_GAVE_UP: Final = {"abort", "error"}


# As the wire's records, the garbage collector passes these over.
class Function(Struct, frozen=True, gc=False):
    name: str | None = None
    arguments: str | None = None


class ToolCall(Struct, frozen=True, gc=False):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class ThinkingBlock(Struct, frozen=True, gc=False):
    """LiteLLM's: Anthropic's thinking, of which the text comes as reasoning_content too."""

    signature: str | None = None


class TextPart(Struct, frozen=True, gc=False):
    text: str | None = None


class Part(Struct, frozen=True, gc=False):
    """Of content in parts, as Mistral's models with reasoning write it."""

    text: str | None = None
    thinking: tuple[TextPart, ...] | None = None


class Delta(Struct, frozen=True, gc=False):
    content: str | tuple[Part, ...] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    """SGLang, llama.cpp, DeepSeek, gateways."""
    reasoning: str | None = None
    """vLLM, Ollama, OpenRouter."""
    thinking_blocks: tuple[ThinkingBlock, ...] | None = None
    tool_calls: tuple[ToolCall, ...] | None = None


class Choice(Struct, frozen=True, gc=False):
    delta: Delta | None = None
    text: str | None = None
    """Of a completion, which has no delta."""
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    """vLLM: the stop string it met."""
    matched_stop: str | int | None = None
    """SGLang: likewise."""


class PromptTokensDetails(Struct, frozen=True, gc=False):
    cached_tokens: int | None = None


class Usage(Struct, frozen=True, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptTokensDetails | None = None


class Verbose(Struct, frozen=True, gc=False):
    stop_type: str | None = None
    stopping_word: str | None = None


class Chunk(Struct, frozen=True, gc=False):
    id: str | None = None
    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: Raw | UnsetType = UNSET
    verbose: Verbose | None = field(default=None, name="__verbose")


_decode = msgspec.json.Decoder(Chunk).decode
_NOTHING_USED: Final = TokenUsage(input_tokens=0, output_tokens=0, total_tokens=0)


class ChatReader:
    """Server-sent events of one answer, however they were chunked, to Converse's events."""

    def __init__(
        self, *, max_tokens: int | None = None, paths: Sequence[str] = (), whole: bool = False
    ) -> None:
        """`max_tokens` as the caller set it; `paths` of the fields to give back.

        `whole`: nobody reads along, so what is said in a row is told in one event.
        """
        self._max_tokens = max_tokens
        self._paths = paths
        self._native = _NativeAnswer() if paths else None
        self._whole = whole
        self._said: list[str] = []
        self._events = EventReader()
        self._blocks = ContentBlocks()
        self._started = False
        self._finish_reason: str | None = None
        self._stop_sequence: str | None = None
        self._met_a_sequence = False
        self._refused = False
        self._usage = _NOTHING_USED

    def feed(self, chunk: bytes) -> Iterable[ModelEvent]:
        return self._read_all(self._events.feed(chunk))

    def end(self) -> Iterator[ModelEvent]:
        yield from self._read_all(self._events.end())
        if self._finish_reason is None:
            raise ComplaintError(Complaint(502, "the answer ended before the model was done"))
        yield from self._blocks.end()
        if self._stop_sequence is not None:
            yield StopDetail(stop_sequence=self._stop_sequence)
        yield MessageStopEvent(
            stop_reason=self._stop_reason(self._finish_reason),
            additional_model_response_fields=self._fields(),
        )
        yield self._usage

    def own_tool_use_id(self, number: int) -> str:
        """For a call that the server did not mark as one."""
        return self._blocks.own_tool_use_id(number)

    def _read_all(self, found: Sequence[bytes]) -> Iterable[ModelEvent]:
        told: list[ModelEvent] = []
        try:
            for data in found:
                if data != b"[DONE]":
                    self._read(_decode(data), data, told)
        except ComplaintError as complaint:
            self._tell_said(told)
            return _told_before(complaint, told)
        except BAD_JSON as error:
            self._tell_said(told)
            return _told_before(_no_completion(error), told)
        self._tell_said(told)
        return told

    def _read(self, chunk: Chunk, data: bytes, told: list[ModelEvent]) -> None:
        if self._started and self._native is None and (text := _only_text(chunk)):
            # Most of what a model says.
            if self._whole:
                self._said.append(text)
            else:
                told += self._blocks.text(text)
        else:
            self._tell_said(told)
            self._tell(chunk, data, told)

    def _tell(self, chunk: Chunk, data: bytes, told: list[ModelEvent]) -> None:
        if chunk.error is not UNSET and bytes(chunk.error) != b"null":
            raise ComplaintError(complaint(502, data))
        if self._native is not None:
            self._native.feed(data)
        if chunk.usage is not None:
            self._usage = _token_usage(chunk.usage)
        for choice in chunk.choices or ():
            self._choice(choice, chunk.id or "", told)
        if chunk.verbose is not None and chunk.verbose.stop_type == "word":
            self._met_a_sequence = True
            self._stop_sequence = chunk.verbose.stopping_word

    def _tell_said(self, told: list[ModelEvent]) -> None:
        if self._said:
            told += self._blocks.text("".join(self._said))
            self._said.clear()

    def _choice(self, choice: Choice, answer_id: str, told: list[ModelEvent]) -> None:
        if not self._started:
            self._started = True
            self._blocks.answer_id = answer_id
            told.append(MessageStartEvent(role="assistant"))
        delta = choice.delta
        text = choice.text if delta is None else delta.content
        if not (text is None or isinstance(text, str)):
            self._reasoning(Delta(reasoning=_thoughts(text)), told)
            text = _text(text)
        if delta is not None and (
            delta.reasoning_content or delta.reasoning or delta.thinking_blocks
        ):
            self._reasoning(delta, told)
        if text:
            told += self._blocks.text(text)
        if delta is not None and (delta.refusal or delta.tool_calls):
            self._rest(delta, told)
        if choice.finish_reason is not None:
            self._finish(choice, choice.finish_reason)

    def _reasoning(self, delta: Delta, told: list[ModelEvent]) -> None:
        text = delta.reasoning_content or delta.reasoning
        if text:
            told += self._blocks.reasoning(ReasoningContentBlockDelta(text=text))
        for block in delta.thinking_blocks or ():
            if block.signature:
                signed = ReasoningContentBlockDelta(signature=block.signature)
                told += self._blocks.reasoning(signed)

    def _rest(self, delta: Delta, told: list[ModelEvent]) -> None:
        if delta.refusal:
            self._refused = True
            told += self._blocks.text(delta.refusal)
        for number, call in enumerate(delta.tool_calls or ()):
            told += self._blocks.tool_use(
                number if call.index is None else call.index,
                tool_use_id=call.id or "",
                name=(call.function and call.function.name) or "",
                fragment=(call.function and call.function.arguments) or "",
            )

    def _finish(self, choice: Choice, finish_reason: str) -> None:
        if finish_reason in _GAVE_UP:
            raise ComplaintError(Complaint(500, f"the engine gave up: {finish_reason}"))
        self._finish_reason = finish_reason
        sequence = choice.stop_reason or choice.matched_stop
        if finish_reason == "stop" and isinstance(sequence, str):
            self._met_a_sequence = True
            self._stop_sequence = sequence

    def _stop_reason(self, finish_reason: str) -> StopReason:
        stop_reason = STOP_REASONS.get(finish_reason, "end_turn")
        if self._refused:
            return "content_filtered"
        if stop_reason == "max_tokens":
            return "model_context_window_exceeded" if self._ended_early else "max_tokens"
        if stop_reason == "content_filtered":
            return stop_reason
        if self._blocks.used_tools:
            # Some servers say `stop` after a call.
            return "malformed_tool_use" if self._blocks.malformed_tool_use else "tool_use"
        return "stop_sequence" if self._met_a_sequence else stop_reason

    def _fields(self) -> Raw:
        if self._native is None:
            return ABSENT
        return self._native.picked(self._paths, self._stop_sequence)

    @property
    def _ended_early(self) -> bool:
        """It stopped for its length before the caller's limit: then the limit was the model's."""
        written = self._usage.output_tokens
        return self._max_tokens is not None and 0 < written < self._max_tokens


class _NativeAnswer:
    """The server's own answer without what it said: for the fields a caller wants to see."""

    def __init__(self) -> None:
        self._members: dict[str, Any] = {}
        self._choice: dict[str, Any] = {}

    def feed(self, data: bytes) -> None:
        members = _members(data)
        for choice in members.pop("choices", None) or ():
            self._feed_choice(choice)
        self._members |= {name: value for name, value in members.items() if value is not None}

    def picked(self, paths: Sequence[str], stop_sequence: str | None) -> Raw:
        # The last two are Anthropic's names for it, not streamed and streamed: what most ask for.
        answer = {
            **self._members,
            "choices": [self._choice],
            "stop_sequence": stop_sequence,
            "delta": {"stop_sequence": stop_sequence},
        }
        return picked(answer, paths)

    def _feed_choice(self, choice: dict[str, Any]) -> None:
        before = self._choice.get("logprobs")
        said = {"delta", "text"}
        told = {name: value for name, value in choice.items() if value is not None}
        self._choice |= {name: value for name, value in told.items() if name not in said}
        now = told.get("logprobs")
        content = _token_logprobs(before) + _token_logprobs(now)
        if content:
            latest = cast("dict[str, Any]", now if isinstance(now, dict) else before)
            self._choice["logprobs"] = {**latest, "content": content}


def _token_logprobs(logprobs: Any) -> list[Any]:
    match logprobs:
        case {"content": [*content]}:
            return content
        case _:
            return []


def _told_before(complaint: ComplaintError, told: list[ModelEvent]) -> Iterator[ModelEvent]:
    """What a complaint came after goes out before it."""
    yield from told
    raise complaint


def _only_text(chunk: Chunk) -> str | None:
    """What is said where nothing else is told; None where something else may be."""
    choices = chunk.choices
    if choices is None or len(choices) != 1:
        return None
    if chunk.usage is not None or chunk.error is not UNSET or chunk.verbose is not None:
        return None
    choice = choices[0]
    delta = choice.delta
    if delta is None or choice.finish_reason is not None:
        return None
    if delta.reasoning_content or delta.reasoning or delta.thinking_blocks:
        return None
    if delta.tool_calls or delta.refusal:
        return None
    return delta.content if type(delta.content) is str else None


def _text(content: Sequence[Part]) -> str:
    return "".join(part.text or "" for part in content)


def _thoughts(content: Sequence[Part]) -> str:
    thoughts = (thought for part in content for thought in part.thinking or ())
    return "".join(thought.text or "" for thought in thoughts)


def _members(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except BAD_JSON as error:
        raise _no_completion(error) from error


def _no_completion(error: Exception) -> ComplaintError:
    return ComplaintError(Complaint(502, f"not a chat completion: {error}"))


def _token_usage(usage: Usage) -> TokenUsage:
    """Amazon counts what came from the cache apart from the rest of the input."""
    details = usage.prompt_tokens_details
    cached = None if details is None else details.cached_tokens
    read, written = usage.prompt_tokens or 0, usage.completion_tokens or 0
    return TokenUsage(
        input_tokens=max(0, read - (cached or 0)),
        output_tokens=written,
        total_tokens=read + written,
        cache_read_input_tokens=cached,
        cache_write_input_tokens=None if cached is None else 0,
    )
