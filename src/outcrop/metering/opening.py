"""Metering as a whole: opened in order, and closed when all of it is in the store."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from outcrop.metering.audit import AuditTrail
from outcrop.metering.budgets import Budgets
from outcrop.metering.config import BudgetConfig, MeteringConfig
from outcrop.metering.entries import Entries
from outcrop.metering.importer import Importer, LogSpool
from outcrop.metering.journal import Journal
from outcrop.metering.ledger import Ledger
from outcrop.metering.prices import PriceList
from outcrop.metering.spending import Spending
from outcrop.metering.tending import tend
from outcrop.store.throughput_history import ProvisionedHours
from outcrop.store.usage import Usage
from outcrop.wire.timestamps import Clock

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_ledger(  # noqa: PLR0913 - each by its name
    folder: Path,
    usage: Usage,
    provisioned: ProvisionedHours,
    *,
    config: MeteringConfig,
    prices: PriceList,
    budgets: Sequence[BudgetConfig] = (),
    log: LogSpool,
    audit: AuditTrail | None = None,
    imports: bool,
    tasks: asyncio.TaskGroup,
    clock: Clock,
) -> AsyncGenerator["Metering"]:
    """Records until the block ends; then all of it is in the store.

    `imports`: whether it is this process that brings into the store, in the meantime, what is
    recorded.
    """
    entries = Entries(prices, clock=clock, meters=config.enabled)
    # Before their answers go out.
    written = None if audit is None else audit.add_invocations
    journal = Journal(folder, entries.packed, written=written)
    importer = Importer(folder, usage, config=config, log=log, clock=clock)
    refuses = config.when_unwritable == "refuse"
    spending = Spending(usage, provisioned, prices, clock=clock)
    book = Budgets(budgets, spending, importer, clock=clock)
    ledger = Ledger(journal, entries, budgets=book, refuses=refuses)
    running: list[asyncio.Task[None]] = []
    try:
        await book.refresh()
        running += (tasks.create_task(tend(journal, entries, log)), tasks.create_task(book.run()))
        if imports:
            running.append(tasks.create_task(importer.run()))
        yield Metering(ledger, entries, importer, book, enabled=config.enabled)
    finally:
        for task in running:
            task.cancel()
        await journal.aclose()
        try:
            await importer.once()
        except Exception as error:  # noqa: BLE001 - the next server takes the journal up
            _log.warning("usage stays in the journal: %s", error)


class Metering(Struct, frozen=True):
    ledger: Ledger
    entries: Entries
    importer: Importer
    budgets: Budgets
    enabled: bool
    """At the start. Without records, nothing would give back what budgets hold."""

    async def prepared(
        self, config: MeteringConfig, prices: PriceList, budgets: Sequence[BudgetConfig]
    ) -> Callable[[], None]:
        """What makes another configuration hold; what is recorded keeps the price it had.

        Raises StoreError, and then nothing has changed.
        """
        follow_budgets = await self.budgets.prepared(budgets, prices)

        def follow() -> None:
            follow_budgets()
            self.entries.prices = prices
            self.ledger.refuses = config.when_unwritable == "refuse"
            self.importer.config = config

        return follow
