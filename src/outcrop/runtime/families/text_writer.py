"""Chunks of the families that continue a prompt: text, and at the end why it ended."""

from collections.abc import Callable, Iterator, Mapping

import msgspec
from msgspec import Struct

from outcrop.runtime.dialects.dialect import ModelEvent
from outcrop.runtime.families.family import Metrics
from outcrop.runtime.families.said import NO_USAGE
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlockDelta,
    ContentBlockDeltaEvent,
    MessageStopEvent,
    StopReason,
    TokenUsage,
)

STOP_OR_LENGTH: Mapping[StopReason, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",
    "malformed_model_output": "stop",
    "malformed_tool_use": "stop",
    "content_filtered": "stop",
    "guardrail_intervened": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}
"""All that Llama, DeepSeek-R1 and Mistral's text completion tell."""

TextChunk = Callable[[str], Struct]
LastChunk = Callable[[StopReason, TokenUsage, Metrics], Struct]


class TextWriter:
    """Such models have no place for anything but text; reasoning is text to one that closes it."""

    def __init__(
        self, text_chunk: TextChunk, last_chunk: LastChunk, *, end_of_reasoning: str = ""
    ) -> None:
        self._text_chunk = text_chunk
        self._last_chunk = last_chunk
        self._end_of_reasoning = end_of_reasoning
        self._reasons = False
        self._stop_reason: StopReason = "end_turn"
        self._usage = NO_USAGE

    def feed(self, event: ModelEvent) -> Iterator[bytes]:
        match event:
            case ContentBlockDeltaEvent(delta=delta):
                for text in self._texts(delta):
                    yield msgspec.json.encode(self._text_chunk(text))
            case MessageStopEvent(stop_reason=stop_reason):
                self._stop_reason = stop_reason
            case TokenUsage():
                self._usage = event
            case _:
                return

    def end(self, metrics: Metrics) -> Iterator[bytes]:
        yield msgspec.json.encode(self._last_chunk(self._stop_reason, self._usage, metrics))

    def _texts(self, delta: ContentBlockDelta) -> Iterator[str]:
        reasoning = delta.reasoning_content
        if delta.text:
            if self._reasons:
                self._reasons = False
                yield self._end_of_reasoning
            yield delta.text
        elif reasoning is not None and reasoning.text and self._end_of_reasoning:
            self._reasons = True
            yield reasoning.text
