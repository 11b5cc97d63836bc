from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from outcrop.wire.errors import ValidationException
from outcrop.wire.http import HttpRequest
from outcrop.wire.json_size import MOST_VALUES, check_size, holds_too_much
from outcrop.wire.shapes.bedrock_runtime import CONVERSE
from outcrop.wire.unchecked import is_document

# Quotes, backslashes and whatever separates values outside of strings.
STRINGS = st.text(st.sampled_from('"\\,[{:}]aé\n'), max_size=12)
VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | STRINGS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=4),
    max_leaves=12,
)


def count(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(count, inner))


@given(value=VALUES)
@settings(max_examples=60, database=None, derandomize=True)
def test_values_are_counted_whatever_stands_in_strings(value: Any) -> None:
    each = count(value)
    many, few = MOST_VALUES // each + 1, MOST_VALUES // each // 2 - 1

    # An empty list or object is counted twice.
    assert holds_too_much(msgspec.json.encode([value] * many))
    assert not holds_too_much(msgspec.json.encode([value] * few))


def test_one_long_string_is_one_value() -> None:
    text = msgspec.json.encode({"text": '{"a": [1, 2, \\", 3]}\\' * 100_000})

    check_size(text)


def test_what_is_no_json_is_counted_as_well() -> None:
    assert holds_too_much(b"[" * 300_000)
    assert holds_too_much(b'","' * 300_000)


def test_a_body_of_too_many_values_is_refused_before_it_is_read() -> None:
    body = b'{"messages":[%s]}' % b",".join([b"{}"] * (MOST_VALUES + 1))

    with pytest.raises(ValidationException, match="more than 100000 JSON values"):
        CONVERSE.decode(HttpRequest(method="POST", raw_path="/", headers={}, body=body), {})


def test_json_in_a_string_is_counted_before_it_is_read() -> None:
    assert is_document(msgspec.Raw(b"[%s]" % b",".join([b"1"] * 90_000)))
    assert not is_document(msgspec.Raw(b"[%s]" % b",".join([b"1"] * 110_000)))
