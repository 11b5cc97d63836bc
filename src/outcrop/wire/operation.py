"""An operation of the service model: decodes its input, encodes its output or its events."""

from collections.abc import Collection, Mapping, Set as AbstractSet
from typing import Generic, TypeVar

from msgspec import json, structs

from outcrop.wire import eventstream
from outcrop.wire.errors import AwsError
from outcrop.wire.http import Body, HttpRequest, HttpResponse
from outcrop.wire.inputs import InputReader
from outcrop.wire.shape import Shape

InputT = TypeVar("InputT", bound=Shape)
OutputT = TypeVar("OutputT", bound=Shape)
EventT = TypeVar("EventT", bound=Shape)

_ENCODER = json.Encoder()


class Operation(Generic[InputT, OutputT]):
    """One request, one answer."""

    def __init__(  # noqa: PLR0913 - one row of the service model, all by keyword
        self,
        name: str,
        *,
        service: str,
        method: str,
        uri: str,
        input_type: type[InputT],
        output_type: type[OutputT],
        status: int,
        labels: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        payload: str | None = None,
        output_headers: Collection[str] = (),
        output_payload: str | None = None,
    ) -> None:
        self.name = name
        self.service = service
        self.method = method
        self.uri = uri
        self.input_type = input_type
        self.output_type = output_type
        self.status = status
        self._reader = InputReader(
            input_type,
            labels=labels,
            query=query,
            headers=headers,
            payload=payload,
            hide_body=service == "bedrock-runtime",
        )
        self._output_headers = _attributes(output_type, output_headers)
        self._output_payload = output_payload

    def decode(self, request: HttpRequest, labels: Mapping[str, str]) -> InputT:
        """Raises ValidationException or SerializationException, in Amazon's words."""
        return self._reader.read(request, labels)

    def encode(self, output: OutputT) -> HttpResponse:
        if self._output_payload is not None:
            headers = _headers_of(output, self._output_headers)
            body: bytes = getattr(output, self._output_payload)
            return HttpResponse(status=self.status, headers=headers, body=body)
        return HttpResponse(
            status=self.status,
            headers={"content-type": "application/json"},
            body=_ENCODER.encode(output),
        )


class StreamOperation(Generic[InputT, EventT]):
    """One request, an answer that arrives as events."""

    def __init__(  # noqa: PLR0913 - one row of the service model, all by keyword
        self,
        name: str,
        *,
        service: str,
        method: str,
        uri: str,
        input_type: type[InputT],
        events: Mapping[type[EventT], str],
        errors: AbstractSet[str],
        labels: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        payload: str | None = None,
        head_type: type[Shape] = Shape,
        output_headers: Collection[str] = (),
    ) -> None:
        self.name = name
        self.service = service
        self.method = method
        self.uri = uri
        self.input_type = input_type
        self.head_type = head_type
        self.status = 200
        self._events = events
        self._errors = errors
        self._reader = InputReader(
            input_type,
            labels=labels,
            query=query,
            headers=headers,
            payload=payload,
            hide_body=service == "bedrock-runtime",
        )
        self._output_headers = _attributes(head_type, output_headers)

    def decode(self, request: HttpRequest, labels: Mapping[str, str]) -> InputT:
        """Raises ValidationException or SerializationException, in Amazon's words."""
        return self._reader.read(request, labels)

    def encode(self, frames: bytes | Body, head: Shape | None = None) -> HttpResponse:
        """The answer that carries the frames of `encode_event` and `encode_exception`.

        `head`, a `head_type`: what the answer says in its headers.
        """
        headers = {"content-type": eventstream.CONTENT_TYPE}
        if head is not None:
            headers |= _headers_of(head, self._output_headers)
        return HttpResponse(status=self.status, headers=headers, body=frames)

    def encode_event(self, event: EventT, *, padding: int = 0) -> bytes:
        """One frame; `padding` is the length of the member `p` that hides how long a token is."""
        payload = eventstream.padded(_ENCODER.encode(event), padding)
        return eventstream.encode_event(self._events[type(event)], payload)

    def encode_logged(self, event: EventT) -> bytes:
        """An event as a log has it: JSON under its name, or the bytes that it carries."""
        part = getattr(event, "bytes", None)
        if isinstance(part, bytes):
            return part
        return b'{"%s":%s}' % (self._events[type(event)].encode(), _ENCODER.encode(event))

    def encode_exception(self, error: AwsError) -> bytes:
        """One frame that ends the stream: an exception if the stream's model lists it."""
        if error.name not in self._errors:
            return eventstream.encode_error(error.name, error.message)
        payload = _ENCODER.encode({"message": error.message, **error.members})
        return eventstream.encode_exception(error.name[0].lower() + error.name[1:], payload)


def _attributes(shape: type[Shape], headers: Collection[str]) -> Mapping[str, str]:
    """By the name of the header, which is the member's name on the wire."""
    return {f.encode_name: f.name for f in structs.fields(shape) if f.encode_name in headers}


def _headers_of(output: Shape, attributes: Mapping[str, str]) -> dict[str, str]:
    values = {header: getattr(output, attribute) for header, attribute in attributes.items()}
    return {header: str(value) for header, value in values.items() if value is not None}
