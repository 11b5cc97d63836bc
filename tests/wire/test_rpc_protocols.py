"""Botocore writes, we read; we write, botocore reads: each operation in each of its protocols."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from botocore import xform_name
from botocore.awsrequest import HeadersDict, create_request_object, prepare_request_dict
from botocore.model import OperationModel, Shape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from cbor2 import dumps
from hypothesis import given, strategies as st
from msgspec import json, structs

from outcrop.wire.addresses import Address, Addresses
from outcrop.wire.errors import (
    AwsError,
    InvalidParameterValueException,
    SerializationException,
    ThrottlingException,
    ValidationException,
)
from outcrop.wire.http import HttpRequest, HttpResponse
from outcrop.wire.rpc import RpcOperation
from outcrop.wire.shapes import ce, cloudwatch, sts
from tests.wire.model import RPC_MODELS, RPC_MODULES, fullest, rpc_served, smallest

ADDRESSES = Addresses({}, [cloudwatch.SERVICE, ce.SERVICE, sts.SERVICE])
SPOKEN = [(o, protocol) for o in rpc_served() for protocol in o.service.protocols]
IDS = [f"{operation.name}-{protocol}" for operation, protocol in SPOKEN]
CLOUDWATCH_PROTOCOLS = cloudwatch.SERVICE.protocols

AnyOperation = RpcOperation[Any, Any]


def modelled(operation: AnyOperation) -> OperationModel:
    return RPC_MODELS[operation.service.name].operation_model(operation.name)


def samples(shape: Shape) -> Iterator[Any]:
    yield smallest(shape)
    yield fullest(shape)


def as_sent(operation: AnyOperation, protocol: str, parameters: dict[str, Any]) -> HttpRequest:
    serializer = create_serializer(protocol, include_validation=True)
    request = serializer.serialize_to_request(parameters, modelled(operation))
    prepare_request_dict(request, endpoint_url="http://localhost", context={})
    prepared = create_request_object(request).prepare()
    headers = {name.lower(): _text(value) for name, value in prepared.headers.items()}
    body = prepared.body or b""
    return HttpRequest(
        method=prepared.method,
        raw_path=urlsplit(prepared.url).path,
        headers=headers,
        body=body.encode() if isinstance(body, str) else body,
    )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def address_of(request: HttpRequest) -> Address:
    found = ADDRESSES.find(request)
    assert found is not None
    return found[0]


def read(operation: AnyOperation, request: HttpRequest) -> Any:
    protocol = address_of(request).rpc
    assert protocol
    return operation.decode(request, protocol)


def as_read(response: HttpResponse, protocol: str, shape: Shape | None) -> dict[str, Any]:
    assert isinstance(response.body, bytes)
    parsed: dict[str, Any] = create_parser(protocol).parse(
        {
            "status_code": response.status,
            "headers": HeadersDict(response.headers),
            "body": response.body,
        },
        shape,
    )
    return parsed


def as_parameters(value: Any, shape: Shape) -> Any:
    """What we decoded, spelt as botocore's caller would."""
    match shape.type_name:
        case "structure":
            attributes = {name: _attribute(name) for name in shape.members}
            return {
                name: as_parameters(getattr(value, attribute), shape.members[name])
                for name, attribute in attributes.items()
                if getattr(value, attribute) is not None
            }
        case "list":
            return [as_parameters(item, shape.member) for item in value]
        case _:
            return value


def as_ours(value: Any, shape: Shape, service: str) -> Any:
    """The record a handler would make of it."""
    match shape.type_name:
        case "structure":
            members = {
                _attribute(name): as_ours(item, shape.members[name], service)
                for name, item in value.items()
            }
            return getattr(RPC_MODULES[service], shape.name)(**members)
        case "list":
            return [as_ours(item, shape.member, service) for item in value]
        case "map":
            return {key: as_ours(item, shape.value, service) for key, item in value.items()}
        case _:
            return value


def _attribute(name: str) -> str:
    attribute: str = xform_name(name)
    return f"{attribute}_" if attribute in {"and", "or", "not"} else attribute


@pytest.mark.parametrize(("operation", "protocol"), SPOKEN, ids=IDS)
def test_what_botocore_writes_is_read(operation: AnyOperation, protocol: str) -> None:
    shape = modelled(operation).input_shape

    for parameters in samples(shape):
        request = as_sent(operation, protocol, parameters)

        assert address_of(request).service == operation.service.name
        assert address_of(request).operation == operation.name
        assert as_parameters(read(operation, request), shape) == parameters


