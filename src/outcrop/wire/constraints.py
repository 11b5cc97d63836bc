"""What a scalar, list or map must satisfy, each constraint with Amazon's words for it."""

import re
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

from msgspec import Struct, inspect

# Twice the longest limit of the models: what is longer is refused for that, unread.
_LONGEST_MATCHED = 4096
_ANCHORED = re.compile(r"\\A\(\?a:(.*)\)\\Z", re.DOTALL)
INT32 = (-(2**31), 2**31 - 1)
INT64 = (-(2**63), 2**63 - 1)


class Constraint(Struct, frozen=True):
    text: str
    holds: Callable[[Any], bool]


def constraints_of(info: inspect.Type) -> list[Constraint]:
    """In the order in which Amazon lists them: largest, smallest, pattern."""
    match info:
        case inspect.StrType():
            return [*_lengths(info), *_patterns(info)]
        case inspect.BytesType() | inspect.ListType() | inspect.DictType():
            return list(_lengths(info))
        case inspect.IntType() | inspect.FloatType():
            return list(_ranges(info))
        case inspect.LiteralType(values=values):
            # Sorted: the one set seen on Bedrock was, and it was not in the model's order.
            names = ", ".join(sorted(map(str, values)))
            text = f"Member must satisfy enum value set: [{names}]"
            return [Constraint(text, frozenset(values).__contains__)]
        case _:
            return []


def _lengths(
    info: inspect.StrType | inspect.BytesType | inspect.ListType | inspect.DictType,
) -> Iterator[Constraint]:
    low, high = info.min_length, info.max_length
    if high is not None:
        text = f"Member must have length less than or equal to {high}"
        yield Constraint(text, lambda value: len(value) <= high)
    if low is not None:
        text = f"Member must have length greater than or equal to {low}"
        yield Constraint(text, lambda value: len(value) >= low)


def _ranges(info: inspect.IntType | inspect.FloatType) -> Iterator[Constraint]:
    low, high = info.ge, info.le
    if high is not None and high not in (INT32[1], INT64[1]):
        text = f"Member must have value less than or equal to {high}"
        yield Constraint(text, lambda value: value <= high)
    if low is not None and low not in (INT32[0], INT64[0]):
        text = f"Member must have value greater than or equal to {low}"
        yield Constraint(text, lambda value: value >= low)


def _patterns(info: inspect.StrType) -> Iterator[Constraint]:
    if info.pattern is None:
        return
    anchored = re.compile(info.pattern)
    modelled = _ANCHORED.sub(r"\1", info.pattern)
    longest = inf if info.max_length is None else _LONGEST_MATCHED
    yield Constraint(
        f"Member must satisfy regular expression pattern: {modelled}",
        lambda value: len(value) > longest or anchored.search(value) is not None,
    )
