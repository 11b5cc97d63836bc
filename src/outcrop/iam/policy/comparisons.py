"""How one value of a policy is compared with one value of a request, by kind of value."""

import base64
import binascii
import ipaddress
import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

from outcrop.iam.policy.patterns import Test
from outcrop.wire.timestamps import to_micros

ValueT = TypeVar("ValueT")
Comparison: TypeAlias = Callable[[Any, Any], bool]
"""Of the request's value with the policy's."""

_NUMBER = re.compile(r"[+-]?\d{1,100}(?:\.\d{1,100})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_EPOCH = re.compile(r"-?\d{1,3}|-?\d{5,19}|-\d{4}", re.ASCII)
_LAST_EPOCH = 2**63
_REMEMBERED = 256
# The W3C's profile of ISO 8601, and what IAM accepts besides (moto, test_iam_policies.py).
_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[Tt](\d{1,2}):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?"
    r"([Zz]|[+-]\d\d(?::?\d\d)?)?)?)?)?",
    re.ASCII,
)


def numeric(compare: Comparison) -> Callable[[str], Test]:
    return _compared(number, compare)


def date(compare: Comparison) -> Callable[[str], Test]:
    return _compared(moment, compare)


def boolean(text: str) -> Test:
    return _compared(truth, operator.eq)(text)


def binary(text: str) -> Test:
    return _compared(content, operator.eq)(text)


def address(text: str) -> Test:
    """Whether a request's address is in the network; an address alone is a network of one."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(f"{text!r} is no IP address and no range of them") from error
    return _lenient(_address, lambda found: found in network)


@lru_cache(maxsize=_REMEMBERED)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text)


@lru_cache(maxsize=_REMEMBERED)
def number(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is no number")
    return Decimal(text)


@lru_cache(maxsize=_REMEMBERED)
def moment(text: str) -> int:
    """Microseconds since 1970. Four digits are a year, any other whole number is an epoch time."""
    if _EPOCH.fullmatch(text):
        seconds = int(text)
        if not -_LAST_EPOCH <= seconds < _LAST_EPOCH:
            raise ValueError(f"{text!r} is no date")
        return seconds * 1_000_000
    found = _DATE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no date")
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    parts = (int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0))
    microsecond = int((fraction or "").ljust(6, "0")[:6])
    try:
        return to_micros(datetime(*parts, int(second or 0), microsecond, tzinfo=_zone(zone)))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no date: {error}") from error


def truth(text: str) -> bool:
    match text.lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise ValueError(f"{text!r} is neither true nor false")


def content(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{text!r} is no base64") from error


def _compared(read: Callable[[str], ValueT], compare: Comparison) -> Callable[[str], Test]:
    """A test of requests, from a policy's text; raises ValueError when the text cannot be read."""

    def prepared(text: str) -> Test:
        wanted = read(text)
        return _lenient(read, lambda found: compare(found, wanted))

    return prepared


def _lenient(read: Callable[[str], ValueT], holds: Callable[[ValueT], bool]) -> Test:
    """A request's value that cannot be read matches nothing."""

    def test(text: str) -> bool:
        try:
            found = read(text)
        except ValueError:
            return False
        return holds(found)

    return test


def _zone(text: str | None) -> timezone:
    if text is None or text in {"Z", "z"}:
        return UTC
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)
