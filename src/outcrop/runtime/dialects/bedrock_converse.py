"""Converse to and from Amazon Bedrock itself: nearly the same bytes on either side."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Raw

from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.runtime.dialects.bedrock_documents import with_names
from outcrop.runtime.dialects.bedrock_events import EventFrames, complaint
from outcrop.runtime.dialects.bedrock_prompt import ChunkReader, body_of
from outcrop.runtime.dialects.bedrock_tools import in_amazons_terms
from outcrop.runtime.dialects.dialect import (
    Asked,
    Call,
    Capabilities,
    Complaint,
    ComplaintError,
    ModelEvent,
    Prompt,
)
from outcrop.runtime.dialects.openai_chat import as_conversation
from outcrop.wire.eventstream import CONTENT_TYPE
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlockDeltaEvent,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    ConverseRequest,
    ConverseStreamMetadataEvent,
    ConverseStreamOutput,
    ConverseStreamRequest,
    MessageStartEvent,
    MessageStopEvent,
)

# The members of ConverseTokensRequest.
_COUNTED = {"messages", "system", "toolConfig", "additionalModelRequestFields"}


class BedrockConverse:
    """Amazon Bedrock, or an Outcrop behind this one."""

    def call(self, asked: Asked, served_as: str, capabilities: Capabilities) -> Call:  # noqa: ARG002 - a dialect's
        native = body_of(asked, served_as) if type(asked) is Prompt else None
        if native is not None:
            path = f"/model/{_encoded(served_as)}/invoke-with-response-stream"
            return Call(path, native, {"accept": CONTENT_TYPE})
        path = f"/model/{_encoded(served_as)}/converse-stream"
        body = msgspec.json.encode(_members(in_amazons_terms(as_conversation(asked))))
        return Call(path, body, {"accept": CONTENT_TYPE})

    # Its answer holds the count as `inputTokens`.
    def count_tokens(self, asked: Asked, served_as: str, capabilities: Capabilities) -> Call:  # noqa: ARG002 - likewise
        path = f"/model/{_encoded(served_as)}/count-tokens"
        members = _members(in_amazons_terms(as_conversation(asked)))
        counted = {name: value for name, value in members.items() if name in _COUNTED}
        return Call(path, msgspec.json.encode({"input": {"converse": counted}}))

    def reader(self, asked: Asked, *, whole: bool = False) -> "ConverseReader":  # noqa: ARG002 - likewise
        return ConverseReader()

    def complaint(self, status: int, body: bytes) -> Complaint:
        return complaint(status, body)


class ConverseReader:
    def __init__(self) -> None:
        self._frames = EventFrames()
        self._chunks = ChunkReader()
        self._done = False

    def feed(self, chunk: bytes) -> Iterator[ModelEvent]:
        for event_type, payload in self._frames.feed(chunk):
            if event_type == "chunk":
                yield from self._chunks.read(payload)
                self._done = self._chunks.done
            elif (decoder := _EVENTS.get(event_type)) is not None:
                event = _decoded(decoder, payload)
                self._done = isinstance(event, ConverseStreamMetadataEvent)
                yield event

    def end(self) -> Iterator[ModelEvent]:
        if not self._done:
            raise ComplaintError(Complaint(502, "the answer ended before the model was done"))
        yield from ()


_EVENTS: Mapping[str, msgspec.json.Decoder[ConverseStreamOutput]] = {
    "messageStart": msgspec.json.Decoder(MessageStartEvent),
    "contentBlockStart": msgspec.json.Decoder(ContentBlockStartEvent),
    "contentBlockDelta": msgspec.json.Decoder(ContentBlockDeltaEvent),
    "contentBlockStop": msgspec.json.Decoder(ContentBlockStopEvent),
    "messageStop": msgspec.json.Decoder(MessageStopEvent),
    "metadata": msgspec.json.Decoder(ConverseStreamMetadataEvent),
}


def _decoded(
    decoder: msgspec.json.Decoder[ConverseStreamOutput], payload: bytes
) -> ConverseStreamOutput:
    try:
        return decoder.decode(payload)
    except BAD_JSON as error:
        raise ComplaintError(Complaint(502, f"not an event of Converse: {error}")) from error


def _encoded(served_as: str) -> str:
    return quote(served_as, safe="-_.~")


def _members(request: ConverseRequest | ConverseStreamRequest) -> dict[str, Any]:
    """All but the model's name, which travels in the path."""
    names = zip(request.__struct_fields__, request.__struct_encode_fields__, strict=True)
    members = {wire_name: getattr(request, name) for name, wire_name in names}
    del members["modelId"]
    members["messages"] = with_names(request.messages or ()) or None
    return {name: value for name, value in members.items() if not _is_absent(value)}


def _is_absent(value: object) -> bool:
    return value is None or (isinstance(value, Raw) and not value)
