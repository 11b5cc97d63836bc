"""What goes to an OpenTelemetry collector: opened and closed with the server.

Needs the extra `outcrop[otel]`; imported only where it is asked for.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from threading import Thread
from typing import Protocol
from uuid import uuid4

from msgspec import Struct
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from outcrop.metering.config import TelemetryConfig
from outcrop.metering.otlp_metrics import Span, metrics_data
from outcrop.metering.snapshot import Meter
from outcrop.metering.tracing import Tracing
from outcrop.wire.timestamps import Clock, to_micros

# A stop waits no longer for a collector that does not answer.
_CLOSE_S = 0.5

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_tracing(config: TelemetryConfig, *, clock: Clock) -> AsyncGenerator[Tracing]:
    """On leaving, what was not sent yet is."""
    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    processor = _span_processor(config)
    provider.add_span_processor(processor)
    try:
        yield Tracing(provider.get_tracer("outcrop", version("outcrop")), clock)
    finally:
        await _aside(processor.shutdown, within_s=_CLOSE_S)


@asynccontextmanager
async def exported(
    meter: Meter, config: TelemetryConfig, *, tasks: asyncio.TaskGroup, clock: Clock
) -> AsyncGenerator[None]:
    """Metrics of this worker are sent until the block ends, and once more then."""
    exporter = OTLPMetricExporter(_endpoint(config, "metrics"), timeout=config.timeout_s)
    export = MetricsExport(meter, exporter, _resource(), _nanos(clock), clock)
    exporting = tasks.create_task(_again_and_again(export, config))
    try:
        yield
    finally:
        exporting.cancel()
        await export.once(within_s=_CLOSE_S)
        await _aside(export.exporter.shutdown, within_s=_CLOSE_S)


class Exporter(Protocol):
    """OpenTelemetry's, as far as it is needed. Both wait."""

    def export(self, metrics_data: MetricsData) -> object: ...
    def shutdown(self) -> None: ...


class MetricsExport(Struct, frozen=True):
    meter: Meter
    exporter: Exporter
    resource: Resource
    since: int
    clock: Clock

    async def once(self, *, within_s: float) -> None:
        snapshot = await self.meter.read()
        data = metrics_data(snapshot, self.resource, Span(self.since, _nanos(self.clock)))
        await _aside(lambda: self.exporter.export(data), within_s=within_s)


async def _again_and_again(export: MetricsExport, config: TelemetryConfig) -> None:
    while True:
        await asyncio.sleep(config.metrics_every_s)
        await export.once(within_s=config.timeout_s)


def _span_processor(config: TelemetryConfig) -> SpanProcessor:
    endpoint = _endpoint(config, "traces")
    return BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=config.timeout_s))


def _endpoint(config: TelemetryConfig, signal: str) -> str | None:
    """None: as the environment says."""
    return None if config.endpoint is None else f"{config.endpoint.rstrip('/')}/v1/{signal}"


def _resource() -> Resource:
    """Ours, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say something else."""
    said = Resource.create()
    own = {SERVICE_INSTANCE_ID: str(uuid4()), "service.version": version("outcrop")}
    if str(said.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return said.merge(Resource({**own, SERVICE_NAME: "outcrop"}))
    return Resource(own).merge(said)


def _nanos(clock: Clock) -> int:
    return to_micros(clock()) * 1_000


async def _aside(work: Callable[[], object], *, within_s: float) -> None:
    """In a thread of its own, which is left to itself when it takes too long."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - a collector's troubles end no server that answers
            _log.exception("telemetry could not be sent")
        with suppress(RuntimeError):  # the loop may have closed
            loop.call_soon_threadsafe(done.set)

    Thread(target=run, name="telemetry", daemon=True).start()
    try:
        async with asyncio.timeout(within_s):
            await done.wait()
    except TimeoutError:
        _log.warning("telemetry: the collector takes too long")
