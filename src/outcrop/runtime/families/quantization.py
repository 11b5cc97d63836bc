"""Vectors in fewer bits.

Bits say which components are positive; packed, the first component is the highest bit of the first
byte, and signed bytes are the unsigned ones less 128, as Cohere packs them:
https://docs.cohere.com/docs/embeddings. Cohere calibrates its bytes for each model and does not
publish how; here one fixed scale serves every vector of unit length, so that inner products,
distances and cosines of bytes keep the order of the vectors'.
"""

from collections.abc import Sequence

_SCALE = 400.0
"""Components beyond 0.3, rare at 256 dimensions and more, are cut off there."""

_HIGHEST_BIT_FIRST = (128, 64, 32, 16, 8, 4, 2, 1)


def int8(vector: Sequence[float]) -> list[int]:
    return [max(-128, min(127, round(_SCALE * component))) for component in vector]


def uint8(vector: Sequence[float]) -> list[int]:
    return [component + 128 for component in int8(vector)]


def bits(vector: Sequence[float]) -> list[int]:
    return [int(component > 0) for component in vector]


def packed_bits(vector: Sequence[float]) -> list[int]:
    """Unsigned bytes; the last one is filled up with zeros."""
    single = bits(vector)
    return [
        sum(
            weight * bit
            for weight, bit in zip(_HIGHEST_BIT_FIRST, single[start : start + 8], strict=False)
        )
        for start in range(0, len(single), 8)
    ]


def signed_packed_bits(vector: Sequence[float]) -> list[int]:
    return [byte - 128 for byte in packed_bits(vector)]
