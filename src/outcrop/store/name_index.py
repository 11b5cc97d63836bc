"""The index for parts of names: which rows of a block of 4,096 can match a search.

Rows are numbered in the order of every listing. A full block is sealed: for each feature (a gram of
one to four letters of the name, the status, the model) one value holds the block's rows that have
it. A search intersects the rows of its own features, block by block in the order it lists, until
its page is full. Rows in no full block yet are few enough to look at.

The engines' own trigram indexes know no parts of one or two letters. PostgreSQL's (pg_trgm) forgets
case and punctuation besides, and finds all matches before it gives the first, in no order: costly
where half a million names match. SQLite's (FTS5) is not in every build.

What this does not help with: a part that no name has, though most have each of its grams of four
letters (`abcdef` among names that begin with `abcde-bcdef`). Every such row is looked at.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from zlib import crc32

from outcrop.store.records import ProvisionedModelThroughputFilters

BLOCK_BITS = 12
"""Of a row's number; a database keeps what it was filled with."""

LIVE = 0
"""The feature of every row that is not deleted."""
_STATUS, _MODEL = 5, 6
"""Kinds of features besides grams, whose kind is their length."""
_LONGEST = 4
_GRAMS_PER_SEARCH = 16
# Long grams are many: beyond two letters they share numbers. The search looks at every row it is
# left with, so a wrong row costs time and no more.
_SHARED = 0xFFF


def row_features(name: str, status: str, model_arn: str) -> set[int]:
    grams = {
        name[start : start + length]
        for length in range(1, _LONGEST + 1)
        for start in range(len(name) - length + 1)
    }
    return {LIVE, _feature(_STATUS, status), _feature(_MODEL, model_arn), *map(_gram, grams)}


def search_features(filters: ProvisionedModelThroughputFilters) -> set[int]:
    """Features that every row has that matches."""
    features = {LIVE, *map(_gram, _search_grams(filters.name_contains or ""))}
    if filters.status is not None:
        features.add(_feature(_STATUS, filters.status))
    if filters.model_arn is not None:
        features.add(_feature(_MODEL, filters.model_arn))
    return features


def _search_grams(part: str) -> set[str]:
    """Grams whose presence comes close to the presence of `part`.

    The longest overlap, so that `team-api` does not match `team-x-api`; the shorter ones at both
    ends make good for numbers that long grams share.
    """
    longest = min(len(part), _LONGEST)
    grams = {part[:length] for length in range(max(1, longest - 2), longest + 1)}
    grams |= {part[-length:] for length in range(max(1, longest - 2), longest + 1)}
    starts = range(0, len(part) - longest, max(2, len(part) // _GRAMS_PER_SEARCH))
    return (grams | {part[start : start + longest] for start in starts}) - {""}


@lru_cache(maxsize=1 << 15)
def _gram(gram: str) -> int:
    if len(gram) <= 2:
        return len(gram) << 20 | int.from_bytes(gram.encode()) & 0xFFFFF
    return len(gram) << 20 | crc32(gram.encode()) & _SHARED


def _feature(kind: int, text: str) -> int:
    return kind << 20 | crc32(text.encode()) & 0xFFFFF


def seal(rows: Iterable[tuple[int, Iterable[int]]], block_bits: int) -> Mapping[int, bytes]:
    """The members of each feature, from the features of each place in the block."""
    members: dict[int, list[int]] = {}
    for place, features in rows:
        for feature in features:
            members.setdefault(feature, []).append(place)
    return {feature: pack(places, block_bits) for feature, places in members.items()}


def pack(places: Sequence[int], block_bits: int) -> bytes:
    """A bit for every place of the block, or the places themselves where that is shorter."""
    size = 1 << block_bits >> 3
    if 2 * len(places) < size:
        return struct.pack(f"<{len(places)}H", *sorted(places))
    bits = bytearray(size)
    for place in places:
        bits[place >> 3] |= 1 << (place & 7)
    return bytes(bits)


def unpack(members: bytes, block_bits: int) -> set[int]:
    if _is_bits(members, block_bits):
        return set(_set_bits(int.from_bytes(members, "little")))
    return set(struct.unpack(f"<{len(members) // 2}H", members))


def common(members: Iterable[bytes], block_bits: int) -> list[int]:
    """The places that are in all of them, ascending."""
    bits = (1 << (1 << block_bits)) - 1
    few: set[int] | None = None
    for each in sorted(members, key=len):
        if _is_bits(each, block_bits):
            bits &= int.from_bytes(each, "little")
        elif few is None:
            few = unpack(each, block_bits)
        else:
            few &= unpack(each, block_bits)
            if not few:
                return []
    if few is None:
        return list(_set_bits(bits))
    return sorted(place for place in few if bits >> place & 1)


def _is_bits(members: bytes, block_bits: int) -> bool:
    return len(members) == 1 << block_bits >> 3


def _set_bits(bits: int) -> Iterator[int]:
    # By bytes: to shift the whole number for every bit is twenty times slower.
    for start, byte in enumerate(bits.to_bytes((bits.bit_length() + 7) // 8, "little")):
        for bit in _BITS[byte]:
            yield start << 3 | bit


_BITS = [[bit for bit in range(8) if byte >> bit & 1] for byte in range(256)]
