"""Every operator of the language, as the user guide describes it."""

from collections.abc import Sequence

import pytest

from outcrop.iam.policy.conditions import UnknownOperatorError, condition
from outcrop.iam.policy.patterns import Context

ABSENT: Context = {}


def holds(operator: str, values: str | Sequence[str], found: str | tuple[str, ...] | None) -> bool:
    """Of one key, whose value in the request is `found`."""
    given = [values] if isinstance(values, str) else values
    context: Context = {"known": "Red*", **({} if found is None else {"key": found})}
    return condition(operator, "KEY", given, variables=True).met(context)


@pytest.mark.parametrize(
    ("operator", "values", "matching", "other"),
    [
        ("StringEquals", "red", ["red"], ["RED", "", "redd", "*"]),
        ("StringEquals", "r*d", ["r*d"], ["red"]),
        ("StringEquals", "${known}", ["Red*"], ["red*", "Redd"]),
        ("StringEquals", "${unknown}", [], ["", "${unknown}"]),
        ("StringEqualsIgnoreCase", "rEd", ["red", "RED"], ["redd"]),
        ("StringEqualsIgnoreCase", "${known}", ["RED*"], ["reds"]),
        ("StringLike", ["r?d", "b*"], ["red", "blue", "b"], ["reed", "Red"]),
        ("StringLike", "${known}-*", ["Red*-1"], ["Reds-1"]),
        ("NumericEquals", "10", ["10", "10.0", "1e1"], ["11", "ten", ""]),
        ("NumericLessThan", "10.5", ["10", "-3"], ["10.5", "11"]),
        ("NumericLessThanEquals", "10", ["10"], ["10.01"]),
        ("NumericGreaterThan", "10", ["10.01"], ["10"]),
        ("NumericGreaterThanEquals", "10", ["10"], ["9.99"]),
        ("DateEquals", "2026-11-22T12:00:00Z", ["1795348800", "2026-11-22T13:00:00+01:00"], ["x"]),
        ("DateLessThan", "2026-11-22", ["2026-11-21T23:59:59Z"], ["2026-11-22T00:00:00Z"]),
        ("DateLessThanEquals", "2026", ["2026-01-01T00:00:00Z"], ["2026-01-01T00:00:00.000001Z"]),
        ("DateGreaterThan", "2026-11", ["2026-11-01T00:00:01Z"], ["2026-11-01T00:00:00Z"]),
        ("DateGreaterThanEquals", "2026-11-22T12:00-08", ["2026-11-22T20:00Z"], ["2026-11-22"]),
        ("Bool", "true", ["true", "TRUE"], ["false", "1"]),
        ("Bool", "False", ["false"], ["true"]),
        ("Bool", "${flag, 'true'}", ["true"], ["false"]),
        ("Bool", "${known}", [], ["true", "false"]),
        ("BinaryEquals", "QUJD", ["QUJD"], ["QUJE", "!"]),
        ("IpAddress", "203.0.113.0/24", ["203.0.113.7"], ["203.0.114.7", "::1", "nowhere"]),
        ("IpAddress", "203.0.113.7", ["203.0.113.7"], ["203.0.113.8"]),
        ("IpAddress", "2001:DB8:1234:5678::/64", ["2001:db8:1234:5678::1"], ["2001:db8::1"]),
        ("ArnLike", "arn:aws:a:*:1:x/*", ["arn:aws:a:r:1:x/y:z"], ["arn:aws:a:r:s:1:x/y"]),
        ("ArnEquals", "arn:aws:a:*:1:x/*", ["arn:aws:a:r:1:x/y"], ["arn:aws:a:r:2:x/y"]),
        ("ArnEquals", "arn:aws:a:r:1:${known}", ["arn:aws:a:r:1:Red*"], ["arn:aws:a:r:1:Reds"]),
    ],
)
def test_an_operator_matches_and_its_negation_does_not(
    operator: str, values: str | Sequence[str], matching: list[str], other: list[str]
) -> None:
    assert all(holds(operator, values, found) for found in matching)
    assert not any(holds(operator, values, found) for found in other)
    assert not holds(operator, values, None)
    assert holds(f"{operator}IfExists", values, None)
    negation = _negation(operator)
    if negation is not None:
        assert not any(holds(negation, values, found) for found in matching)
        assert all(holds(negation, values, found) for found in [*other, None])


