import random

from hypothesis import given, strategies as st

from outcrop.store.name_index import (
    LIVE,
    common,
    pack,
    row_features,
    seal,
    search_features,
    unpack,
)
from outcrop.store.records import ProvisionedModelThroughputFilters

BITS = 12
places = st.sets(st.integers(0, (1 << BITS) - 1), max_size=600)
names = st.text("ab-_Z9", min_size=1, max_size=63)


@given(places)
def test_places_are_unpacked_as_they_were_packed(some: set[int]) -> None:
    assert unpack(pack(sorted(some), BITS), BITS) == some


def test_packed_places_never_take_more_than_a_bit_for_each_place_of_the_block() -> None:
    everything = range(1 << BITS)

    sizes = [len(pack(everything[:count], BITS)) for count in (0, 1, 255, 256, 4096)]

    assert sizes == [0, 2, 510, 512, 512]


many_places = places.map(lambda few: set(range(1 << BITS)) - few)


@given(st.lists(places | many_places, min_size=1, max_size=4))
def test_common_places_are_those_in_all(some: list[set[int]]) -> None:
    found = common([pack(sorted(each), BITS) for each in some], BITS)

    assert found == sorted(set.intersection(*some))


@given(names, st.data())
def test_every_part_of_a_name_finds_it(name: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(name) - 1))
    part = name[start : data.draw(st.integers(start + 1, len(name)))]

    wanted = search_features(ProvisionedModelThroughputFilters(name_contains=part))

    assert wanted <= row_features(name, "InService", "arn")


def test_status_and_model_are_wanted_besides() -> None:
    filters = ProvisionedModelThroughputFilters(
        name_contains="a", status="Failed", model_arn="arn:1"
    )

    wanted = search_features(filters)

    assert wanted <= row_features("a", "Failed", "arn:1")
    assert not wanted <= row_features("a", "InService", "arn:1")
    assert not wanted <= row_features("a", "Failed", "arn:2")


def test_words_of_a_name_in_another_order_or_apart_do_not_find_it() -> None:
    row = row_features("team-x-api-000123", "InService", "arn")

    parts = ["team-api", "api-team", "123000", "xapi", "-x-a-"]

    assert not any(
        search_features(ProvisionedModelThroughputFilters(name_contains=part)) <= row
        for part in parts
    )


def test_the_longest_part_asks_for_no_more_than_a_few_features() -> None:
    part = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz", k=63))

    assert len(search_features(ProvisionedModelThroughputFilters(name_contains=part))) <= 30


def test_a_sealed_block_knows_who_has_a_feature() -> None:
    rows = [(0, {LIVE, 7}), (2, {LIVE}), (5, {7})]

    members = seal(rows, BITS)

    assert {feature: unpack(packed, BITS) for feature, packed in members.items()} == {
        LIVE: {0, 2},
        7: {0, 5},
    }
