"""Pages of provisioned model throughputs: any filters, either order, from any place, by index."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from itertools import islice, product
from operator import itemgetter

from msgspec import Struct

from outcrop.store.database import Database, Value
from outcrop.store.listed import Listed, Page
from outcrop.store.name_index import search_features
from outcrop.store.name_search import NameSearch, placeholders
from outcrop.store.records import ProvisionedModelThroughputFilters
from outcrop.store.throughput_rows import TABLE, position_of
from outcrop.wire.timestamps import to_micros

_SEALED_UNTIL = "SELECT sealed_until FROM scopes WHERE scope_id = $1"
_CANDIDATES = f"""
    SELECT row_id, summary, status, model_arn
    FROM {TABLE}
    WHERE strpos(provisioned_model_name, $1) > 0 AND row_id IN
"""  # noqa: S608 -- ours
_CREATED = f"SELECT creation_time FROM {TABLE} WHERE row_id = $1"  # noqa: S608 -- ours
_AT_A_TIME = 256
_END = 1 << 62
LOOKED_AT_MOST = 8_192
"""Names that a page looks at: as many as there is time for, should hardly one of them match."""


class Listing(Struct, frozen=True, kw_only=True, gc=False):
    scope_id: int
    filters: ProvisionedModelThroughputFilters
    descending: bool


class Span(Struct, frozen=True, gc=False):
    """Creation times in microseconds, both bounds exclusive."""

    low: int
    high: int


class ThroughputPages:
    def __init__(self, database: Database, names: NameSearch, looked_at_most: int) -> None:
        self._database = database
        self._names = names
        self._looked_at_most = looked_at_most
        self._queries = _queries(database)
        self._edges = {last: _edge(database, last=last) for last in (False, True)}

    async def page(self, listing: Listing, *, after: int | None, limit: int) -> Page:
        span = _span(listing, after)
        if listing.filters.name_contains is None:
            return _page_of(await self._walked(listing, span, limit + 1), limit)
        return await self._searched(listing, span, limit)

    async def _walked(self, listing: Listing, span: Span, limit: int) -> list[Listed]:
        status, model_arn = listing.filters.status, listing.filters.model_arn
        part = listing.filters.name_contains
        query = self._queries[
            status is not None, model_arn is not None, listing.descending, part is not None
        ]
        values: list[Value] = [listing.scope_id]
        if status is not None:
            values.append(status)
        if model_arn is not None:
            values.append(model_arn)
        values += (span.low, span.high, limit)
        if part is not None:
            values.append(part)
        rows = await self._database.fetch(query, *values)
        return [summary for (summary,) in rows]

    async def _searched(self, listing: Listing, span: Span, limit: int) -> Page:
        """From the blocks that are full by their index, from the last one row by row."""
        ((sealed_until,),) = await self._database.fetch(_SEALED_UNTIL, listing.scope_id)
        sealed = Span(span.low, min(span.high, sealed_until + 1))
        rest = Span(max(span.low, sealed_until), span.high)
        found: list[Listed] = []
        if listing.descending:
            found += await self._walked(listing, rest, limit + 1)
        reached = await self._look_up(listing, sealed, limit + 1, found)
        if reached is not None:
            return Page(found, reached)
        if not listing.descending:
            found += await self._walked(listing, rest, limit + 1 - len(found))
        return _page_of(found, limit)

    async def _look_up(
        self, listing: Listing, span: Span, limit: int, found: list[Listed]
    ) -> int | None:
        """Adds to what is found until there are so many; the position where it gave up, if so."""
        first = await self._row_at(listing, span, last=False)
        last = await self._row_at(listing, span, last=True)
        if len(found) >= limit or first is None or last is None:
            return None
        candidates = self._names.rows_with(
            search_features(listing.filters), first, last, descending=listing.descending
        )
        looked_at = 0
        async with aclosing(candidates):
            async for row_ids in candidates:
                # As many as are asked for, at first: mostly each of them is a match.
                size = min(limit, _AT_A_TIME)
                while len(found) < limit and (some := list(islice(row_ids, size))):
                    found += await self._matching(listing, some)
                    size = _AT_A_TIME
                    looked_at += len(some)
                    if looked_at < self._looked_at_most or len(found) >= limit:
                        continue
                    # Unless it was deleted this moment: then the next one will do.
                    if (reached := await self._position(some[-1])) is not None:
                        return reached
                if len(found) >= limit:
                    break
        del found[limit:]
        return None

    async def _position(self, row_id: int) -> int | None:
        rows = await self._database.fetch(_CREATED, row_id)
        return rows[0][0] if rows else None

    async def _matching(self, listing: Listing, row_ids: Sequence[int]) -> list[Listed]:
        names, values = placeholders(row_ids, start=2)
        part = listing.filters.name_contains
        rows = await self._database.fetch(f"{_CANDIDATES} ({names})", part, *values)
        return [
            summary
            for _, summary, status, model_arn in sorted(
                rows, key=itemgetter(0), reverse=listing.descending
            )
            if _fits(status, model_arn, listing.filters)
        ]

    async def _row_at(self, listing: Listing, span: Span, *, last: bool) -> int | None:
        query = self._edges[last]
        rows = await self._database.fetch(query, listing.scope_id, span.low, span.high)
        return rows[0][0] if rows else None


def _page_of(rows: list[Listed], limit: int) -> Page:
    """Of up to one row more than the page holds."""
    return Page(rows[:limit], position_of(rows[limit - 1]) if len(rows) > limit else None)


def _span(listing: Listing, after: int | None) -> Span:
    filters = listing.filters
    low = -_END if filters.created_after is None else to_micros(filters.created_after)
    high = _END if filters.created_before is None else to_micros(filters.created_before)
    if after is not None:
        low, high = (low, min(high, after)) if listing.descending else (max(low, after), high)
    return Span(low, high)


def _fits(status: str, model_arn: str, filters: ProvisionedModelThroughputFilters) -> bool:
    """What is no more than a candidate may have changed since, or share its numbers."""
    return filters.status in {None, status} and filters.model_arn in {None, model_arn}


def _queries(database: Database) -> Mapping[tuple[bool, bool, bool, bool], str]:
    """By whether for a status, for a model, descending, and for a part of the name."""
    return {
        (status, model_arn, descending, part): _query(
            database,
            ("status",) * status + ("model_arn",) * model_arn,
            descending=descending,
            part=part,
        )
        for status, model_arn, descending, part in product((False, True), repeat=4)
    }


def _query(database: Database, given: tuple[str, ...], *, descending: bool, part: bool) -> str:
    walk = database.walk(("scope_id", *given), "creation_time", descending=descending)
    limit = len(given) + 4
    named = f" AND strpos(provisioned_model_name, ${limit + 1}) > 0" if part else ""
    return (
        f"SELECT summary FROM {TABLE} WHERE {walk.where}{named}"  # noqa: S608 -- ours
        f" ORDER BY {walk.order_by} LIMIT ${limit}"
    )


def _edge(database: Database, *, last: bool) -> str:
    walk = database.walk(("scope_id",), "creation_time", descending=last)
    return (
        f"SELECT row_id FROM {TABLE} WHERE {walk.where}"  # noqa: S608 -- ours
        f" ORDER BY {walk.order_by} LIMIT 1"
    )