def test_a_negated_operator_with_several_values_wants_none_of_them() -> None:
    assert not holds("StringNotEquals", ["red", "blue"], "blue")
    assert holds("StringNotEquals", ["red", "blue"], "green")


@pytest.mark.parametrize(
    ("operator", "found", "expected"),
    [
        # The user guide's table: PostDateTime and UserName of a request, three of a policy.
        ("ForAllValues:StringEquals", ("PostDateTime", "UserName"), False),
        ("ForAnyValue:StringEquals", ("PostDateTime", "UserName"), True),
        ("ForAllValues:StringEquals", ("PostDateTime", "Tags"), True),
        ("ForAnyValue:StringEquals", ("UserName",), False),
        ("ForAllValues:StringNotEquals", ("PostDateTime", "UserName"), False),
        ("ForAllValues:StringNotEquals", ("UserName",), True),
        ("ForAnyValue:StringNotEquals", ("PostDateTime", "UserName"), True),
        ("ForAnyValue:StringNotEquals", ("PostDateTime",), False),
        # "It also returns true if there are no keys in the request, or if the key values resolve
        # to a null data set, such as an empty string"; "for no matching key … false".
        ("ForAllValues:StringEquals", None, True),
        ("ForAllValues:StringEquals", (), True),
        ("ForAllValues:StringEquals", ("",), True),
        ("ForAllValues:StringEquals", ("", "UserName"), False),
        ("ForAnyValue:StringEquals", None, False),
        ("ForAnyValue:StringEquals", (), False),
        ("ForAnyValue:StringEquals", "", False),
        ("ForAnyValue:StringNotEquals", None, False),
        ("ForAnyValue:StringEqualsIfExists", None, True),
        # A single value is a set of one.
        ("ForAnyValue:StringEquals", "Tags", True),
        ("ForAllValues:StringEquals", "UserName", False),
    ],
)
def test_quantifiers_compare_sets(
    operator: str, found: str | tuple[str, ...] | None, *, expected: bool
) -> None:
    assert holds(operator, ["PostDateTime", "Message", "Tags"], found) is expected


def test_several_values_without_a_quantifier_match_if_any_does() -> None:
    assert holds("StringEquals", "red", ("red", "blue"))
    assert not holds("StringNotEquals", "red", ("red", "blue"))
    assert holds("StringNotEquals", "red", ())


@pytest.mark.parametrize(
    ("values", "found", "expected"),
    [
        ("true", None, True),
        ("true", (), True),
        ("true", "x", False),
        ("true", "", False),
        ("false", "x", True),
        ("false", None, False),
        (["true", "false"], None, True),
    ],
)
def test_null_asks_whether_the_key_exists(
    values: str | Sequence[str], found: str | tuple[str, ...] | None, *, expected: bool
) -> None:
    assert holds("Null", values, found) is expected


@pytest.mark.parametrize(
    "operator",
    ["", "Equals", "stringEquals", "NullIfExists", "ForSomeValues:StringEquals", "NotBool"],
)
def test_there_are_no_other_operators(operator: str) -> None:
    with pytest.raises(UnknownOperatorError):
        condition(operator, "key", ["x"], variables=True)


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("NumericEquals", "1_0"),
        ("NumericEquals", "NaN"),
        ("DateEquals", "2026-13"),
        ("DateEquals", "0000-01-01"),
        ("DateEquals", "2026-11-22T12:00:00+24:00"),
        ("DateEquals", "9999999999999999999"),
        ("Bool", ""),
        ("BinaryEquals", "QUJ"),
        ("IpAddress", "localhost"),
        ("Null", "maybe"),
    ],
)
def test_a_value_that_cannot_be_compared_is_refused(operator: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"is no|neither"):
        condition(operator, "key", [value], variables=True)


def _negation(operator: str) -> str | None:
    for kind in ("String", "Numeric", "Date", "Arn"):
        plain = operator.removeprefix(kind)
        if plain != operator and ("Equals" in plain or plain == "Like") and "Than" not in plain:
            return f"{kind}Not{plain}"
    return "NotIpAddress" if operator == "IpAddress" else None
