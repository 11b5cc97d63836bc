import json
from contextlib import suppress
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings, strategies as st
from msgspec import Meta, Raw, Struct

from outcrop.runtime.families.schema import Schema, document, json_object, malformed
from outcrop.wire.errors import ValidationException


class Cat(Struct, tag="cat", forbid_unknown_fields=True):
    lives: Annotated[int, Meta(ge=0, le=9)]


class Dog(Struct, tag="dog"):
    names: list[str] = []


class Body(Struct, forbid_unknown_fields=True):
    required: str
    size: float | None = None
    pet: Cat | Dog | None = None
    kind: Literal["a", "b"] | None = None
    short: Annotated[str, Meta(min_length=1, max_length=3)] | None = None
    few: Annotated[list[int], Meta(max_length=2)] | None = None
    words: dict[str, int] | None = None
    flag: bool | None = None
    free: Raw = Raw()
    either: str | list[str] | None = None
    slug: Annotated[str, Meta(pattern="^[a-z]+$")] | None = None
    data: bytes | None = None
    cat: Cat | None = None


SCHEMA = Schema(Body)
SOUND = {"required": "x"}


def refusal(body: Any) -> str:
    with pytest.raises(ValidationException) as caught:
        SCHEMA.decode(body if isinstance(body, bytes) else json.dumps(body).encode())
    return caught.value.message


@pytest.mark.parametrize(
    ("members", "violation"),
    [
        ({"required": 1}, "#/required: expected type: String, found: Integer"),
        ({"required": None}, "#/required: expected type: String, found: Null"),
        ({"size": "1"}, "#/size: expected type: Number, found: String"),
        ({"size": True}, "#/size: expected type: Number, found: Boolean"),
        ({"flag": 1}, "#/flag: expected type: Boolean, found: Integer"),
        ({"pet": {}}, "#/pet: required key [type] not found"),
        ({"pet": {"type": "eel"}}, "#/pet/type: eel is not a valid enum value"),
        ({"pet": {"type": "cat"}}, "#/pet: required key [lives] not found"),
        ({"pet": {"type": "cat", "lives": 10}}, "#/pet/lives: 10 is not less or equal to 9"),
        ({"pet": {"type": "cat", "lives": 1.5}},
         "#/pet/lives: expected type: Integer, found: BigDecimal"),
        ({"pet": {"type": "dog", "names": ["a", 1]}},
         "#/pet/names/1: expected type: String, found: Integer"),
        ({"kind": "c"}, "#/kind: c is not a valid enum value"),
        ({"kind": 7}, "#/kind: 7 is not a valid enum value"),
        ({"short": ""}, "#/short: expected minLength: 1, actual: 0"),
        ({"short": "long"}, "#/short: expected maxLength: 3, actual: 4"),
        ({"few": [1, 2, 3]}, "#/few: expected maximum item count: 2, found: 3"),
        ({"words": {"a": "b"}}, "#/words/a: expected type: Integer, found: String"),
        ({"either": {}}, "#/either: no subschema matched out of the total 2 subschemas"),
        ({"either": [1]}, "#/either/0: expected type: String, found: Integer"),
        ({"slug": "A"}, "#/slug: string [A] does not match pattern ^[a-z]+$"),
        ({"data": "%"}, "#/data: string is not a valid base64"),
        ({"cat": {"type": "dog", "lives": 1}}, "#/cat/type: dog is not a valid enum value"),
        ({"cat": {"type": {}, "lives": 1}}, "#/cat/type: {} is not a valid enum value"),
        ({"x": 1, "y": 2},
         "#: extraneous key [x] is not permitted, #: extraneous key [y] is not permitted"),
    ],
)  # fmt: skip
def test_a_violation_is_worded_as_amazons_validator_does(
    members: dict[str, Any], violation: str
) -> None:
    assert refusal({**SOUND, **members}) == (
        f"Malformed input request: {violation}, please reformat your input and try again."
    )


def test_a_body_of_another_type_is_refused() -> None:
    assert "#: expected type: JSONObject, found: JSONArray" in refusal([])


@pytest.mark.parametrize("body", [b"", b"{", b'{"required":"\xff"}', b"[" * 100_000])
def test_what_is_no_json_is_refused_without_a_place(body: bytes) -> None:
    assert refusal(body) == ("Malformed input request, please reformat your input and try again.")


def test_no_more_than_a_hundred_violations_are_listed() -> None:
    assert refusal({**SOUND, "words": dict.fromkeys(map(str, range(1000)), "x")}).count("#") == 100


def test_a_sound_body_is_read() -> None:
    body = SCHEMA.decode(b'{"required":"x","size":1,"pet":{"type":"cat","lives":9},"free":[1]}')

    assert (body.size, body.pet, body.free) == (1.0, Cat(lives=9), Raw(b"[1]"))


def test_free_json_must_be_fit_to_be_read_again() -> None:
    deep = Raw(b'{"a":' * 500 + b"1" + b"}" * 500)

    assert document(Raw(b"[1]"), "x") == Raw(b"[1]")
    for unfit in (deep, Raw(b"[1]")):
        with pytest.raises(ValidationException, match="#/x/0: expected type: JSONObject"):
            json_object(unfit, "x", 0)


def test_nothing_is_listed_where_nothing_is_known() -> None:
    assert malformed().message.startswith("Malformed input request, please")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(name=st.sampled_from(sorted(Body.__struct_fields__)), value=VALUES)
@settings(derandomize=True, database=None)
def test_any_value_is_read_or_refused_with_a_place(name: str, value: Any) -> None:
    with suppress(ValidationException):
        SCHEMA.decode(json.dumps({**SOUND, name: value}).encode())
        return
    assert "#" in refusal({**SOUND, name: value})


def test_a_refusal_is_short_whatever_it_quotes() -> None:
    endless = "x" * 1_000_000

    assert len(refusal({**SOUND, "kind": endless, endless: 1})) < 2_000
