"""What travels in path, query and headers, and what a body may and may not say."""

from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from msgspec import Meta, field, json

from outcrop.wire.errors import AwsError, SerializationException, ValidationException
from outcrop.wire.http import HttpRequest
from outcrop.wire.inputs import InputReader
from outcrop.wire.shape import Shape
from outcrop.wire.shapes.bedrock import (
    CREATE_INFERENCE_PROFILE,
    DELETE_INFERENCE_PROFILE,
    LIST_INFERENCE_PROFILES,
    LIST_PROVISIONED_MODEL_THROUGHPUTS,
    LIST_TAGS_FOR_RESOURCE,
    TAG_RESOURCE,
    UPDATE_PROVISIONED_MODEL_THROUGHPUT,
    DeleteInferenceProfileRequest,
    ListInferenceProfilesRequest,
    UpdateProvisionedModelThroughputRequest,
)
from outcrop.wire.shapes.bedrock_runtime import CONVERSE, ConverseRequest, Message

ARN = b"arn:aws:bedrock:us-east-1:111122223333:inference-profile/p"


def request(
    *, query: str = "", body: bytes = b"", headers: dict[str, str] | None = None
) -> HttpRequest:
    return HttpRequest(
        method="POST", raw_path="/", query_string=query, headers=headers or {}, body=body
    )


def listing(query: str) -> ListInferenceProfilesRequest:
    return LIST_INFERENCE_PROFILES.decode(request(query=query), {})


def after(query: str) -> datetime | None:
    value = LIST_PROVISIONED_MODEL_THROUGHPUTS.decode(request(query=query), {})
    return value.creation_time_after


def converse(body: bytes) -> ConverseRequest:
    return CONVERSE.decode(request(body=body), {"modelId": "m"})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ListInferenceProfilesRequest()),
        ("maxResults=10", ListInferenceProfilesRequest(max_results=10)),
        ("maxResults=%31%30", ListInferenceProfilesRequest(max_results=10)),
        ("maxResults=%2B7", ListInferenceProfilesRequest(max_results=7)),
        ("maxResults=0007", ListInferenceProfilesRequest(max_results=7)),
        ("&type=APPLICATION&", ListInferenceProfilesRequest(type_equals="APPLICATION")),
        ("typeEquals=nonsense&x&=&x=1&x=2", ListInferenceProfilesRequest()),
        ("nextToken=a%3Db=c%26d", ListInferenceProfilesRequest(next_token="a=b=c&d")),
    ],
)
def test_a_query_is_bound_and_what_is_unknown_ignored(
    query: str, expected: ListInferenceProfilesRequest
) -> None:
    assert listing(query) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "1_000",
        "%EF%BC%91%EF%BC%90",
        "1.0",
        "1e2",
        "+10",
        " 10",
        "0x10",
        "--1",
        "9" * 5000,
        *("2147483648", "-2147483649", "true", "null", "NaN"),
    ],
)
def test_what_is_no_integer_is_a_serialization_exception(text: str) -> None:
    with pytest.raises(SerializationException, match="can not be converted to an Integer"):
        listing(f"maxResults={text}")


@pytest.mark.parametrize("query", ["maxResults=1&maxResults=1", "type=APPLICATION&typ%65=x"])
def test_a_repeated_parameter_is_refused(query: str) -> None:
    with pytest.raises(ValidationException, match=r"must not be repeated\."):
        listing(query)