@pytest.mark.parametrize(("operation", "protocol"), SPOKEN, ids=IDS)
def test_what_we_write_botocore_reads(operation: AnyOperation, protocol: str) -> None:
    shape = modelled(operation).output_shape
    protocol_of_ours = address_of(
        as_sent(operation, protocol, smallest(modelled(operation).input_shape))
    ).rpc
    assert protocol_of_ours

    for parameters in samples(shape):
        output = as_ours(parameters, shape, operation.service.name)
        parsed = as_read(operation.encode(output, protocol_of_ours, "an id"), protocol, shape)

        metadata = parsed.pop("ResponseMetadata")
        assert parsed == parameters
        assert metadata["HTTPStatusCode"] == 200
        if protocol == "query":
            assert metadata["RequestId"] == "an id"


@pytest.mark.parametrize("protocol", CLOUDWATCH_PROTOCOLS)
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidParameterValueException("a < b & c"), "InvalidParameterValue"),
        (ValidationException("bad"), "ValidationError"),
        (ThrottlingException("slow", retry_after_s=0.1), "Throttling"),
    ],
    ids=["InvalidParameterValue", "ValidationError", "Throttling"],
)
def test_a_refusal_of_cloudwatch_has_its_old_name_in_each_protocol(
    protocol: str, error: AwsError, code: str
) -> None:
    request = as_sent(cloudwatch.LIST_METRICS, protocol, {})

    response = address_of(request).protocol.refusal(error, "an id")

    parsed = as_read(response, protocol, None)
    assert parsed["Error"]["Code"] == code
    assert parsed["Error"]["Message"] == error.message
    assert ("retry-after" in response.headers) == (error.retry_after_s is not None)


def test_a_refusal_of_cost_explorer_has_its_own_name() -> None:
    request = as_sent(
        ce.GET_TAGS, "json", {"TimePeriod": {"Start": "2025-01-01", "End": "2025-01-02"}}
    )

    response = address_of(request).protocol.refusal(ValidationException("bad"), "an id")

    assert as_read(response, "json", None)["Error"]["Code"] == "ValidationException"
    assert "x-amzn-query-error" not in response.headers


@pytest.mark.parametrize("protocol", CLOUDWATCH_PROTOCOLS)
def test_what_is_missing_is_told_in_amazons_words(protocol: str) -> None:
    parameters = smallest(modelled(cloudwatch.GET_METRIC_STATISTICS).input_shape)
    serializer = create_serializer(protocol, include_validation=False)
    parameters["Period"] = 0
    request = serializer.serialize_to_request(
        parameters, modelled(cloudwatch.GET_METRIC_STATISTICS)
    )
    prepare_request_dict(request, endpoint_url="http://localhost", context={})
    prepared = create_request_object(request).prepare()

    with pytest.raises(ValidationException) as refused:
        read(
            cloudwatch.GET_METRIC_STATISTICS,
            HttpRequest(
                method="POST",
                raw_path=urlsplit(prepared.url).path,
                headers={name.lower(): _text(value) for name, value in prepared.headers.items()},
                body=prepared.body.encode() if isinstance(prepared.body, str) else prepared.body,
            ),
        )

    assert refused.value.message == (
        "1 validation error detected: Value '0' at 'period' failed to satisfy constraint:"
        " Member must have value greater than or equal to 1"
    )


def cbor(hexadecimal: str) -> HttpRequest:
    return HttpRequest(
        method="POST",
        raw_path="/service/GraniteServiceVersion20100801/operation/ListMetrics",
        headers={"content-type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"},
        body=bytes.fromhex(hexadecimal),
    )


@pytest.mark.parametrize(
    "body",
    [
        "ff",  # a break out of nothing
        "80",  # a list
        "a1",  # cut short
        "a1694e616d657370616365d81c81d81d00",  # a list that holds itself
        "a1694e616d657370616365d823612a",  # a regular expression
        "a1694e616d657370616365c48201c24101",  # a decimal fraction
        "a1694e616d6573706163653b7fffffffffffffff",  # a number where text belongs
        "a169" + b"Namespace".hex() + "81" * 200 + "01",  # a tower of lists
        "a1" + "8001",  # a list for a key
    ],
)
def test_cbor_that_no_sdk_writes_is_refused(body: str) -> None:
    with pytest.raises(SerializationException):
        read(cloudwatch.LIST_METRICS, cbor(body))


