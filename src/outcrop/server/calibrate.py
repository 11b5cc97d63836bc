"""`outcrop calibrate`: measures what model servers sustain, and writes it down in model units.

A unit is a round share of what was measured first; whoever is measured later is counted in it.
"""

import asyncio
import math
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from outcrop.fleet.config import ModelUnitsConfig
from outcrop.fleet.embedded import EMBEDDED_NAME, EmbeddedModel, EmbeddedSettings
from outcrop.fleet.embedded_engine import chat_engine
from outcrop.fleet.member import Member, set_up
from outcrop.fleet.pool import Candidate
from outcrop.fleet.units import MeasuredServer, ModelUnit, units_held
from outcrop.server.config import Config, ConfigurationError
from outcrop.server.configured_units import configured_units, write_measured
from outcrop.server.load import Load, NothingMeasuredError, Shape, Step, climb, sustained
from outcrop.store.catalogue import EMBEDDED_MODEL_ID, Catalogue
from outcrop.wire.timestamps import Clock

SOLD = 0.9
"""Of what was measured; the rest is for calls that are not like those measured with."""
UNITS_AT_LEAST = 4
"""Of the first server that is measured, in case of a new unit."""
_MOST_CALLS = 1024


class Wanted(Struct, frozen=True, kw_only=True):
    model_id: str
    server: str | None = None
    """By name; None: every server of the model, one after the other."""
    seconds: float = 20.0
    """Of each step."""
    shape: Shape = Shape()
    out: Path | None = None
    """None: where the server looks for it, in the state folder."""


async def calibrate(
    config: Config, wanted: Wanted, *, clock: Clock, tell: Callable[[str], None]
) -> None:
    """Raises ConfigurationError, InvalidFleetConfigError and NothingMeasuredError."""
    model = Catalogue(custom_models=config.custom_models).model_anywhere(wanted.model_id)
    if model is not None and not model.converses:
        raise ConfigurationError(f"{wanted.model_id} generates no text: only that is measured")
    for name in _servers(config, wanted):
        tell(f"{wanted.model_id} on {name}:")
        region, step = await _measured(config, name, wanted, clock, tell)
        # Read again each time: the first server may just have made the unit.
        units = configured_units(config, _path(config, wanted))
        unit = units.unit_of(wanted.model_id, region) or a_unit(step)
        _write(config, wanted, name, unit, step, tell)


async def _measured(
    config: Config, name: str, wanted: Wanted, clock: Clock, tell: Callable[[str], None]
) -> tuple[str | None, Step]:
    """The server's Region, and what it sustains."""
    async with _candidate(config, name, wanted.model_id, clock) as (candidate, most):
        try:
            return candidate.region, await _climbed(candidate, most, wanted, tell)
        except NothingMeasuredError as error:
            failure = error
    # Out here, because a task group would wrap it.
    raise failure


async def _climbed(
    candidate: Candidate, most: int, wanted: Wanted, tell: Callable[[str], None]
) -> Step:
    load = Load(candidate, shape=wanted.shape, seconds=wanted.seconds)
    await load.warm_up()
    tell("  calls at once   input tokens/min   output tokens/min   ms a token")

    async def measure(concurrency: int) -> Step:
        step = await load.at(concurrency)
        tell(
            f"  {step.concurrency:13}   {step.input_tokens_per_minute:16.0f}"
            f"   {step.output_tokens_per_minute:17.0f}   {step.ms_per_token:10.1f}"
            f"{f'   failed: {step.failure}' if step.failure else ''}"
        )
        return step

    return sustained(await climb(measure, most=most))


def a_unit(step: Step) -> ModelUnit:
    """Output: the largest of 1, 2, 5, 10, … of which the server sustains at least four.

    Input: in proportion, rounded down to two digits.
    """
    output = _round_below(SOLD * step.output_tokens_per_minute / UNITS_AT_LEAST)
    number = max(1, int(SOLD * step.output_tokens_per_minute / output))
    each = max(1.0, SOLD * step.input_tokens_per_minute / number)
    digits = 10 ** max(0, int(math.log10(each)) - 1)
    return ModelUnit(
        input_tokens_per_minute=int(each // digits * digits), output_tokens_per_minute=output
    )


def _round_below(number: float) -> int:
    power = int(10 ** max(0, int(math.log10(max(1.0, number)))))
    return max((times for times in (1, 2, 5) if times * power <= number), default=1) * power


def _write(
    config: Config,
    wanted: Wanted,
    server: str,
    unit: ModelUnit,
    step: Step,
    tell: Callable[[str], None],
) -> None:
    number = units_held(
        unit,
        input_per_minute=SOLD * step.input_tokens_per_minute,
        output_per_minute=SOLD * step.output_tokens_per_minute,
    )
    path = _path(config, wanted)
    bases = {model.custom_model_name: model.base_model_id for model in config.custom_models}
    table = ModelUnitsConfig(
        model=bases.get(wanted.model_id, wanted.model_id),
        input_tokens_per_minute=unit.input_tokens_per_minute,
        output_tokens_per_minute=unit.output_tokens_per_minute,
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_measured(path, table, MeasuredServer(name=server, model_units={wanted.model_id: number}))
    tell(
        f"  a unit: {unit.input_tokens_per_minute} input and {unit.output_tokens_per_minute} output"
        f" tokens a minute; {server} sustains {number}, written to {path}"
    )


def _path(config: Config, wanted: Wanted) -> Path:
    return wanted.out or config.units_path


def _servers(config: Config, wanted: Wanted) -> Sequence[str]:
    """The names of those that are to be measured. Raises ConfigurationError."""
    names = [
        server.name
        for server in config.model_servers
        # One that tells by itself what it has is asked for the model if it is named.
        if wanted.model_id in server.models or (server.discover and server.name == wanted.server)
    ]
    if config.embedded.enabled and wanted.model_id == EMBEDDED_MODEL_ID:
        names.append(EMBEDDED_NAME)
    if wanted.server is not None:
        names = [name for name in names if name == wanted.server]
    if not names:
        which = "No model server" if wanted.server is None else f"No model server {wanted.server}"
        raise ConfigurationError(f"{which} of this configuration serves {wanted.model_id}")
    return names


@asynccontextmanager
async def _candidate(
    config: Config, name: str, model_id: str, clock: Clock
) -> AsyncGenerator[tuple[Candidate, int]]:
    """The server as the fleet would have it, and how many calls it may be given at once."""
    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as held:
        if name == EMBEDDED_NAME:
            yield await _embedded(config, held, tasks, clock), _MOST_CALLS
            return
        (server,) = (server for server in config.model_servers if server.name == name)
        models = {model_id: model_id, **server.models}
        setup = set_up(replace(server, models=models, discover=False), os.environ)
        member = Member(setup, knows=_nothing_else, clock=clock, sleep=asyncio.sleep)
        held.push_async_callback(member.aclose)
        (candidate,) = (row.candidate for row in member.served() if row.model_id == model_id)
        yield candidate, server.max_concurrency or _MOST_CALLS


def _nothing_else(_name: str) -> bool:
    return False


async def _embedded(
    config: Config, held: AsyncExitStack, tasks: asyncio.TaskGroup, clock: Clock
) -> Candidate:
    settings = EmbeddedSettings(config=config.embedded, state=config.state, cache=config.cache)
    model = EmbeddedModel(settings, chat_engine(config.embedded), tasks=tasks, clock=clock)
    held.push_async_callback(model.aclose)
    return Candidate(server=model, dialect="embedded", served_as=model.served_as, region=None)
