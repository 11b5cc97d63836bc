"""What every dialect is: Converse on one side, one model server's API on the other, pure."""

from collections.abc import Iterable
from typing import Protocol, final

from msgspec import Raw, Struct

from outcrop.wire.errors import AwsError
from outcrop.wire.shapes.bedrock_runtime import (
    ContentBlockDeltaEvent,
    ContentBlockStartEvent,
    ContentBlockStopEvent,
    ConverseRequest,
    ConverseStreamMetadataEvent,
    ConverseStreamRequest,
    InferenceConfiguration,
    MessageStartEvent,
    MessageStopEvent,
    TokenUsage,
)


@final
class Prompt(Struct, frozen=True, kw_only=True):
    """A prompt as the model shall read it, with the template already in it."""

    model_id: str
    prompt: str
    inference_config: InferenceConfiguration | None = None
    additional_model_request_fields: Raw = Raw()


Asked = ConverseRequest | ConverseStreamRequest | Prompt
"""What a model is asked, whatever the operation was called."""


@final
class StopDetail(Struct, frozen=True):
    """Which stop sequence the model met: right before the end of the message, where it is known."""

    stop_sequence: str | None = None


ModelEvent = (
    MessageStartEvent
    | ContentBlockStartEvent
    | ContentBlockDeltaEvent
    | ContentBlockStopEvent
    | StopDetail
    | MessageStopEvent
    | TokenUsage
    | ConverseStreamMetadataEvent
)
"""Converse's events in their order; usage comes last and becomes `metadata` with the time taken.

A server that speaks Converse itself sends `metadata` whole, and no usage besides.
"""


class Capabilities(Protocol):
    """What a model server can do."""

    @property
    def tools(self) -> bool: ...

    @property
    def images(self) -> bool: ...

    @property
    def documents(self) -> bool:
        """It reads files by itself: without it, a document's text is sent."""
        ...

    @property
    def json_schema(self) -> bool: ...

    @property
    def reasoning(self) -> bool:
        """It takes back the reasoning of earlier turns."""
        ...

    @property
    def completions(self) -> bool:
        """It continues a raw prompt."""
        ...

    @property
    def prefill(self) -> bool:
        """It may be told to continue a last message of the assistant's."""
        ...


class Call(Struct, frozen=True):
    """What is asked of a model server: always a POST, always answered as a stream."""

    path: str
    """Below the server's URL."""
    body: bytes
    headers: dict[str, str] = {}


class Complaint(Struct, frozen=True):
    """What a server says is wrong, in a body or in the middle of a stream."""

    status: int
    message: str
    input_too_long: bool = False
    error: AwsError | None = None
    """From a server whose errors are Amazon's: for the caller as it is."""


class ComplaintError(Exception):
    """A complaint in the place of an event."""

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint.message)
        self.complaint = complaint


class Reader(Protocol):
    """Reads one answer, however it was chunked."""

    def feed(self, chunk: bytes) -> Iterable[ModelEvent]:
        """Raises ComplaintError."""
        ...

    def end(self) -> Iterable[ModelEvent]:
        """The answer is over. Raises ComplaintError if the model was not done."""
        ...


class Dialect(Protocol):
    def call(self, asked: Asked, served_as: str, capabilities: Capabilities) -> Call:
        """Asks for a stream, always: only so can an answer be given up half way."""
        ...

    def reader(self, asked: Asked, *, whole: bool = False) -> Reader:
        """For the answer to `asked`.

        `whole`: nobody reads along, so text that comes in one chunk may be told in one event.
        """
        ...

    def complaint(self, status: int, body: bytes) -> Complaint: ...
