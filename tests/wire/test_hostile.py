"""Whatever is sent is refused with a 4xx, in time; nothing but an error of AWS's comes out."""

import re
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from msgspec import Raw, inspect, json

from outcrop.wire.errors import AwsError, SerializationException, ValidationException
from outcrop.wire.http import HttpRequest
from outcrop.wire.shapes.bedrock import CREATE_INFERENCE_PROFILE, TAG_RESOURCE
from outcrop.wire.shapes.bedrock_runtime import CONVERSE
from tests.wire.model import AnyOperation, fullest, modelled, name_of, served

WITH_BODY = [
    operation
    for operation in served()
    if operation.method in ("POST", "PATCH")
    and "payload" not in modelled(operation).input_shape.serialization
]
"""Those that take a JSON document. A native body is its family's to judge."""
LABELS = {"modelId": "m", "provisionedModelId": "p"}
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 1e300, 10**30, "", "x", "\x00", "é", "\u2028", "x" * 70_000),
    *([], [None], [[]], [{}], {}, {"": None}, {"x": 1}),
]


def outcome(operation: AnyOperation, body: bytes, query: str = "") -> Any:
    labels = {name: LABELS[name] for name in LABELS if f"{{{name}}}" in operation.uri}
    request = HttpRequest(
        method=operation.method, raw_path="/", query_string=query, headers={}, body=body
    )
    try:
        return operation.decode(request, labels)
    except (ValidationException, SerializationException):
        return None


def sound_body(operation: AnyOperation, arm: int = 0) -> bytes:
    members = modelled(operation).input_shape.members
    inside = [name for name, shape in members.items() if "location" not in shape.serialization]
    sample = fullest(modelled(operation).input_shape, arm)
    return json.encode({name: sample[name] for name in inside})


@pytest.mark.parametrize("operation", WITH_BODY, ids=name_of)
def test_every_prefix_of_a_sound_body_is_refused(operation: AnyOperation) -> None:
    body = sound_body(operation)

    assert outcome(operation, body) is not None
    assert not [cut for cut in range(1, len(body)) if outcome(operation, body[:cut]) is not None]


@pytest.mark.slow
@pytest.mark.parametrize("operation", WITH_BODY, ids=name_of)
def test_any_value_anywhere_is_accepted_or_refused(operation: AnyOperation) -> None:
    for arm in range(0, 14, 3):
        sound = json.decode(sound_body(operation, arm))
        for path in paths(sound):
            for value in ODD:
                outcome(operation, json.encode(replaced(sound, path, value)))


def paths(value: Any) -> list[tuple[Any, ...]]:
    match value:
        case dict():
            return [(), *((key, *rest) for key in value for rest in paths(value[key]))]
        case [first, *_]:
            return [(), *((0, *rest) for rest in paths(first))]
        case _:
            return [()]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("operation", WITH_BODY, ids=name_of)
