import math
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from outcrop.runtime.families.quantization import (
    bits,
    int8,
    packed_bits,
    signed_packed_bits,
    uint8,
)

COMPONENTS = st.floats(-1, 1, allow_nan=False, width=32)
VECTORS = st.lists(COMPONENTS, min_size=1, max_size=64)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other))


def unit(vector: list[float]) -> list[float]:
    length = math.hypot(*vector)
    return [component / length for component in vector]


@given(VECTORS)
def test_bytes_stay_within_their_range_and_differ_by_128(vector: list[float]) -> None:
    signed, unsigned = int8(vector), uint8(vector)

    assert all(-128 <= value <= 127 for value in signed)
    assert all(0 <= value <= 255 for value in unsigned)
    assert [value - 128 for value in unsigned] == signed


@given(VECTORS)
def test_larger_components_never_become_smaller_bytes(vector: list[float]) -> None:
    ordered = sorted(vector)

    assert int8(ordered) == sorted(int8(ordered))


@given(VECTORS)
def test_bits_can_be_unpacked_again(vector: list[float]) -> None:
    packed = packed_bits(vector)
    unpacked = [byte >> shift & 1 for byte in packed for shift in range(7, -1, -1)]

    assert len(packed) == math.ceil(len(vector) / 8)
    assert unpacked[: len(vector)] == bits(vector)
    assert not any(unpacked[len(vector) :])
    assert [byte - 128 for byte in packed] == signed_packed_bits(vector)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([256, 384, 1024, 1536]))
def test_bytes_keep_the_cosines_of_unit_vectors(seed: int, size: int) -> None:
    gauss = Random(seed).gauss
    one = unit([gauss(0, 1) for _ in range(size)])
    other = unit([component + gauss(0, 1 / math.sqrt(size)) for component in one])

    assert cosine(int8(one), int8(other)) == pytest.approx(cosine(one, other), abs=0.01)


def test_the_first_component_is_the_highest_bit() -> None:
    vector = [0.5, -0.1, 0.0, 0.2, -0.3, -0.4, -0.5, 0.01, 0.9]

    assert bits(vector) == [1, 0, 0, 1, 0, 0, 0, 1, 1]
    assert packed_bits(vector) == [0b10010001, 0b10000000]
    assert signed_packed_bits(vector) == [17, 0]
    assert int8([0.0, 0.1, -0.1, 1.0, -1.0]) == [0, 40, -40, 127, -128]
