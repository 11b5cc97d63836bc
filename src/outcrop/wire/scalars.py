"""Numbers, flags and moments as text: how they travel in paths, queries and headers."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from outcrop.wire.errors import SerializationException

Scalar = str | int | float | bool | datetime
Parser = Callable[[str], Scalar]

# What Java's Integer.parseInt reads, in ASCII: Python's int() takes underscores besides.
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}(\.[0-9]{1,9})?", re.ASCII)
_ISO_8601 = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise SerializationException("STRING_VALUE can not be converted to an Integer")
    return int(text)


def number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise SerializationException("STRING_VALUE can not be converted to a Float")
    return float(text)


def boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise SerializationException("STRING_VALUE can not be converted to a Boolean")
    return text == "true"


def timestamp(text: str) -> datetime:
    """ISO 8601 with a zone, which the model asks for, or seconds since 1970, which some send."""
    try:
        if _ISO_8601.fullmatch(text):
            return datetime.fromisoformat(text).astimezone(UTC)
        if _NUMBER.fullmatch(text):
            return _EPOCH + timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        pass
    raise SerializationException("STRING_VALUE can not be converted to a Timestamp")
