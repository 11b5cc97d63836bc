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


Second: TypeAlias = tuple[datetime, datetime, str]
"""When it begins and ends, in UTC, and as text: `2026-11-22T12:00:00Z`."""


class Seconds:
    """Says when something was: of a second of the last minute, for less than half of the cost."""

    def __init__(self) -> None:
        self._known = [EPOCH] * 60

    def text(self, moment: datetime) -> str:
        """Of a moment in UTC."""
        return self.of(moment)[2]

    def of(self, moment: datetime) -> Second:
        known = self._known[moment.second]
        if known[0] <= moment < known[1]:
            return known
        known = self._known[moment.second] = _second(moment)
        return known


def _second(moment: datetime) -> Second:
    begin = moment.replace(microsecond=0)
    return begin, begin + timedelta(seconds=1), f"{begin.isoformat()[:19]}Z"


EPOCH = _second(from_micros(0))
"""The first second of 1970: of nothing that happens."""
