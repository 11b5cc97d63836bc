"""Pages of provisioned model throughputs: any filters, either order, from any place, by index."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from itertools import product

from msgspec import Struct

from outcrop.store.database import Database, Row, Value
from outcrop.store.name_index import search_features
from outcrop.store.name_search import NameSearch, placeholders
from outcrop.store.records import (
    ProvisionedModelThroughputFilters,
    ProvisionedModelThroughputRecord,
)
from outcrop.store.throughput_rows import TABLE, decode
from outcrop.wire.timestamps import to_micros

_SEALED_UNTIL = "SELECT sealed_until FROM scopes WHERE scope_id = $1"
_CANDIDATES = f"""
    SELECT row_id, record FROM {TABLE} WHERE strpos(provisioned_model_name, $1) > 0 AND row_id IN
"""  # noqa: S608 -- ours
_AT_A_TIME = 256
_END = 1 << 62


class Listing(Struct, frozen=True, kw_only=True):
    scope_id: int
    filters: ProvisionedModelThroughputFilters
    descending: bool


class Span(Struct, frozen=True):
    """Creation times in microseconds, both bounds exclusive."""

    low: int
    high: int


class ThroughputPages:
    def __init__(self, database: Database, names: NameSearch) -> None:
        self._database = database
        self._names = names
        self._queries = _queries(database)

    async def page(
        self, listing: Listing, *, after: int | None, limit: int
    ) -> list[ProvisionedModelThroughputRecord]:
        span = _span(listing, after)
        if listing.filters.name_contains is None:
            return await self._walked(listing, span, limit)
        return await self._searched(listing, span, limit)

    async def _walked(
        self, listing: Listing, span: Span, limit: int
    ) -> list[ProvisionedModelThroughputRecord]:
        filters = listing.filters
        exact = {"status": filters.status, "model_arn": filters.model_arn}
        given = {column: value for column, value in exact.items() if value is not None}
        part = filters.name_contains
        query = self._queries[tuple(given), listing.descending, part is not None]
        rows = await self._database.fetch(
            query,
            listing.scope_id,
            *given.values(),
            span.low,
            span.high,
            limit,
            *(() if part is None else (part,)),
        )
        return [decode(row[0]) for row in rows]

    async def _searched(
        self, listing: Listing, span: Span, limit: int
    ) -> list[ProvisionedModelThroughputRecord]:
        """From the blocks that are full by their index, from the last one row by row."""
        ((sealed_until,),) = await self._database.fetch(_SEALED_UNTIL, listing.scope_id)
        sealed = Span(span.low, min(span.high, sealed_until + 1))
        rest = Span(max(span.low, sealed_until), span.high)
        if listing.descending:
            found = await self._walked(listing, rest, limit)
            return found + await self._looked_up(listing, sealed, limit - len(found))
        found = await self._looked_up(listing, sealed, limit)
        return found + await self._walked(listing, rest, limit - len(found))

    async def _looked_up(
        self, listing: Listing, span: Span, limit: int
    ) -> list[ProvisionedModelThroughputRecord]:
        first = await self._row_at(listing, span, "first")
        last = await self._row_at(listing, span, "last")
        found: list[ProvisionedModelThroughputRecord] = []
        if first is None or last is None:
            return found
        candidates = self._names.rows_with(
            search_features(listing.filters), first, last, descending=listing.descending
        )
        async with aclosing(candidates):
            async for row_ids in candidates:
                for start in range(0, len(row_ids), _AT_A_TIME):
                    if len(found) >= limit:
                        return found[:limit]
                    found += await self._matching(listing, row_ids[start : start + _AT_A_TIME])
        return found[:limit]
