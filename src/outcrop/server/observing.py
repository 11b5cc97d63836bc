"""Who watches what is asked: metrics for Prometheus, OpenTelemetry; nobody, unless configured."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec import Struct

from outcrop.counters.limit import Counters
from outcrop.fleet.fleet_keeper import FleetKeeper
from outcrop.metering.measures import Measures
from outcrop.metering.recording import Observer
from outcrop.metering.snapshot import Meter
from outcrop.server.config import Config, ConfigurationError
from outcrop.wire.timestamps import Clock


class Observing(Struct, frozen=True):
    observers: Sequence[Observer] = ()
    meter: Meter | None = None
    """What the observers' numbers are read by; None: nothing is measured."""


@asynccontextmanager
async def open_observing(
    config: Config,
    keeper: FleetKeeper,
    counters: Counters,
    *,
    tasks: asyncio.TaskGroup,
    clock: Clock,
) -> AsyncGenerator[Observing]:
    """Raises ConfigurationError where OpenTelemetry is asked for and not installed."""
    telemetry = config.telemetry
    observers: list[Observer] = []
    meter = None
    if config.metrics.listen is not None or telemetry.metrics:
        measures = Measures(config.metrics)
        observers.append(measures)
        meter = Meter(
            measures, counters, states=keeper.states, waiting=lambda: keeper.router.waiting
        )
    if not (telemetry.traces or telemetry.metrics):
        yield Observing(observers, meter)
        return
    try:
        from outcrop.metering.telemetry import exported, open_tracing  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise ConfigurationError(_NOT_INSTALLED.format(missing=error.name)) from error
    async with AsyncExitStack() as held:
        if telemetry.traces:
            observers.append(await held.enter_async_context(open_tracing(telemetry, clock=clock)))
        if telemetry.metrics and meter is not None:
            await held.enter_async_context(exported(meter, telemetry, tasks=tasks, clock=clock))
        yield Observing(observers, meter)


_NOT_INSTALLED = (
    "[telemetry] needs OpenTelemetry's SDK ({missing} is not installed):"
    " pip install 'outcrop[otel]'"
)
