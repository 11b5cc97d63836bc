"""JSON of which little differs each time: encoded once, with blanks for the rest."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from msgspec import Raw, Struct, json

from outcrop.wire.timestamps import from_micros

BLANK: Any = Raw(b"\0")
"""In the place of a value: no other byte of JSON is zero."""
BLANK_TEXT: Any = Raw(b'"\0"')
"""In the place of text of which nothing has to be escaped."""

Form: TypeAlias = Sequence[bytes]
"""What is before the first blank, between each two, and after the last."""


def form(record: Struct) -> Form:
    """Of a line."""
    return tuple((json.encode(record) + b"\n").split(b"\0"))


def filled(form: Form, values: Sequence[bytes]) -> bytes:
    """With JSON for each blank, in their order."""
    parts = [b""] * (2 * len(values) + 1)
    parts[::2], parts[1::2] = form, values
    return b"".join(parts)


class Seconds:
    """Says when something was: of a second of the last minute, for less than half of the cost."""

    def __init__(self) -> None:
        self._known = [_known(from_micros(0))] * 60

    def text(self, moment: datetime) -> str:
        """`2026-11-22T12:00:00Z`, of a moment in UTC."""
        begin, end, text = self._known[moment.second]
        if begin <= moment < end:
            return text
        known = self._known[moment.second] = _known(moment)
        return known[2]


_Known: TypeAlias = tuple[datetime, datetime, str]
"""A second: when it begins and ends, and as text."""


def _known(moment: datetime) -> _Known:
    begin = moment.replace(microsecond=0)
    return begin, begin + timedelta(seconds=1), f"{begin.isoformat()[:19]}Z"
