"""What every dialect is: Converse on one side, one model server's API on the other, pure."""

from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlockDeltaEvent,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    ConverseRequest,
    ConverseStreamRequest,
    MessageStartEvent,
    MessageStopEvent,
    TokenUsage,
)

ModelEvent = (
    MessageStartEvent
    | ContentBlockStartEvent
    | ContentBlockDeltaEvent
    | ContentBlockStopEvent
    | MessageStopEvent
    | TokenUsage
)
"""Converse's events in their order; usage comes last and becomes `metadata` with the time taken."""


class Complaint(Struct, frozen=True):
    """What a server says is wrong, in a body or in the middle of a stream."""

    status: int
    message: str
    input_too_long: bool = False


class ComplaintError(Exception):
    """A complaint in the place of an event."""

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint.message)
        self.complaint = complaint


class Reader(Protocol):
    """Reads one answer, however it was chunked."""

    def feed(self, chunk: bytes) -> Iterator[ModelEvent]:
        """Raises ComplaintError."""
        ...

    def end(self) -> Iterator[ModelEvent]:
        """The answer is over. Raises ComplaintError if the model was not done."""
        ...


class Dialect(Protocol):
    @property
    def path(self) -> str:
        """Below the server's URL."""
        ...

    def body(self, request: ConverseRequest | ConverseStreamRequest, served_as: str) -> bytes:
        """Asks for a stream, always: only so can an answer be given up half way."""
        ...

    def reader(self) -> Reader: ...

    def complaint(self, status: int, body: bytes) -> Complaint: ...
