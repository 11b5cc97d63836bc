"""What the product is made of: opened in order, closed in reverse."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from outcrop.counters.limit import Counters
from outcrop.counters.local import LocalCounters
from outcrop.fleet.embedded import EmbeddedSettings
from outcrop.fleet.fleet_keeper import FleetKeeper, Others, open_fleet
from outcrop.fleet.leases import Leases, Split
from outcrop.fleet.shared_health import SharedHealth
from outcrop.metering.audit import AuditTrail
from outcrop.metering.delivery.deliverer import open_deliverer
from outcrop.metering.delivery.destinations import Destinations
from outcrop.metering.importer import LogSpool
from outcrop.metering.invocation_log import InvocationLog
from outcrop.metering.opening import Metering, open_ledger
from outcrop.metering.prices import PriceList
from outcrop.server.clock import steady_clock
from outcrop.server.config import Config, ConfigurationError
from outcrop.server.observing import Observing, open_observing
from outcrop.store.store import Store, open_store
from outcrop.wire.timestamps import Clock


class Parts(Struct, frozen=True, kw_only=True):
    """They stay for as long as the process lives; a new configuration is followed by them."""

    store: Store
    counters: Counters
    keeper: FleetKeeper
    metering: Metering
    observing: Observing
    invocation_logging: "InvocationLogging"
    audit: AuditTrail | None
    tasks: asyncio.TaskGroup
    clock: Clock


@asynccontextmanager
async def open_parts(config: Config, *, clock: Clock, keeps_books: bool) -> AsyncGenerator[Parts]:
    """Raises what the store, the fleet, Valkey and the configuration have to say against it.

    `keeps_books`: whether what is recorded is imported and delivered here, or by a bookkeeper.
    """
    async with (
        asyncio.TaskGroup() as tasks,
        open_store(config.database_url or config.sqlite_path, clock=clock) as store,
        open_counters(config, clock=steady_clock(), tasks=tasks) as (counters, others),
        _open_fleet(config, others, tasks=tasks, clock=clock) as keeper,
        # Before what is written down for it: so it ends after that has been handed over.
        _open_invocation_log(
            config, store, keeps_books=keeps_books, tasks=tasks, clock=clock
        ) as invocation_logging,
        open_audit_trail(config, clock=clock) as audit,
        _open_ledger(
            config, store, audit, keeps_books=keeps_books, tasks=tasks, clock=clock
        ) as metering,
        open_observing(config, keeper, counters, tasks=tasks, clock=clock) as observing,
    ):
        yield Parts(
            store=store,
            counters=counters,
            keeper=keeper,
            metering=metering,
            observing=observing,
            invocation_logging=invocation_logging,
            audit=audit,
            tasks=tasks,
            clock=clock,
        )


class Counting(NamedTuple):
    counters: Counters
    others: Others


@asynccontextmanager
async def open_counters(
    config: Config, *, clock: Clock, tasks: asyncio.TaskGroup
) -> AsyncGenerator[Counting]:
    """Of this process alone, or in Valkey with all the others. `clock` does not leap.

    Raises InvalidValkeyConfigError.
    """
    if config.valkey.url is None:
        yield Counting(LocalCounters(clock), Others(sharing=Split(config.workers)))
        return
    # Its client takes 7 MB, which a server that counts by itself need not have.
    from outcrop.counters.valkey import open_valkey  # noqa: PLC0415

    async with open_valkey(
        config.valkey, os.environ, workers=config.workers, clock=clock, tasks=tasks
    ) as counters:
        share = config.valkey.when_lost == "local_share"
        leases = Leases(counters, workers=config.workers, share_when_lost=share)
        health = SharedHealth(counters.facts, counters.worker)
        yield Counting(counters, Others(sharing=leases, health=health))


def _open_fleet(
    config: Config, others: Others, *, tasks: asyncio.TaskGroup, clock: Clock
) -> AbstractAsyncContextManager[FleetKeeper]:
    """Raises ConfigurationError or InvalidFleetConfigError."""
    own = config.embedded.model_path
    if config.embedded.enabled and own is not None and not Path(own).is_file():
        raise ConfigurationError(f"embedded.model_path = {own}: there is no such file")
    return open_fleet(
        config.model_servers,
        EmbeddedSettings(config=config.embedded, state=config.state, cache=config.cache),
        custom_models=config.custom_models,
        routing=config.routing,
        others=others,
        environ=os.environ,
        tasks=tasks,
        clock=clock,
    )


@asynccontextmanager
async def open_audit_trail(config: Config, *, clock: Clock) -> AsyncGenerator[AuditTrail | None]:
    """None where nobody wants one. Raises OSError where its file cannot be written."""
    if config.audit.file is None:
        yield None
        return
    trail = AuditTrail(config.audit.file, config.audit, clock=clock)
    try:
        yield trail
    finally:
        trail.close()


def _open_ledger(
    config: Config,
    store: Store,
    audit: AuditTrail | None,
    *,
    keeps_books: bool,
    tasks: asyncio.TaskGroup,
    clock: Clock,
) -> AbstractAsyncContextManager[Metering]:
    return open_ledger(
        config.journal_folder,
        store.usage,
        store.provisioned_hours,
        config=config.metering,
        prices=PriceList(config.prices),
        budgets=config.budgets,
        log=LogSpool(config.invocation_log_folder, config.invocation_logging.batch_s),
        audit=audit,
        imports=keeps_books,
        tasks=tasks,
        clock=clock,
    )


class InvocationLogging(NamedTuple):
    log: InvocationLog
    to: Destinations


@asynccontextmanager
async def _open_invocation_log(
    config: Config, store: Store, *, keeps_books: bool, tasks: asyncio.TaskGroup, clock: Clock
) -> AsyncGenerator[InvocationLogging]:
    """Raises InvalidLoggingConfigError, StoreError."""
    log = InvocationLog(store.logging_configurations)
    async with open_deliverer(
        config.invocation_log_folder,
        config.invocation_logging,
        usage=store.usage,
        environ=os.environ,
        clock=clock,
    ) as delivering:
        await log.refresh()
        running = [tasks.create_task(log.keep_fresh())]
        if keeps_books:
            running.append(tasks.create_task(delivering.deliverer.run()))
        try:
            yield InvocationLogging(log, delivering.to)
        finally:
            for task in running:
                task.cancel()
