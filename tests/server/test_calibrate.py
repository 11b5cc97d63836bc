"""`outcrop calibrate`: what it makes of a server whose capacity is known."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from outcrop.fleet.units import ModelUnit
from outcrop.server import cli
from outcrop.server.calibrate import Wanted, a_unit, calibrate
from outcrop.server.config import Config, ConfigurationError, load_config
from outcrop.server.configured_units import configured_units
from outcrop.server.load import NothingMeasuredError, Shape, Step, climb, question, sustained
from outcrop.store.catalogue import EMBEDDED_MODEL_ID
from tests.clocks import FakeClock
from tests.fakes.capacity_server import CapacityServer
from tests.fakes.model_server import AnswersStatus, FakeModelServer, url_that_refuses

LITE = "amazon.nova-lite-v1:0"


def step(concurrency: int, output: float, ms: float = 10, failure: str | None = None) -> Step:
    return Step(
        concurrency=concurrency,
        input_tokens_per_minute=5 * output,
        output_tokens_per_minute=output,
        ms_per_token=ms,
        failure=failure,
    )


def climbed(steps: Mapping[int, Step], most: int = 1024) -> tuple[list[int], int]:
    """How many calls at once were tried, and how many of them are sustained."""

    async def measure(concurrency: int) -> Step:
        return steps[concurrency]

    found = asyncio.run(climb(measure, most=most))
    return [each.concurrency for each in found], sustained(found).concurrency


def test_it_climbs_until_more_calls_bring_no_more() -> None:
    steps = {1: step(1, 100), 2: step(2, 200), 4: step(4, 380), 8: step(8, 390)}

    assert climbed(steps) == ([1, 2, 4, 8], 8)


def test_a_step_at_which_a_token_takes_twice_as_long_is_not_sustained() -> None:
    steps = {1: step(1, 100, ms=10), 2: step(2, 180, ms=15), 4: step(4, 300, ms=21)}

    assert climbed(steps) == ([1, 2, 4], 2)


def test_a_step_at_which_calls_fail_is_the_last() -> None:
    steps = {1: step(1, 100), 2: step(2, 180), 4: step(4, 300, failure="gpu: status 503")}

    assert climbed(steps) == ([1, 2, 4], 2)


def test_no_more_calls_are_made_than_a_server_may_be_given() -> None:
    steps = {n: step(n, 100.0 * n) for n in (1, 2, 3)}

    assert climbed(steps, most=3) == ([1, 2, 3], 3)
    assert climbed(steps, most=1) == ([1], 1)


@pytest.mark.parametrize("first", [step(1, 0), step(1, 100, failure="gpu: status 500")])
def test_a_server_that_does_not_answer_well_alone_is_not_measured(first: Step) -> None:
    with pytest.raises(NothingMeasuredError):
        climbed({1: first})


@pytest.mark.parametrize(
    ("output", "unit", "number"),
    [(100_000, 20_000, 4), (60_000, 10_000, 5), (240_000, 50_000, 4), (10, 2, 4), (0.5, 1, 0)],
)
def test_a_unit_is_a_round_share_of_what_was_measured(
    output: float, unit: int, number: int
) -> None:
    made = a_unit(step(1, output))

    assert made.output_tokens_per_minute == unit
    assert int(0.9 * output / unit) == number
    if number:
        # In proportion, and not more than there is.
        assert 4.5 * output / number * 0.9 <= made.input_tokens_per_minute <= 4.5 * output / number


def test_no_two_questions_begin_alike() -> None:
    texts = [question("m", Shape(), number).messages for number in (1, 2)]

    assert texts[0] != texts[1]


def config_of(folder: Path, url: str, more: str = "") -> Config:
    path = folder / "outcrop.toml"
    path.write_text(
        f'[[model_servers]]\nname = "gpu"\nurl = "{url}"\nmodels = {{ "{LITE}" = "x" }}\n{more}'
    )
    return load_config(path, {"state": folder / "state"})


def run(config: Config, wanted: Wanted) -> list[str]:
    told: list[str] = []
    asyncio.run(calibrate(config, wanted, clock=FakeClock(), tell=told.append))
    return told


@pytest.mark.slow
def test_a_server_of_known_capacity_is_measured_and_written_down(tmp_path: Path) -> None:
    async def main() -> tuple[Config, list[str], CapacityServer]:
        told: list[str] = []
        async with CapacityServer(slots=4, call_s=0.04) as server:
            config = config_of(tmp_path, server.url)
            wanted = Wanted(model_id=LITE, seconds=0.3)
            await calibrate(config, wanted, clock=FakeClock(), tell=told.append)
            return config, told, server

    config, told, server = asyncio.run(main())

    units = configured_units(config)
    unit, number = units.unit_of(LITE), units.supply(LITE, "us-east-1")
    assert isinstance(unit, ModelUnit)
    assert number is not None
    assert number >= 4
    # It is never promised more than there is; and a machine that is busy makes it slower.
    assert 0.4 < number * unit.output_tokens_per_minute / server.output_tokens_per_minute <= 0.95
    assert 0.4 < number * unit.input_tokens_per_minute / server.input_tokens_per_minute <= 0.95
    assert "written to" in told[-1]


@pytest.mark.slow
def test_a_second_server_is_counted_in_the_unit_of_the_first(tmp_path: Path) -> None:
    async def main() -> Config:
        async with (
            CapacityServer(slots=2, call_s=0.02) as small,
            CapacityServer(slots=1, call_s=0.02) as tiny,
        ):
            second = (
                f'[[model_servers]]\nname = "tiny"\nurl = "{tiny.url}"\nregion = "eu-west-1"\n'
                f'models = {{ "{LITE}" = "y" }}\nmax_concurrency = 1\n'
            )
            config = config_of(tmp_path, small.url, f'region = "us-east-1"\n{second}')
            wanted = Wanted(model_id=LITE, seconds=0.2)
            await calibrate(config, wanted, clock=FakeClock(), tell=lambda _: None)
            return config

    units = configured_units(asyncio.run(main()))
    small, tiny = units.supply(LITE, "us-east-1"), units.supply(LITE, "eu-west-1")

    assert small is not None
    assert tiny is not None
    assert 0 < tiny < small


def test_what_cannot_be_measured_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeModelServer(AnswersStatus(401)) as server:
            for url, wrong in ((server.url, "401"), (url_that_refuses(), "refused")):
                with pytest.raises(NothingMeasuredError, match=wrong):
                    await calibrate(
                        config_of(tmp_path, url),
                        Wanted(model_id=LITE, seconds=0.01),
                        clock=FakeClock(),
                        tell=lambda _: None,
                    )

    asyncio.run(main())

    assert not (tmp_path / "state" / "units.toml").exists()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(model_id="amazon.nova-pro-v1:0"), "No model server of this configuration serves"),
        (Wanted(model_id=LITE, server="cpu"), "No model server cpu of this configuration"),
        (Wanted(model_id="amazon.titan-embed-text-v2:0"), "generates no text"),
    ],
)
def test_a_model_that_nobody_here_generates_is_refused(
    tmp_path: Path, wanted: Wanted, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        run(config_of(tmp_path, "http://gpu:1/v1"), wanted)


def test_the_command_says_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config_of(tmp_path, url_that_refuses())
    files = ["--config", str(tmp_path / "outcrop.toml"), "--state", str(tmp_path / "state")]

    with pytest.raises(SystemExit) as ended:
        cli.main(["calibrate", LITE, *files])

    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("outcrop: gpu: refused")


@pytest.mark.slow
def test_the_embedded_model_is_measured(tmp_path: Path, model_cache: Path) -> None:
    path = tmp_path / "outcrop.toml"
    path.write_text("[embedded]\nslots = 2\n")
    config = load_config(path, {"state": tmp_path / "state", "cache": model_cache})
    config.state.mkdir(mode=0o700)

    shape = Shape(input_tokens=16, output_tokens=8)
    run(config, Wanted(model_id=EMBEDDED_MODEL_ID, seconds=0.5, shape=shape))

    units = configured_units(config)
    assert (units.supply(EMBEDDED_MODEL_ID, "us-east-1") or 0) >= 4
    assert units.source_of(EMBEDDED_MODEL_ID) == "measured"
