from collections.abc import Mapping

import msgspec
import pytest

from outcrop.fleet.config import (
    InvalidFleetConfigError,
    ModelServerConfig,
    ModelUnitsConfig,
)
from outcrop.fleet.units import (
    HoldingServer,
    Measured,
    MeasuredServer,
    ModelUnit,
    ServerModels,
    Units,
    units_of,
)

SMALL, LARGE, TUNED = "meta.small", "meta.large", "tuned"
HERE, THERE = "us-east-1", "eu-west-1"


def server(name: str, region: str | None, **model_units: int) -> HoldingServer:
    return HoldingServer(name=name, region=region, model_units=model_units)


def units(*servers: HoldingServer) -> Units:
    return Units({}, servers, bases={})


def table(model: str, tokens: int, region: str | None = None) -> ModelUnitsConfig:
    return ModelUnitsConfig(
        model=model,
        region=region,
        input_tokens_per_minute=10 * tokens,
        output_tokens_per_minute=tokens,
    )


def a_unit(tokens: int) -> ModelUnit:
    return ModelUnit(input_tokens_per_minute=10 * tokens, output_tokens_per_minute=tokens)


def gpu(model_units: Mapping[str, int] | None = None) -> ServerModels:
    return ServerModels(
        name="gpu",
        region=HERE,
        models=frozenset({SMALL, TUNED}),
        model_units=model_units or {},
    )


BASES = {TUNED: SMALL}


def test_a_model_that_no_server_counts_is_not_limited() -> None:
    fleet = units(server("one", HERE, small=4))

    assert fleet.supply("large", HERE) is None
    assert fleet.free("large", HERE, {(HERE, "large"): 99}) is None


def test_servers_of_a_region_and_those_of_every_region_add_up() -> None:
    fleet = units(
        server("a", HERE, small=4), server("b", HERE, small=4), server("c", None, small=2)
    )

    assert (fleet.supply("small", HERE), fleet.supply("small", THERE)) == (10, 2)
    assert fleet.free("small", HERE, {(HERE, "small"): 3}) == 7
    assert fleet.shared


def test_what_one_region_sold_of_a_shared_server_is_missing_in_the_other() -> None:
    fleet = units(server("shared", None, small=4))

    assert fleet.free("small", THERE, {(HERE, "small"): 3}) == 1


def test_a_mix_leaves_what_is_left_of_a_server() -> None:
    fleet = units(server("gpu", HERE, small=8, large=4))

    assert fleet.free("large", HERE, {(HERE, "small"): 4}) == 2
    assert fleet.free("large", HERE, {(HERE, "small"): 5}) == 1
    assert fleet.free("small", HERE, {(HERE, "large"): 4}) == 0


def test_more_sold_than_held_leaves_nothing_free_and_nothing_elsewhere_in_the_way() -> None:
    fleet = units(server("gpu", HERE, small=2), server("other", HERE, large=3))
    sold = {(HERE, "small"): 5}

    assert fleet.free("small", HERE, sold) == 0
    assert fleet.lacking((HERE, "small"), sold) == pytest.approx(3)
    assert fleet.free("large", HERE, sold) == 3


def test_a_regions_own_table_wins_and_a_custom_model_has_its_bases_unit() -> None:
    fleet = units_of([table(SMALL, 100), table(SMALL, 200, THERE)], [], Measured(), bases=BASES)

    assert fleet.unit_of(SMALL) == fleet.unit_of(TUNED, HERE) == a_unit(100)
    assert fleet.unit_of(TUNED, THERE) == a_unit(200)
    assert (fleet.unit_of(LARGE), fleet.source_of(SMALL)) == (None, "declared")


def test_what_is_declared_wins_over_what_was_measured() -> None:
    measured = Measured(
        model_units=(table(SMALL, 100),),
        model_servers=(MeasuredServer(name="gpu", model_units={SMALL: 6}),),
    )
    as_measured = units_of([], [gpu()], measured, bases=BASES)
    declared = units_of([], [gpu({SMALL: 4})], measured, bases=BASES)

    assert as_measured.supply(SMALL, HERE) == as_measured.supply(TUNED, HERE) == 6
    assert as_measured.source_of(SMALL) == "measured"
    assert declared.supply(SMALL, HERE) == declared.supply(TUNED, HERE) == 4
    assert declared.supply(SMALL, THERE) == 0


def test_units_that_were_counted_with_another_unit_are_counted_again() -> None:
    measured = Measured(
        model_units=(table(SMALL, 100),),
        model_servers=(MeasuredServer(name="gpu", model_units={SMALL: 6}),),
    )

    fleet = units_of([table(SMALL, 250)], [gpu()], measured, bases=BASES)

    assert (fleet.supply(SMALL, HERE), fleet.unit_of(SMALL)) == (2, a_unit(250))


def test_a_base_models_units_and_its_custom_models_fill_the_same_server() -> None:
    fleet = units_of([table(SMALL, 1)], [gpu({SMALL: 4})], Measured(), bases=BASES)

    assert fleet.free(TUNED, HERE, {(HERE, SMALL): 3}) == 1


def test_a_count_of_nobody_knows_what_is_refused_by_name() -> None:
    with pytest.raises(InvalidFleetConfigError, match=f"gpu: model_units counts {SMALL}, and no"):
        units_of([], [gpu({SMALL: 4})], Measured(), bases={})


def test_a_table_that_is_there_twice_is_refused() -> None:
    with pytest.raises(InvalidFleetConfigError, match=f"{SMALL} is there twice"):
        units_of([table(SMALL, 1), table(SMALL, 2)], [], Measured(), bases={})


def test_a_server_counts_units_of_its_models_alone() -> None:
    text = b'{"name":"gpu","url":"http://g/v1","models":{"a":"x"},"model_units":{"b":1}}'

    with pytest.raises(msgspec.ValidationError, match="model_units names b"):
        msgspec.json.decode(text, type=ModelServerConfig)
