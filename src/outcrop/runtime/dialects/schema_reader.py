"""Answers that a schema holds: text that is no JSON is malformed, whatever the server says."""

from collections.abc import Iterator

from msgspec.structs import replace

from outcrop.runtime.dialects.content_blocks import is_json
from outcrop.runtime.dialects.dialect import Asked, ModelEvent, Prompt, Reader
from outcrop.wire.shapes.bedrock_runtime import ContentBlockDeltaEvent, MessageStopEvent


def held_to_schema(asked: Asked, answer: Reader) -> Reader:
    """`answer` as it is, where the caller asks for no schema."""
    if type(asked) is Prompt or asked.output_config is None:
        return answer
    return answer if asked.output_config.text_format is None else _SchemaReader(answer)


class _SchemaReader:
    def __init__(self, answer: Reader) -> None:
        self._answer = answer
        self._text: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[ModelEvent]:
        return map(self._judged, self._answer.feed(chunk))

    def end(self) -> Iterator[ModelEvent]:
        return map(self._judged, self._answer.end())

    def _judged(self, event: ModelEvent) -> ModelEvent:
        if isinstance(event, ContentBlockDeltaEvent):
            self._text.append(event.delta.text or "")
        elif isinstance(event, MessageStopEvent) and self._is_malformed(event):
            return replace(event, stop_reason="malformed_model_output")
        return event

    def _is_malformed(self, event: MessageStopEvent) -> bool:
        """An answer that was cut off could not be whole."""
        return event.stop_reason == "end_turn" and not is_json("".join(self._text))
