"""Against a count of all the ways there are."""

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings, strategies as st

from outcrop.fleet.packing import lacking, linked

KINDS = "abc"
HOLDS = st.dictionaries(st.sampled_from(KINDS), st.integers(1, 6), max_size=3)
WANTED = st.dictionaries(st.sampled_from(KINDS), st.integers(0, 9), max_size=3)


def fits_in_whole_units(servers: Sequence[Mapping[str, int]], wanted: Mapping[str, int]) -> bool:
    """Whether they fit without dividing a unit over servers: then they fit all the more."""
    if not servers:
        return not any(wanted.values())
    first, rest = servers[0], servers[1:]
    kinds = [kind for kind in wanted if first.get(kind)]
    for numbers in itertools.product(*(range(min(wanted[k], first[k]) + 1) for k in kinds)):
        taken = dict(zip(kinds, numbers, strict=True))
        if sum(Fraction(n, first[kind]) for kind, n in taken.items()) <= 1:
            left = {kind: units - taken.get(kind, 0) for kind, units in wanted.items()}
            if fits_in_whole_units(rest, left):
                return True
    return False


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        ({"a": 8}, 0),
        ({"b": 4}, 0),
        ({"a": 4, "b": 2}, 0),
        ({"a": 5, "b": 2}, 0.5),
        ({"a": 9}, 1),
        ({"c": 2}, 2),
        ({"a": 0, "b": 0}, 0),
        ({}, 0),
    ],
)
def test_a_server_is_filled_by_a_mix(wanted: dict[str, int], left: float) -> None:
    assert lacking([{"a": 8, "b": 4}], wanted) == pytest.approx(left)


def test_each_kind_goes_where_it_costs_least() -> None:
    servers = [{"a": 8, "b": 4}, {"a": 4, "b": 8}]

    assert lacking(servers, {"a": 8, "b": 8}) == 0
    assert lacking(servers, {"a": 9, "b": 8}) > 0


@settings(max_examples=150)
@given(st.lists(HOLDS, max_size=3), WANTED)
def test_what_fits_in_whole_units_is_never_refused(
    servers: list[dict[str, int]], wanted: dict[str, int]
) -> None:
    if fits_in_whole_units(servers, wanted):
        assert lacking(servers, wanted) == 0


@settings(max_examples=300)
@given(st.lists(HOLDS, max_size=4), WANTED, st.tuples(*[st.integers(1, 5)] * 3))
def test_what_is_accepted_is_worth_no_more_than_the_servers(
    servers: list[dict[str, int]], wanted: dict[str, int], prices: tuple[int, ...]
) -> None:
    """Whatever a unit of each kind is worth: a server is worth what it makes the most of."""
    worth = dict(zip(KINDS, prices, strict=True))
    most = sum(max((n * worth[k] for k, n in server.items()), default=0) for server in servers)
    value = sum(units * worth[kind] for kind, units in wanted.items())

    assert value <= most or lacking(servers, wanted) > 0


def test_what_shares_no_server_does_not_stand_in_the_way() -> None:
    servers = [{"a": 1, "b": 1}, {"b": 2, "c": 2}, {"d": 1}]

    assert linked(servers, "a") == {"a", "b", "c"}
    assert linked(servers, "e") == {"e"}
