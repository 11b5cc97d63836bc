"""What a chat completion answers, whole and in chunks, as OpenAI writes it."""

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from outcrop.runtime.dialects.dialect import ModelEvent
from outcrop.runtime.families.family import Answer, Invocation, Metrics
from outcrop.runtime.families.said import NO_USAGE, prompt_tokens, reasoning_of, text_of
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlock,
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    ContentBlockStart,
    ContentBlockStartEvent,
    MessageStartEvent,
    MessageStopEvent,
    ReasoningContentBlockDelta,
    StopReason,
    TokenUsage,
    ToolUseBlock,
    ToolUseBlockStart,
)

FINISH_REASONS: Mapping[StopReason, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "malformed_model_output": "stop",
    "malformed_tool_use": "stop",
}

Reasoning = Literal["tags in the text", "a member of its own"]
"""Where an answer's reasoning goes."""

UsageIn = Literal["the last chunk", "a chunk of its own", "no chunk"]
"""Where the counts of a stream go."""


class Function(Struct, frozen=True):
    arguments: str
    name: str | UnsetType = UNSET


class ToolCall(Struct, frozen=True):
    function: Function
    index: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class PromptTokensDetails(Struct, frozen=True):
    cached_tokens: int


class Usage(Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | UnsetType = UNSET


class Delta(Struct, frozen=True):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class ChunkChoice(Struct, frozen=True):
    delta: Delta
    index: int = 0
    finish_reason: str | None = None


class Chunk(Struct, frozen=True):
    id: str
    object: str | UnsetType
    created: int | UnsetType
    model: str | UnsetType
    choices: list[ChunkChoice]
    usage: Usage | UnsetType = UNSET
    metrics: Metrics | UnsetType = field(default=UNSET, name="amazon-bedrock-invocationMetrics")


class _Message(Struct, frozen=True):
    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class _Choice(Struct, frozen=True):
    message: _Message
    finish_reason: str
    index: int = 0
    logprobs: None = None


class _Completion(Struct, frozen=True):
    id: str
    object: str | UnsetType
    created: int | UnsetType
    model: str | UnsetType
    choices: list[_Choice]
    usage: Usage


class Head(Struct, frozen=True):
    """What tells one answer from another; vendors differ in how much of it they give."""

    id: str
    created: int | UnsetType = UNSET
    model: str | UnsetType = UNSET

    def kind(self, name: str) -> str | UnsetType:
        return UNSET if self.model is UNSET else name


def openai_head(invocation: Invocation) -> Head:
    return Head(
        id=f"chatcmpl-{invocation.invocation_id}",
        created=invocation.created,
        model=invocation.foundation_model_id,
    )


def completion(answer: Answer, head: Head, reasoning: Reasoning) -> bytes:
    return msgspec.json.encode(
        _Completion(
            id=head.id,
            object=head.kind("chat.completion"),
            created=head.created,
            model=head.model,
            choices=[_choice(answer, reasoning)],
            usage=usage_of(answer.usage),
        )
    )


def usage_of(usage: TokenUsage) -> Usage:
    cached = usage.cache_read_input_tokens
    return Usage(
        prompt_tokens=prompt_tokens(usage),
        completion_tokens=usage.output_tokens,
        total_tokens=prompt_tokens(usage) + usage.output_tokens,
        prompt_tokens_details=UNSET if cached is None else PromptTokensDetails(cached),
    )


def tool_call(tool_use: ToolUseBlock) -> ToolCall:
    function = Function(name=tool_use.name, arguments=_as_written(tool_use.input))
    return ToolCall(id=tool_use.tool_use_id, type="function", function=function)


def _as_written(tool_input: Raw) -> str:
    """Input that was broken off is a string in Converse, and here what a stream would have told."""
    written = bytes(tool_input)
    if written.startswith(b'"'):
        return msgspec.json.decode(written, type=str)
    return written.decode()


class CompletionWriter:
    """Every event goes out as it comes; the reason to stop waits for the counts."""

    def __init__(self, head: Head, reasoning: Reasoning, *, usage_in: UsageIn) -> None:
        self._head = head
        self._reasoning: Reasoning = reasoning
        self._usage_in: UsageIn = usage_in
        self._in_tags = False
        self._tool_calls = 0
        self._finish_reason = FINISH_REASONS["end_turn"]
        self._usage = NO_USAGE

    def feed(self, event: ModelEvent) -> Iterator[bytes]:
        for delta in [*self._closing_tag(event), *self._deltas(event)]:
            yield self._chunk([ChunkChoice(delta)])
        if isinstance(event, MessageStopEvent):
            self._finish_reason = FINISH_REASONS[event.stop_reason]
        elif isinstance(event, TokenUsage):
            self._usage = event

    def end(self, metrics: Metrics) -> Iterator[bytes]:
        last = [ChunkChoice(Delta(), finish_reason=self._finish_reason)]
        usage = usage_of(self._usage)
        match self._usage_in:
            case "no chunk":
                yield self._chunk(last, metrics=metrics)
            case "the last chunk":
                yield self._chunk(last, usage=usage, metrics=metrics)
            case "a chunk of its own":
                yield self._chunk(last)
                yield self._chunk([], usage=usage, metrics=metrics)

    def _deltas(self, event: ModelEvent) -> Iterator[Delta]:
        match event:
            case MessageStartEvent():
                yield Delta(role="assistant", content="")
            case ContentBlockStartEvent(
                start=ContentBlockStart(tool_use=ToolUseBlockStart() as start)
            ):
                yield self._tool_start(start)
            case ContentBlockDeltaEvent(delta=delta):
                yield from self._delta(delta)
            case _:
                return

    def _delta(self, delta: ContentBlockDelta) -> Iterator[Delta]:
        if delta.text:
            yield Delta(content=delta.text)
        elif delta.tool_use is not None:
            arguments = Function(arguments=delta.tool_use.input)
            yield Delta(tool_calls=[ToolCall(index=self._tool_calls - 1, function=arguments)])
        elif delta.reasoning_content is not None:
            yield from self._reasoning_delta(delta.reasoning_content)

    def _reasoning_delta(self, delta: ReasoningContentBlockDelta) -> Iterator[Delta]:
        """Signatures have no place here."""
        if not delta.text:
            return
        if self._reasoning == "a member of its own":
            yield Delta(reasoning_content=delta.text)
            return
        if not self._in_tags:
            self._in_tags = True
            yield Delta(content="<reasoning>")
        yield Delta(content=delta.text)

    def _closing_tag(self, event: ModelEvent) -> Iterator[Delta]:
        goes_on = isinstance(event, ContentBlockDeltaEvent) and event.delta.reasoning_content
        if self._in_tags and not goes_on:
            self._in_tags = False
            yield Delta(content="</reasoning>")

    def _tool_start(self, start: ToolUseBlockStart) -> Delta:
        index, self._tool_calls = self._tool_calls, self._tool_calls + 1
        function = Function(name=start.name, arguments="")
        call = ToolCall(index=index, id=start.tool_use_id, type="function", function=function)
        return Delta(tool_calls=[call])

    def _chunk(
        self,
        choices: list[ChunkChoice],
        *,
        usage: Usage | UnsetType = UNSET,
        metrics: Metrics | UnsetType = UNSET,
    ) -> bytes:
        head = self._head
        kind = head.kind("chat.completion.chunk")
        chunk = Chunk(head.id, kind, head.created, head.model, choices, usage, metrics)
        return msgspec.json.encode(chunk)


def _choice(answer: Answer, reasoning: Reasoning) -> _Choice:
    tags = reasoning == "tags in the text"
    calls = [tool_call(block.tool_use) for block in answer.content if block.tool_use is not None]
    text = "".join(_text(block, tags=tags) for block in answer.content)
    apart = "" if tags else "".join(map(reasoning_of, answer.content))
    message = _Message(
        # A model that only calls tools says nothing, and OpenAI writes null for it.
        content=None if calls and not text else text,
        reasoning_content=apart or UNSET,
        tool_calls=calls or UNSET,
    )
    return _Choice(message, FINISH_REASONS[answer.stop_reason])


def _text(block: ContentBlock, *, tags: bool) -> str:
    reasoning = reasoning_of(block)
    if reasoning and tags:
        return f"<reasoning>{reasoning}</reasoning>"
    return text_of(block)
