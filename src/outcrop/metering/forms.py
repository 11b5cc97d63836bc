"""JSON of which little differs from one time to the next: encoded once, with blanks for the rest.

A form is filled by `form % values`: bytes of JSON, or numbers, in the order of its blanks.
"""

from datetime import datetime, timedelta
from typing import Any, TypeAlias

from msgspec import Raw, Struct, json

from outcrop.wire.timestamps import from_micros

BLANK: Any = Raw(b"\0")
"""In the place of a value: no other byte of JSON is zero, nor one."""
BLANK_TEXT: Any = Raw(b'"\0"')
"""In the place of text of which nothing has to be escaped."""
BLANK_NUMBER: Any = Raw(b"\1")
"""In the place of a whole number."""


def form(record: Struct) -> bytes:
    """A line."""
    encoded = json.encode(record).replace(b"%", b"%%")
    return encoded.replace(b"\0", b"%b").replace(b"\1", b"%d") + b"\n"


class Seconds:
    """Says when something was: of a second of the last minute, for less than half of the cost."""

    def __init__(self) -> None:
        self._known = [_known(from_micros(0))] * 60

    def text(self, moment: datetime) -> bytes:
        """`2026-11-22T12:00:00Z`, of a moment in UTC."""
        begin, end, text = self._known[moment.second]
        if begin <= moment < end:
            return text
        known = self._known[moment.second] = _known(moment)
        return known[2]


_Known: TypeAlias = tuple[datetime, datetime, bytes]
"""A second: when it begins and ends, and as text."""


def _known(moment: datetime) -> _Known:
    begin = moment.replace(microsecond=0)
    return begin, begin + timedelta(seconds=1), f"{begin.isoformat()[:19]}Z".encode()