@pytest.mark.parametrize("query", ["nextToken=%ff", "%c3=1", "nextToken=%ed%a0%80"])
def test_a_query_that_is_no_utf_8_is_refused(query: str) -> None:
    with pytest.raises(SerializationException, match="UTF-8"):
        listing(query)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-11-29T13:23:00Z", datetime(2024, 11, 29, 13, 23, tzinfo=UTC)),
        ("2024-11-29T13%3A23%3A00.5Z", datetime(2024, 11, 29, 13, 23, 0, 500000, tzinfo=UTC)),
        ("2024-11-29T13:23:00.123456789Z", datetime(2024, 11, 29, 13, 23, 0, 123456, tzinfo=UTC)),
        ("2024-11-29T15:23:00%2B02:00", datetime(2024, 11, 29, 13, 23, tzinfo=UTC)),
        ("2024-11-29T11:23:00-02:00", datetime(2024, 11, 29, 13, 23, tzinfo=UTC)),
        ("1732886580", datetime(2024, 11, 29, 13, 23, tzinfo=UTC)),
        ("1732886580.5", datetime(2024, 11, 29, 13, 23, 0, 500000, tzinfo=UTC)),
        ("-1", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_moment_is_read_as_iso_8601_or_as_seconds(text: str, expected: datetime) -> None:
    assert after(f"creationTimeAfter={text}") == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2024-11-29", "2024-11-29T13:23:00", "2024-13-01T00:00:00Z", "NaN"),
        *("0001-01-01T00:00:00%2B23:59", "9999-12-31T23:59:59-00:01", "9" * 19, "2024-W01-1"),
        *("2024-11-29T24:00:01Z", "2024-11-29T13:23:00%2B99:99", "0000-01-01T00:00:00Z", "1e9"),
    ],
)
def test_what_is_no_moment_is_a_serialization_exception(text: str) -> None:
    with pytest.raises(SerializationException, match="can not be converted to a Timestamp"):
        after(f"creationTimeAfter={text}")


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-text-express-v1:0:8k",
        "arn:aws:bedrock:us-east-1:111122223333:custom-model/amazon.titan/abcdefghijkl",
        "arn:aws:bedrock:us-east-1:111122223333:custom-model/amazon.titan:1:8k/abcdefghijkl",
        "arn:aws:bedrock:us-east-1:111122223333:custom-model/imported/abcdefghijkl",
    ],
)
def test_a_model_arn_of_the_page_or_of_todays_model_is_accepted(arn: str) -> None:
    value = LIST_PROVISIONED_MODEL_THROUGHPUTS.decode(request(query=f"modelArnEquals={arn}"), {})

    assert value.model_arn_equals == arn


def test_a_body_cannot_smuggle_a_label() -> None:
    body = b'{"provisionedModelId":"theirs","desiredProvisionedModelName":"new"}'

    value = UPDATE_PROVISIONED_MODEL_THROUGHPUT.decode(
        request(body=body), {"provisionedModelId": "mine"}
    )

    assert value == UpdateProvisionedModelThroughputRequest(
        provisioned_model_id="mine", desired_provisioned_model_name="new"
    )


def test_a_label_in_the_body_does_not_even_have_to_be_sound() -> None:
    assert converse(b'{"modelId":5}').model_id == "m"
    with pytest.raises(
        ValidationException, match=r"^1 validation error detected: Value at 'system\.1\.member'"
    ):
        converse(b'{"modelId":5,"system":[null]}')


def test_an_empty_body_is_an_empty_object() -> None:
    assert converse(b"") == converse(b"{}")
    with pytest.raises(ValidationException, match=r"^2 validation errors detected: Value null"):
        CREATE_INFERENCE_PROFILE.decode(request(), {})


def test_a_body_is_ignored_where_the_model_has_none() -> None:
    value = DELETE_INFERENCE_PROFILE.decode(
        request(body=b"\xff{{", query="a=b"), {"inferenceProfileIdentifier": "p"}
    )

    assert value == DeleteInferenceProfileRequest(inference_profile_identifier="p")


def test_null_counts_as_absent() -> None:
    body = b'{"messages":null,"additionalModelRequestFields":null,"inferenceConfig":{"topP":null}}'

    value = converse(body)

    assert value.messages is None
    assert not value.additional_model_request_fields


def test_unknown_members_are_ignored_and_the_last_of_two_counts() -> None:
    body = b'{"messages":[{"role":"user","role":"assistant","x":{"y":[1]},"content":[]}],"z":1}'

    assert converse(body).messages == [Message(role="assistant", content=[])]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"messages":{}}', "Start of structure or map found where not expected."),
        (b'{"messages":[{"role":[]}]}', "Start of list found where not expected."),
        (b'{"messages":"x"}', "STRING_VALUE can not be converted to a list"),
        (b'{"messages":[{"role":"user","content":[1]}]}', "NUMBER_VALUE can not be converted"),
        (b'{"messages":[{"role":true}]}', "TRUE_VALUE can not be converted to a String"),
        (b'{"system":[{"text":false}]}', "FALSE_VALUE can not be converted to a String"),
        (b'{"inferenceConfig":{"maxTokens":1.5}}', "DECIMAL_VALUE can not be converted to an Int"),
        (b'{"inferenceConfig":{"maxTokens":true}}', "TRUE_VALUE can not be converted to an Int"),
        (
            b'{"inferenceConfig":{"maxTokens":2147483648}}',
            "NUMBER_VALUE can not be converted to an",
        ),
        (b'{"inferenceConfig":{"topP":"1"}}', "STRING_VALUE can not be converted to a Float"),
        (b'{"requestMetadata":[]}', "Start of list found where not expected."),
        (b'{"requestMetadata":{"a":1}}', "NUMBER_VALUE can not be converted to a String"),
    ],
)
def test_a_value_of_another_type_is_a_serialization_exception(body: bytes, message: str) -> None:
    with pytest.raises(SerializationException, match=message):
        converse(body)


