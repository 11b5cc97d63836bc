"""Botocore writes, we read; we write, botocore reads: for every served operation."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore import xform_name
from botocore.awsrequest import HeadersDict, create_request_object, prepare_request_dict
from botocore.eventstream import EventStream
from botocore.model import Shape
from botocore.parsers import EventStreamJSONParser, create_parser
from botocore.serialize import create_serializer
from msgspec import Raw, json

from outcrop.wire.errors import ModelStreamErrorException
from outcrop.wire.http import HttpRequest
from outcrop.wire.operation import Operation, StreamOperation
from outcrop.wire.routes import Routes
from outcrop.wire.shapes import bedrock, bedrock_runtime
from outcrop.wire.shapes.bedrock_runtime import (
    CONVERSE_STREAM,
    INVOKE_MODEL,
    INVOKE_MODEL_WITH_RESPONSE_STREAM,
    InvokeModelResponse,
)
from tests.wire.model import (
    MODELS,
    MODULES,
    MOST_ARMS,
    AnyOperation,
    fullest,
    modelled,
    name_of,
    served,
    smallest,
)

ROUTES = Routes([*bedrock.OPERATIONS, *bedrock_runtime.OPERATIONS])
ANSWERING = [operation for operation in served() if isinstance(operation, Operation)]


def samples(shape: Shape) -> Iterator[Any]:
    """The smallest, and the fullest often enough to see every arm of every union."""
    seen: list[Any] = []
    for sample in [smallest(shape), *(fullest(shape, arm) for arm in range(MOST_ARMS))]:
        if sample not in seen:
            seen.append(sample)
            yield sample


def as_sent(operation: AnyOperation, parameters: dict[str, Any]) -> HttpRequest:
    """The request botocore would send, as the server sees it."""
    serializer = create_serializer("rest-json", include_validation=True)
    request = serializer.serialize_to_request(parameters, modelled(operation))
    prepare_request_dict(request, endpoint_url="http://localhost", context={})
    prepared = create_request_object(request).prepare()
    url = urlsplit(prepared.url)
    return HttpRequest(
        method=prepared.method,
        raw_path=url.path,
        query_string=url.query,
        headers={name.lower(): _text(value) for name, value in prepared.headers.items()},
        body=prepared.body or b"",
    )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def as_parameters(value: Any, shape: Shape) -> Any:
    """What we decoded, spelt as botocore's caller would."""
    match shape.type_name:
        case "structure" if getattr(shape, "is_document_type", False):
            return json.decode(value)
        case "structure":
            members = {
                name: (getattr(value, xform_name(name)), member)
                for name, member in shape.members.items()
            }
            return {
                name: as_parameters(value, member)
                for name, (value, member) in members.items()
                if value not in (None, Raw())
            }
        case "list":
            return [as_parameters(item, shape.member) for item in value]
        case "map":
            return {key: as_parameters(item, shape.value) for key, item in value.items()}
        case _:
            return value


def as_ours(value: Any, shape: Shape, service: str) -> Any:
    """The record a handler would make of it."""
    match shape.type_name:
        case "structure" if getattr(shape, "is_document_type", False):
            return Raw(json.encode(value))
        case "structure":
            record = getattr(MODULES[service], shape.name)
            return record(
                **{
                    xform_name(name): as_ours(item, shape.members[name], service)
                    for name, item in value.items()
                }
            )
        case "list":
            return [as_ours(item, shape.member, service) for item in value]
        case "map":
            return {key: as_ours(item, shape.value, service) for key, item in value.items()}
        case _:
            return value


