"""Rows of a listing as they are kept: in the very words in which they go out.

A resource is kept as two JSON documents: its summary, as Bedrock's listings write it, and the rest.
A page of a listing takes the summaries as they are, instead of decoding and encoding every row.
"""

from typing import NamedTuple

from outcrop.store.database import Row

Listed = Row
"""Its time in the listing, in microseconds, which no other row of the listing has; its summary.

A row as the engine gives it: to make a record of each costs a tenth of reading the page.
"""


class Page(NamedTuple):
    rows: list[Listed]
    goes_on_after: int | None
    """The position after which the next page begins; None when the listing is at its end.

    A search may come to the end of its page with fewer rows than were asked for, even with none.
    """


def page_of(rows: list[Listed], limit: int) -> Page:
    """Of up to one row more than the page holds."""
    return Page(rows[:limit], rows[limit - 1][0] if len(rows) > limit else None)