def test_a_blob_that_is_no_base64_is_a_serialization_exception() -> None:
    image = b'{"image":{"format":"png","source":{"bytes":"*"}}}'
    body = b'{"messages":[{"role":"user","content":[%s]}]}' % image

    with pytest.raises(SerializationException, match="STRING_VALUE can not be converted to a Blob"):
        converse(body)


def test_a_type_fault_is_told_before_violations() -> None:
    with pytest.raises(SerializationException):
        converse(b'{"toolConfig":{"tools":[]},"system":1}')


def test_a_sentence_of_bedrocks_own_needs_no_envelope() -> None:
    with pytest.raises(ValidationException) as caught:
        CREATE_INFERENCE_PROFILE.decode(
            request(body=b'{"inferenceProfileName":"a","modelSource":{"unknown":1}}'), {}
        )

    assert caught.value.message == (
        "InferenceProfileModelSource object at modelSource "
        "must set one of the following keys: copyFrom."
    )


def test_a_sensitive_value_is_not_repeated() -> None:
    body = b'{"inferenceProfileName":"*","description":"!!","modelSource":{"copyFrom":"x"}}'

    with pytest.raises(ValidationException) as caught:
        CREATE_INFERENCE_PROFILE.decode(request(body=body), {})

    assert "Value '*' at 'inferenceProfileName' failed" in caught.value.message
    assert "Value at 'description' failed" in caught.value.message


def test_a_list_is_printed_as_java_prints_it() -> None:
    tags = json.encode([{"key": "k", "value": "v", "x": [True, None, 1.5]}] * 201)
    body = b'{"resourceARN":"%s","tags":%s}' % (ARN, tags)

    with pytest.raises(ValidationException) as caught:
        TAG_RESOURCE.decode(request(body=body), {})

    printed = ", ".join(["{key=k, value=v, x=[true, null, 1.5]}"] * 201)
    assert caught.value.message == (
        f"1 validation error detected: Value '[{printed}]' at 'tags' failed to satisfy constraint: "
        "Member must have length less than or equal to 200"
    )


def test_a_value_too_long_to_be_matched_is_refused_for_its_length_alone() -> None:
    with pytest.raises(ValidationException) as caught:
        LIST_TAGS_FOR_RESOURCE.decode(request(body=b'{"resourceARN":"%s"}' % (b"!" * 10_000)), {})

    assert caught.value.message.startswith("1 validation error detected: ")
    assert caught.value.message.endswith("Member must have length less than or equal to 1011")


class HeaderRequest(Shape, frozen=True, kw_only=True):
    trace: bool | None = field(default=None, name="X-Trace")
    share: Annotated[float, Meta(le=1)] | None = field(default=None, name="X-Share")
    text: str | None = None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, HeaderRequest(text="t")),
        ({"x-trace": "true", "x-share": "0.5"}, HeaderRequest(trace=True, share=0.5, text="t")),
        ({"x-trace": "false", "x-share": "-1"}, HeaderRequest(trace=False, share=-1.0, text="t")),
        ({"x-trace": "True"}, SerializationException),
        ({"x-share": "half"}, SerializationException),
        ({"x-share": "1.5"}, ValidationException),
    ],
)
def test_headers_are_bound(headers: dict[str, str], expected: Any) -> None:
    reader = InputReader(
        HeaderRequest,
        labels=None,
        query=None,
        headers={"X-Trace": "trace", "X-Share": "share"},
        hide_body=False,
    )

    try:
        answer: Any = reader.read(request(body=b'{"text":"t"}', headers=headers), {})
    except AwsError as error:
        answer = type(error)

    assert answer == expected