class Chunks:
    """Just enough of urllib3's response for botocore to stream from."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def stream(self) -> Iterator[bytes]:
        yield from self._chunks


def as_received(
    frames: list[bytes], operation: StreamOperation[Any, Any] = CONVERSE_STREAM
) -> EventStream:
    shape = modelled(operation).get_event_stream_output()
    return EventStream(Chunks(frames), shape, EventStreamJSONParser(), operation.name)


@pytest.mark.parametrize("operation", served(), ids=name_of)
def test_what_botocore_writes_is_read(operation: AnyOperation) -> None:
    shape = modelled(operation).input_shape

    for parameters in samples(shape):
        request = as_sent(operation, parameters)
        match = ROUTES.match(request.method, request.raw_path)

        assert match is not None
        name, labels = match
        assert name == operation.name
        assert as_parameters(operation.decode(request, labels), shape) == parameters


@pytest.mark.parametrize("operation", ANSWERING, ids=name_of)
def test_what_we_write_botocore_reads(operation: Operation[Any, Any]) -> None:
    shape = modelled(operation).output_shape

    for parameters in samples(shape):
        response = operation.encode(as_ours(parameters, shape, operation.service))

        assert response.status == modelled(operation).http["responseCode"]
        payload = shape.serialization.get("payload")
        if payload is None:
            assert response.headers == {"content-type": "application/json"}
        assert isinstance(response.body, bytes)
        # Botocore hands a payload on as the stream that it is.
        body = response.body if payload is None else BytesIO(response.body)
        headers = HeadersDict(response.headers)
        parsed = create_parser("rest-json").parse(
            {"status_code": response.status, "headers": headers, "body": body}, shape
        )
        del parsed["ResponseMetadata"]
        if payload is not None:
            parsed[payload] = parsed[payload].read()
        assert parsed == parameters


@pytest.mark.parametrize(
    ("operation", "at_least"),
    [(CONVERSE_STREAM, 11), (INVOKE_MODEL_WITH_RESPONSE_STREAM, 2)],
    ids=name_of,
)
def test_events_are_read_by_botocore(operation: StreamOperation[Any, Any], at_least: int) -> None:
    stream = modelled(operation).get_event_stream_output()
    events = [
        {name: sample}
        for name, member in stream.members.items()
        if not member.metadata.get("exception")
        for sample in samples(member)
    ]

    frames = [
        operation.encode_event(
            as_ours(value, stream.members[name], operation.service), padding=length
        )
        for length, event in enumerate(events)
        for name, value in event.items()
    ]

    assert len(events) >= at_least
    assert list(as_received(frames, operation)) == events


def test_what_a_stream_says_in_its_headers_botocore_reads() -> None:
    operation = INVOKE_MODEL_WITH_RESPONSE_STREAM
    shape = modelled(operation).output_shape
    head = operation.head_type(content_type="application/json", service_tier="flex")

    response = operation.encode(b"", head)

    parsed = create_parser("rest-json").parse(
        {
            "status_code": 200,
            "headers": HeadersDict(response.headers),
            "body": Chunks([]),
            "context": {},
        },
        shape,
    )
    assert parsed["contentType"] == "application/json"
    assert parsed["serviceTier"] == "flex"
    assert "performanceConfigLatency" not in parsed


def test_the_counts_of_an_answer_are_headers() -> None:
    output = InvokeModelResponse(
        body=b"{}", content_type="application/json", input_token_count=10, output_token_count=0
    )

    response = INVOKE_MODEL.encode(output)

    assert response.body == b"{}"
    assert response.headers == {
        "Content-Type": "application/json",
        "x-amzn-bedrock-input-token-count": "10",
        "x-amzn-bedrock-output-token-count": "0",
    }


def test_a_modelled_exception_ends_the_stream_for_botocore() -> None:
    error = ModelStreamErrorException("broken", originalStatusCode=500, originalMessage="oh")

    frame = CONVERSE_STREAM.encode_exception(error)

    with pytest.raises(Exception, match=r"modelStreamErrorException.*broken"):
        list(as_received([frame]))


def test_every_operation_of_both_services_is_known() -> None:
    for service, module in MODULES.items():
        operations = map(MODELS[service].operation_model, MODELS[service].operation_names)

        rows = {(o.name, o.http["method"], o.http["requestUri"]) for o in operations}

        assert set(module.OPERATIONS) == rows
