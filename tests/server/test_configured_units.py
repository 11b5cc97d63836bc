"""What is declared and what was measured, read together; and what is written of a measurement."""

from pathlib import Path

import pytest

from outcrop.fleet.config import InvalidFleetConfigError, ModelUnitsConfig
from outcrop.fleet.units import MeasuredServer, ModelUnit, Units
from outcrop.server.config import ConfigurationError, load_config
from outcrop.server.configured_units import configured_units, read_measured, write_measured

LITE, MICRO = "amazon.nova-lite-v1:0", "amazon.nova-micro-v1:0"
SERVER = (
    f'[[model_servers]]\nname = "gpu"\nurl = "http://gpu:1/v1"\nmodels = {{ "{LITE}" = "x" }}\n'
)
COUNTED = f'model_units = {{ "{LITE}" = 8 }}\n'
TABLE = f"""[[model_units]]
model = "{LITE}"
input_tokens_per_minute = 1000
output_tokens_per_minute = 200
"""


def configured(folder: Path, text: str) -> Units:
    path = folder / "outcrop.toml"
    path.write_text(text)
    return configured_units(load_config(path, {"state": folder}))


def unit(model: str, output: int) -> ModelUnitsConfig:
    return ModelUnitsConfig(
        model=model, input_tokens_per_minute=5 * output, output_tokens_per_minute=output
    )


def test_declared_units_are_the_servers(tmp_path: Path) -> None:
    units = configured(tmp_path, SERVER + COUNTED + TABLE)

    assert units.supply(LITE, "us-east-1") == 8
    assert units.unit_of(LITE) == ModelUnit(
        input_tokens_per_minute=1000, output_tokens_per_minute=200
    )


def test_what_was_measured_is_read_back_and_the_configuration_wins(tmp_path: Path) -> None:
    file = tmp_path / "units.toml"
    write_measured(file, unit(LITE, 100), MeasuredServer(name="gpu", model_units={LITE: 4}))

    measured = configured(tmp_path, SERVER)
    declared = configured(tmp_path, SERVER + COUNTED)

    assert (measured.supply(LITE, "us-east-1"), measured.source_of(LITE)) == (4, "measured")
    assert declared.supply(LITE, "us-east-1") == 8


def test_one_measurement_after_another_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "units.toml"
    odd = 'my "model"\\\n\x7f'
    for model, name, number in ((LITE, "a", 4), (MICRO, "a", 3), (LITE, "b", 6), (odd, "a", 1)):
        server = MeasuredServer(name=name, model_units={model: number})
        write_measured(file, unit(model, 100), server)
    write_measured(file, unit(LITE, 200), MeasuredServer(name="a", model_units={LITE: 9}))

    found = read_measured(file)

    assert {row.model: row.output_tokens_per_minute for row in found.model_units} == {
        MICRO: 100,
        odd: 100,
        LITE: 200,
    }
    # The other server's were counted with the unit of before.
    assert {row.name: row.model_units for row in found.model_servers} == {
        "a": {LITE: 9, MICRO: 3, odd: 1},
        "b": {LITE: 3},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SERVER + COUNTED, "gpu: model_units counts"),
        (TABLE.replace(LITE, "no.model"), "no.model is no model of the catalogue"),
        (TABLE + TABLE, "is there twice"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidFleetConfigError, match=message):
        configured(tmp_path, text)


@pytest.mark.parametrize("text", ["[[model_units]]\nmodle = 1", "[["])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "units.toml").write_text(text)

    with pytest.raises(ConfigurationError, match=r"units\.toml"):
        configured(tmp_path, "")


def test_measured_units_are_limits_that_several_workers_have_to_count_together(
    tmp_path: Path,
) -> None:
    file = tmp_path / "units.toml"
    write_measured(file, unit(LITE, 100), MeasuredServer(name="gpu", model_units={LITE: 4}))

    with pytest.raises(ConfigurationError, match="workers = 2 would each count for themselves"):
        configured(tmp_path, "workers = 2\n" + SERVER)
