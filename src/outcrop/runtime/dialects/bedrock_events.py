"""Amazon's errors and frames: what a caller shall get as it is, and what is only logged."""

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct

from outcrop.runtime.dialects.bad_json import BAD_JSON
from outcrop.runtime.dialects.dialect import Complaint, ComplaintError
from outcrop.wire import errors
from outcrop.wire.eventstream import CorruptFrameError, Frame, FrameReader

# What a caller may be told of a call that the operator made: the rest (credentials, access to the
# model) is between the operator and Amazon.
_PASSED_ON: Mapping[int, type[errors.AwsError]] = {
    400: errors.ValidationException,
    408: errors.ModelTimeoutException,
    424: errors.ModelErrorException,
    429: errors.ThrottlingException,
    500: errors.InternalServerException,
    503: errors.ServiceUnavailableException,
}

# What may end a stream, by its `:exception-type`.
_IN_STREAM: Mapping[str, type[errors.AwsError]] = {
    "internalServerException": errors.InternalServerException,
    "modelTimeoutException": errors.ModelTimeoutException,
    "modelStreamErrorException": errors.ModelStreamErrorException,
    "serviceUnavailableException": errors.ServiceUnavailableException,
    "throttlingException": errors.ThrottlingException,
    "validationException": errors.ValidationException,
}

# Amazon's text for a model that is not loaded; throttling shares its status.
_NOT_READY = "not ready"


class EventFrames:
    """The events of a stream, by type and payload, however they were chunked."""

    def __init__(self) -> None:
        self._frames = FrameReader()

    def feed(self, chunk: bytes) -> Iterator[tuple[str, bytes]]:
        """Raises ComplaintError."""
        try:
            for frame in self._frames.feed(chunk):
                yield _event(frame)
        except CorruptFrameError as error:
            raise ComplaintError(Complaint(502, str(error))) from error


def complaint(status: int, body: bytes) -> Complaint:
    """From the error of an operation, which is what a caller of ours shall get, too."""
    text = _Error.of(body)
    error_type = _PASSED_ON.get(status)
    if status == 429 and _NOT_READY in text.message:
        error_type = errors.ModelNotReadyException
    error = None if error_type is None else text.as_error(error_type)
    return Complaint(status, text.message, error=error)


class _Error(Struct, frozen=True):
    message: str = ""
    Message: str = ""
    originalStatusCode: int | None = None  # noqa: N815 - as AwsError has its members
    originalMessage: str | None = None  # noqa: N815 - likewise
    resourceName: str | None = None  # noqa: N815 - likewise

    @classmethod
    def of(cls, body: bytes) -> "_Error":
        try:
            error = msgspec.json.decode(body, type=cls)
        except BAD_JSON:
            return cls(message=body.decode(errors="replace").strip())
        return error if error.message else msgspec.structs.replace(error, message=error.Message)

    def as_error(self, error_type: type[errors.AwsError]) -> errors.AwsError:
        told = {name: getattr(self, name) for name in error_type.member_names}
        members = {name: value for name, value in told.items() if value is not None}
        return error_type(self.message, **members)


def _event(frame: Frame) -> tuple[str, bytes]:
    match frame.headers.get(":message-type"):
        case "event":
            return frame.headers.get(":event-type", ""), frame.payload
        case "exception":
            raise ComplaintError(_exception(frame))
        case _:
            code = frame.headers.get(":error-code", "")
            message = frame.headers.get(":error-message", "")
            raise ComplaintError(Complaint(502, f"{code} {message}".strip()))


def _exception(frame: Frame) -> Complaint:
    text = _Error.of(frame.payload)
    error_type = _IN_STREAM.get(frame.headers.get(":exception-type", ""))
    if error_type is None:
        return Complaint(502, text.message)
    return Complaint(error_type.status, text.message, error=text.as_error(error_type))
