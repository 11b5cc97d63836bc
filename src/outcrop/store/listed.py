"""Rows of a listing as they are kept: in the very words in which they go out.

A resource is kept as two JSON documents: its summary, as Bedrock's listings write it, and the rest.
A page of a listing takes the summaries as they are, instead of decoding and encoding every row.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import Raw, Struct

Listed = str
"""A summary. Its time in the listing, which no other row of it has, is read out where it is needed:
of one row in a page, while each column that the engine gives costs a tenth of reading the page.
"""


class Page(Struct, frozen=True):
    rows: list[Listed]
    goes_on_after: int | None
    """The position after which the next page begins, in microseconds; None when the listing is at
    its end.

    A search may come to the end of its page with fewer rows than were asked for, even with none.
    """


def as_json(rows: Iterable[Listed]) -> Any:
    """The list of them, to be written as it is: a Raw in the place of decoded summaries."""
    return Raw(f"[{','.join(rows)}]")
