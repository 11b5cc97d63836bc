"""The index for parts of names as the tables hold it: kept up to date, and searched."""

from asyncio import sleep
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, repeat

from outcrop.store.database import Database, Row, Transaction
from outcrop.store.name_index import common, pack, row_features, seal, unpack

_ROWS = """
    SELECT row_id, provisioned_model_name, status, model_arn FROM provisioned_model_throughputs
    WHERE row_id >= $1 AND row_id < $2 ORDER BY row_id
"""
_MEMBERS = "SELECT members FROM throughput_features WHERE feature = $1 AND block = $2"
_DROP = "DELETE FROM throughput_features WHERE feature = $1 AND block = $2"
_PUT = """
    INSERT INTO throughput_features (feature, block, members) VALUES ($1, $2, $3)
    ON CONFLICT (feature, block) DO UPDATE SET members = excluded.members
"""
_SEARCH = "SELECT block, members FROM throughput_features WHERE block >= $1 AND block <= $2"
_COLUMNS = ("feature", "block", "members")

_BLOCKS_AT_FIRST, _BLOCKS_AT_MOST = 2, 128
_PARAMETERS = (4, 16, 64, 256)
"""Queries with a list in them come in few lengths, so that the engines know them again."""


class NameSearch:
    def __init__(self, database: Database, block_bits: int) -> None:
        self._database = database
        self._block_bits = block_bits

    def fills_block(self, row_id: int) -> bool:
        return self.place(row_id) == (1 << self._block_bits) - 1

    def place(self, row_id: int) -> int:
        return row_id & (1 << self._block_bits) - 1

    async def seal(self, transaction: Transaction, row_id: int) -> None:
        """Makes the index for the block that `row_id` filled."""
        block = row_id >> self._block_bits
        first = block << self._block_bits
        rows = await transaction.fetch(_ROWS, first, first + (1 << self._block_bits))
        members = seal(
            ((self.place(row[0]), row_features(row[1], row[2], row[3])) for row in rows),
            self._block_bits,
        )
        await transaction.insert_many(
            "throughput_features", _COLUMNS, [(f, block, packed) for f, packed in members.items()]
        )

    async def change(
        self, transaction: Transaction, row_id: int, *, lost: Iterable[int], won: Iterable[int]
    ) -> None:
        """A row in a sealed block has other features now."""
        block, place = row_id >> self._block_bits, self.place(row_id)
        for feature, has in chain(zip(lost, repeat(False)), zip(won, repeat(True))):
            rows = await transaction.fetch(_MEMBERS, feature, block)
            before = unpack(rows[0][0], self._block_bits) if rows else set[int]()
            places = before | {place} if has else before - {place}
            if places:
                packed = pack(sorted(places), self._block_bits)
                await transaction.execute(_PUT, feature, block, packed)
            else:
                await transaction.execute(_DROP, feature, block)

    async def rows_with(
        self, features: Set[int], first: int, last: int, *, descending: bool
    ) -> AsyncGenerator[list[int]]:
        """The numbers of the rows in sealed blocks, `first` to `last`, that have all features."""
        for low, high in _rounds(first >> self._block_bits, last >> self._block_bits, descending):
            members = await self._members(features, low, high)
            for block in sorted(members, reverse=descending):
                start = block << self._block_bits
                row_ids = [start + place for place in common(members[block], self._block_bits)]
                ordered = reversed(row_ids) if descending else row_ids
                yield [row_id for row_id in ordered if first <= row_id <= last]
            await sleep(0)  # where reading does not wait, others get their turn

    async def _members(
        self, features: Set[int], low: int, high: int
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