def test_members_that_the_model_does_not_know_are_passed_over() -> None:
    request = HttpRequest(
        method="POST",
        raw_path="/",
        headers={"x-amz-target": "GraniteServiceVersion20100801.ListMetrics"},
        body=b'{"Namespace":"AWS/Bedrock","Colour":{"a":[1]}}',
    )

    assert read(cloudwatch.LIST_METRICS, request).namespace == "AWS/Bedrock"


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b'{"Namespace":1}', b"[" * 100_000])
def test_json_that_cannot_be_read_is_refused(body: bytes) -> None:
    headers = {"x-amz-target": "GraniteServiceVersion20100801.ListMetrics"}
    request = HttpRequest(method="POST", raw_path="/", headers=headers, body=body)

    with pytest.raises(SerializationException):
        read(cloudwatch.LIST_METRICS, request)


@given(st.binary(max_size=200))
def test_any_cbor_is_read_or_refused(body: bytes) -> None:
    with suppress(AwsError):
        read(cloudwatch.GET_METRIC_DATA, structs.replace(cbor(""), body=body))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(["Id", "Metric", "Period", "Dimensions", "Name"]), below)
    ),
    max_leaves=8,
)
MEMBERS = st.sampled_from(["MetricDataQueries", "StartTime", "EndTime", "MaxDatapoints", "ScanBy"])


@given(st.dictionaries(MEMBERS, VALUES))
def test_members_of_any_type_are_read_or_refused(members: dict[str, Any]) -> None:
    with suppress(AwsError):
        read(cloudwatch.GET_METRIC_DATA, structs.replace(cbor(""), body=dumps(members)))


NAMES = st.sampled_from(["Dimensions", "member", "1", "2", "Name", "Period", "StartTime", ""])


@given(st.dictionaries(st.lists(NAMES, max_size=5).map(".".join), st.text(max_size=5)))
def test_any_form_is_read_or_refused(parameters: dict[str, str]) -> None:
    known = {"Version": "2010-08-01", "Action": "GetMetricStatistics"}
    with suppress(AwsError):
        read(cloudwatch.GET_METRIC_STATISTICS, query(urlencode(parameters | known)))


@given(st.recursive(st.integers(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)))
def test_any_json_is_read_or_refused(value: Any) -> None:
    headers = {"x-amz-target": "AWSInsightsIndexService.GetCostAndUsage"}
    body = json.encode({"Filter": value, "GroupBy": value})

    with suppress(AwsError):
        read(
            ce.GET_COST_AND_USAGE,
            HttpRequest(method="POST", raw_path="/", headers=headers, body=body),
        )


def query(body: str) -> HttpRequest:
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    return HttpRequest(method="POST", raw_path="/", headers=headers, body=body.encode())


@pytest.mark.parametrize(
    "rest",
    [
        "StartTime=yesterday",
        "Period=sixty",
        "Dimensions=1",
        "Dimensions.member.x.Name=a",
        "Dimensions.member.1=a",
    ],
)
def test_a_form_that_cannot_be_read_is_refused(rest: str) -> None:
    request = query(f"Version=2010-08-01&Action=GetMetricStatistics&{rest}")

    with pytest.raises(SerializationException):
        read(cloudwatch.GET_METRIC_STATISTICS, request)


def test_a_form_may_come_in_the_query_string() -> None:
    request = HttpRequest(
        method="GET",
        raw_path="/",
        query_string="Action=GetCallerIdentity&Version=2011-06-15",
        headers={},
    )

    assert address_of(request).operation == "GetCallerIdentity"


@pytest.mark.parametrize(
    "request_",
    [
        query("Action=GetCallerIdentity"),
        query("Action=Get%00&Version=2011-06-15"),
        HttpRequest(method="POST", raw_path="/", headers={"x-amz-target": "Nobody.GetTags"}),
        HttpRequest(method="POST", raw_path="/service/Nobody/operation/ListMetrics", headers={}),
        HttpRequest(method="GET", raw_path="/", headers={}),
    ],
)
def test_what_is_addressed_to_nobody_is_not_found(request_: HttpRequest) -> None:
    assert ADDRESSES.find(request_) is None


def test_what_xml_cannot_say_is_replaced() -> None:
    protocol = address_of(query("Version=2010-08-01&Action=ListMetrics")).protocol

    response = protocol.refusal(ValidationException("a\x00b\ud800"), "an id")

    assert as_read(response, "query", None)["Error"]["Message"] == "a\ufffdb\ufffd"


def test_a_moment_may_come_as_a_number_or_as_text() -> None:
    moments = [
        read(cloudwatch.GET_METRIC_STATISTICS, query(f"{REQUEST}&StartTime={start}")).start_time
        for start in ("1732886580", "2024-11-29T13:23:00Z")
    ]

    assert moments == [datetime(2024, 11, 29, 13, 23, tzinfo=UTC)] * 2


REQUEST = (
    "Version=2010-08-01&Action=GetMetricStatistics&Namespace=a&MetricName=b&Period=60"
    "&EndTime=2025-01-01T00:00:00Z"
)