@pytest.mark.parametrize(
    "body",
    [
        *(b"null", b"1", b'"x"', b"[]", b" ", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf{}", b"{}{}"),
        *(b"{'a':1}", b'{"a":NaN}', b'{"a":01}', b'{"a":"\\ud800"}', b'{"a":"\n"}'),
        *(b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"\xc3":1}', b"[" * 100_000),
        *(b'{"a":' * 100_000, b'{"tags":' + b"[" * 100_000, b"\x00" * 100_000, b"9" * 100_000),
    ],
    ids=repr,
)
def test_what_is_no_json_object_is_refused(operation: AnyOperation, body: bytes) -> None:
    assert outcome(operation, body.replace(b'"a"', b'"tags"')) is None


@pytest.mark.parametrize("depth", [150, 250, 900, 100_000])
@pytest.mark.parametrize(("left", "right"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_a_document_may_nest_but_not_for_ever(depth: int, left: bytes, right: bytes) -> None:
    nested = left * depth + b"1" + right * depth

    value = outcome(CONVERSE, b'{"additionalModelRequestFields":%s}' % nested)

    assert (value is not None) == (depth < 200)
    assert value is None or value.additional_model_request_fields == Raw(nested)


@pytest.mark.parametrize("document", [b'"\\ud800"', b"1e999", b"9" * 5000, b"{1:2}"])
def test_a_document_that_could_not_be_read_later_is_refused_now(document: bytes) -> None:
    assert outcome(CONVERSE, b'{"additionalModelRequestFields":{"a":%s}}' % document) is None


def test_a_wide_document_is_no_deep_one() -> None:
    wide = b"[" + b",".join([b'{"a":[]}'] * 300) + b"]"

    assert outcome(CONVERSE, b'{"additionalModelRequestFields":%s}' % wide) is not None


def test_a_value_too_deep_to_be_printed_is_refused() -> None:
    tag = b'{"key":"a","value":"b","x":%s%s}' % (b"[" * 900, b"]" * 900)

    assert (
        outcome(TAG_RESOURCE, b'{"resourceARN":"x","tags":[%s]}' % b",".join([tag] * 201)) is None
    )


def test_very_many_violations_are_told_in_time_and_within_reason() -> None:
    body = b'{"resourceARN":"x","tags":[%s]}' % b",".join([b'{"key":"*"}'] * 40_000)
    start = perf_counter()

    with pytest.raises(AwsError) as caught:
        TAG_RESOURCE.decode(HttpRequest(method="POST", raw_path="/", headers={}, body=body), {})

    assert caught.value.message.startswith("1000 validation errors detected")
    assert perf_counter() - start < 5


@given(body=st.binary(max_size=200))
@settings(max_examples=200, database=None, derandomize=True)
def test_any_bytes_are_accepted_or_refused(body: bytes) -> None:
    for operation in WITH_BODY:
        outcome(operation, body)


@given(query=st.text(max_size=60), value=st.text(max_size=30))
@settings(max_examples=200, database=None, derandomize=True)
def test_any_query_is_accepted_or_refused(query: str, value: str) -> None:
    for operation in served():
        if operation.method == "GET" and "{" not in operation.uri:
            outcome(operation, b"", query)
            for name in modelled(operation).input_shape.members:
                outcome(operation, b"", f"{name}={value}&type={value}")


def patterns(info: Any) -> dict[str, int | None]:
    """Every pattern an input is held to, with the longest value it sees."""
    match info:
        case inspect.StrType(pattern=str() as pattern, max_length=longest):
            return {pattern: longest}
        case inspect.Metadata(type=inner) | inspect.ListType(item_type=inner):
            return patterns(inner)
        case inspect.UnionType(types=types):
            return {k: v for inner in types for k, v in patterns(inner).items()}
        case inspect.StructType(fields=fields):
            return {k: v for field in fields for k, v in patterns(field.type).items()}
        case inspect.DictType(key_type=key, value_type=value):
            return patterns(key) | patterns(value)
        case _:
            return {}


HELD = {k: v for o in served() for k, v in patterns(inspect.type_info(o.input_type)).items()}
ARN = "arn:aws:bedrock:us-east-1:"


@pytest.mark.parametrize("pattern", HELD)
def test_no_value_makes_a_pattern_slow(pattern: str) -> None:
    compiled, longest = re.compile(pattern), HELD[pattern] or 4096
    heads = ["", f"{ARN}:foundation-model/", f"{ARN}111122223333:custom-model/", "arn:aws-"]
    heads += [f"{ARN}:fine-tuning-job/", f"{ARN}111122223333:prompt-router/", "s3://"]
    units = ["a", "a-", "a_", "a.", "a ", "a:", "-", ".", ":", "0", "\n", "a" * 63 + "."]
    units += ["a" * 62 + ".", "a" * 30 + ".", "a" * 63 + ":", "." + "a" * 126]
    values = [
        (head + f"{one}{two}" * longest)[:size] + tail
        for head in heads
        for one in units
        for two in ("", "a.", "." + "a" * 100)
        for size in (longest - 1, 139)
        for tail in ("!", "\n")
    ]

    start = perf_counter()
    for value in values:
        compiled.search(value)
    assert (perf_counter() - start) / len(values) < 0.005


def test_a_refused_name_is_refused_in_time() -> None:
    body = json.encode({"inferenceProfileName": "a " * 5_000_000, "description": "a" * 5_000_000})
    start = perf_counter()

    assert outcome(CREATE_INFERENCE_PROFILE, body) is None
    assert perf_counter() - start < 2
