"""The index for parts of names as the tables hold it: kept up to date, and searched."""

from asyncio import sleep
from collections.abc import (
    AsyncGenerator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set as AbstractSet,
)
from itertools import chain, repeat

from outcrop.store.database import Database, Row, Transaction
from outcrop.store.name_index import common, pack, row_features, seal, unpack
from outcrop.store.scopes import Scope, row_id_of

_ROWS = """
    SELECT row_id, provisioned_model_name, status, model_arn FROM provisioned_model_throughputs
    WHERE row_id >= $1 AND row_id < $2 ORDER BY row_id
"""
_MEMBERS = "SELECT members FROM throughput_features WHERE feature = $1 AND block = $2"
_PUT = """
    INSERT INTO throughput_features (feature, block, members) VALUES ($1, $2, $3)
    ON CONFLICT (feature, block) DO UPDATE SET members = excluded.members
"""
_SEARCH = "SELECT block, members FROM throughput_features WHERE block >= $1 AND block <= $2"
FEATURES = "throughput_features"
FEATURE_COLUMNS = ("feature", "block", "members")

_BLOCKS_AT_FIRST, _BLOCKS_AT_MOST = 2, 128
_PARAMETERS = (4, 16, 64, 256)
"""Queries with a list in them come in few lengths, so that the engines know them again."""


class NameSearch:
    def __init__(self, database: Database, block_bits: int) -> None:
        self._database = database
        self._block_bits = block_bits

    async def created(self, transaction: Transaction, scope: Scope, row_id: int) -> None:
        """To be called when the row is there: it may be the one that fills its block."""
        if self._place(row_id) == (1 << self._block_bits) - 1:
            await self._seal(transaction, row_id >> self._block_bits)
            scope.sealed_until = scope.last_created_at

    async def changed(
        self,
        transaction: Transaction,
        scope: Scope,
        row_id: int,
        *,
        lost: Iterable[int],
        won: Iterable[int],
    ) -> None:
        """A row has other features now: the index has to know when its block is sealed."""
        block, place = row_id >> self._block_bits, self._place(row_id)
        if block == row_id_of(scope.scope_id, scope.created_count) >> self._block_bits:
            return
        for feature, has in chain(zip(lost, repeat(False)), zip(won, repeat(True))):
            rows = await transaction.fetch(_MEMBERS, feature, block)
            before = unpack(rows[0][0], self._block_bits) if rows else set[int]()
            after = before | {place} if has else before - {place}
            await transaction.execute(_PUT, feature, block, pack(sorted(after), self._block_bits))

    async def _seal(self, transaction: Transaction, block: int) -> None:
        first = block << self._block_bits
        rows = await transaction.fetch(_ROWS, first, first + (1 << self._block_bits))
        await transaction.insert_many(FEATURES, FEATURE_COLUMNS, self.sealed(block, rows))

    def sealed(self, block: int, rows: Iterable[Row]) -> list[tuple[int, int, bytes]]:
        """The index of a full block, from row_id, name, status and model ARN of its rows."""
        features = ((self._place(row[0]), row_features(row[1], row[2], row[3])) for row in rows)
        members = seal(features, self._block_bits)
        return [(feature, block, packed) for feature, packed in members.items()]

    def _place(self, row_id: int) -> int:
        return row_id & (1 << self._block_bits) - 1

    async def rows_with(
        self, features: AbstractSet[int], first: int, last: int, *, descending: bool
    ) -> AsyncGenerator[Iterator[int]]:
        """The numbers of the rows in sealed blocks, `first` to `last`, that have all features.

        In order, and in portions: each is worked out only as far as it is read.
        """
        for low, high in _rounds(first >> self._block_bits, last >> self._block_bits, descending):
            members = await self._members(features, low, high)
            rows = self._rows(members, descending=descending)
            yield (row_id for row_id in rows if first <= row_id <= last)
            await sleep(0)  # where reading does not wait, others get their turn

    def _rows(self, members: Mapping[int, Sequence[bytes]], *, descending: bool) -> Iterator[int]:
        for block in sorted(members, reverse=descending):
            places = common(members[block], self._block_bits)
            for place in reversed(places) if descending else places:
                yield block << self._block_bits | place

    async def _members(
        self, features: AbstractSet[int], low: int, high: int
    ) -> Mapping[int, Sequence[bytes]]:
        """The members of the features, for those blocks that have them all."""
        names, values = placeholders(sorted(features), start=3)
        rows = await self._database.fetch(f"{_SEARCH} AND feature IN ({names})", low, high, *values)
        return _complete(rows, len(features))


def placeholders(values: Sequence[int], *, start: int) -> tuple[str, Sequence[int]]:
    """`$3, $4, …` for a list, lengthened by repetition to one of a few lengths."""
    length = next((size for size in _PARAMETERS if size >= len(values)), len(values))
    names = ", ".join(f"${number}" for number in range(start, start + length))
    return names, [*values, *repeat(values[-1], length - len(values))]


def _rounds(first: int, last: int, descending: bool) -> Iterator[tuple[int, int]]:  # noqa: FBT001 -- ours
    """First and last block of each query: few at first, for most searches end there."""
    size = _BLOCKS_AT_FIRST
    while first <= last:
        if descending:
            yield max(first, last - size + 1), last
            last -= size
        else:
            yield first, min(last, first + size - 1)
            first += size
        size = min(size * 4, _BLOCKS_AT_MOST)


def _complete(rows: Iterable[Row], count: int) -> Mapping[int, Sequence[bytes]]:
    members: dict[int, list[bytes]] = {}
    for block, packed in rows:
        members.setdefault(block, []).append(packed)
    return {block: each for block, each in members.items() if len(each) == count}
