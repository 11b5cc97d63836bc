"""`outcrop models`, and what else is said of units: of the configuration and the store."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from outcrop.server import cli
from outcrop.server.doctor import examine
from outcrop.store.migrations import MIGRATIONS, migrate
from outcrop.store.store import open_database, open_store
from tests.clocks import FakeClock
from tests.store.samples import throughput

LITE, MICRO = "amazon.nova-lite-v1:0", "amazon.nova-micro-v1:0"
CONFIG = f"""
[embedded]
enabled = false

[[model_units]]
model = "{LITE}"
input_tokens_per_minute = 1000
output_tokens_per_minute = 200

[[model_servers]]
name = "gpu-1"
url = "http://gpu:1/v1"
region = "us-east-1"
models = {{ "{LITE}" = "x", "{MICRO}" = "y" }}
model_units = {{ "{LITE}" = 8 }}

[[model_servers]]
name = "gpu-2"
url = "http://gpu:2/v1"
discover = true
"""


def sell(state: Path, units: int) -> None:
    async def main() -> None:
        async with open_store(state / "outcrop.sqlite3", clock=FakeClock()) as store:
            records = store.provisioned_model_throughputs
            new = replace(throughput(), model_units=units, desired_model_units=units)
            bought = await records.create(new, tags={}, client_token=None, quota=None)
            await records.replace(bought, replace(bought, status="InService"))

    asyncio.run(main())


def listed(tmp_path: Path, *options: str) -> int:
    config = tmp_path / "outcrop.toml"
    config.write_text(CONFIG)
    return cli.main(["models", "--config", str(config), "--state", str(tmp_path), *options])


def test_models_are_listed_with_their_servers_units_and_what_is_sold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sell(tmp_path, 3)

    assert listed(tmp_path) == 0

    assert (
        capsys.readouterr().out
        == f"""{LITE}
  servers  gpu-1 (us-east-1)
  units    us-east-1: 8 held, 3 sold, 5 free
           of 1000 input and 200 output tokens a minute (declared)
{MICRO}
  servers  gpu-1 (us-east-1)
  units    us-east-1: not limited, 0 sold
gpu-2 tells by itself what else it has
"""
    )


def test_programs_get_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sell(tmp_path, 3)
    listed(tmp_path, "--json")

    (lite, _) = json.loads(capsys.readouterr().out)["models"]

    assert lite["servers"] == [{"name": "gpu-1", "region": "us-east-1", "model_units": 8}]
    assert lite["regions"] == [
        {
            "region": "us-east-1",
            "model_unit": {"input_tokens_per_minute": 1000, "output_tokens_per_minute": 200},
            "source": "declared",
            "held": 8,
            "sold": 3,
            "free": 5,
        }
    ]


def test_nothing_is_made_by_a_listing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"

    assert cli.main(["models", "--state", str(state)]) == 0

    assert "outcrop.smollm2-135m-instruct-v1:0" in capsys.readouterr().out
    assert not state.exists()


def test_a_database_of_before_is_not_brought_up_to_date_by_a_listing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        async with open_database(tmp_path / "outcrop.sqlite3") as database:
            await migrate(database, MIGRATIONS[:1])

    asyncio.run(main())

    with pytest.raises(SystemExit):
        listed(tmp_path)

    assert "`outcrop serve` brings it up to date" in capsys.readouterr().err


def wrong(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "outcrop.toml"
    path.write_text(CONFIG)
    clock: Any = FakeClock()
    findings = examine(config_path=path, state=tmp_path, url=None, clock=clock)
    return {found.what: found.mend for found in findings if "units" in found.what}


def test_doctor_says_when_more_is_sold_than_servers_hold(tmp_path: Path) -> None:
    sell(tmp_path, 8)
    assert wrong(tmp_path) == {}

    sell(tmp_path, 1)

    ((what, mend),) = wrong(tmp_path).items()
    assert what.startswith(f"9 model units of {LITE} are sold in us-east-1, whose model servers")
    assert "hold 8 of it" in what
    assert "nothing more is sold meanwhile" in mend


def test_doctor_finds_a_file_of_measurements_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "units.toml").write_text("modle_units = 1")

    assert any("unknown key `modle_units`" in what for what in wrong(tmp_path))
