"""The ledger: one usage record for each invocation, on disk before its answer is complete."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from outcrop.metering.budgets import Budgets
from outcrop.metering.config import BudgetConfig, MeteringConfig
from outcrop.metering.entries import SUCCESS, End, Entries, Entry
from outcrop.metering.importer import Importer
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.journal import Journal, JournalError
from outcrop.metering.prices import PriceList
from outcrop.metering.spending import Spending
from outcrop.store.throughput_history import ProvisionedHours
from outcrop.store.usage import Usage
from outcrop.wire.errors import AwsError, ServiceUnavailableException
from outcrop.wire.timestamps import Clock

CLIENT_LEFT = 499
"""The status of an invocation whose client did not wait for an answer."""

_log = logging.getLogger(__name__)


class Ledger:
    def __init__(
        self,
        journal: Journal[Entry],
        entries: Entries,
        *,
        budgets: Budgets | None = None,
        refuses: bool,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._budgets = budgets
        self._clock = clock
        self._entries = entries
        self.refuses = refuses

    def admit(self) -> None:
        """Before a model is asked: what could not be recorded is not begun, if so configured."""
        if self.refuses and self._journal.failing:
            raise _unwritable()

    def began(self) -> None:
        """Of an invocation that will be told of once more, when it has ended."""
        self._journal.expect()

    async def record(self, invocation: ModelInvocation, error: AwsError | None = None) -> None:
        """Returns when it is on disk; recorded once, however often it is told of.

        Raises ServiceUnavailableException if it cannot be written, if so configured.
        """
        if invocation.recorded:
            return
        invocation.recorded = True
        end = SUCCESS if error is None else _end_with(error)
        entry = Entry(invocation, end, self._clock())
        try:
            await self._journal.append(entry)
        except JournalError as failure:
            if self.refuses:
                raise _unwritable() from failure
        else:
            self._spend(entry)
        finally:
            invocation.give_back()

    def record_cut_off(self, invocation: ModelInvocation) -> None:
        """Of a client that left before its answer was complete: there is nobody to wait for."""
        if not invocation.recorded:
            invocation.recorded = True
            begun = invocation.streamed and invocation.first_event_at is not None
            end = End("cancelled", 200 if begun else CLIENT_LEFT, None)
            entry = Entry(invocation, end, self._clock())
            self._journal.append_unawaited(entry)
            self._spend(entry)
            invocation.give_back()

    def _spend(self, entry: Entry) -> None:
        if self._budgets is not None and self._budgets.rules:
            self._budgets.add(self._entries.record(entry))


@asynccontextmanager
async def open_ledger(  # noqa: PLR0913 - each by its name
    folder: Path,
    usage: Usage,
    provisioned: ProvisionedHours,
    *,
    config: MeteringConfig,
    prices: PriceList,
    budgets: Sequence[BudgetConfig] = (),
    tasks: asyncio.TaskGroup,
    clock: Clock,
) -> AsyncGenerator["Metering"]:
    """Records, and brings into the store, until the block ends; then all of it is in the store."""
    entries = Entries(prices)
    journal = Journal(folder, entries.packed)
    importer = Importer(journal, folder, usage, config=config, clock=clock)
    refuses = config.when_unwritable == "refuse"
    spending = Spending(usage, provisioned, prices, clock=clock)
    book = Budgets(budgets, spending, importer, clock=clock)
    ledger = Ledger(journal, entries, budgets=book, refuses=refuses, clock=clock)
    running: list[asyncio.Task[None]] = []
    try:
        await book.refresh()
        running += (tasks.create_task(importer.run()), tasks.create_task(book.run()))
        yield Metering(ledger, entries, importer, book, enabled=config.enabled)
    finally:
        for task in running:
            task.cancel()
        await journal.settled()
        try:
            await importer.once()
        except Exception as error:  # noqa: BLE001 - the next server takes the journal up
            _log.warning("usage stays in the journal: %s", error)
        await journal.aclose()


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


# By the status they are the client's; but it is the model, or its server, that failed.
_THE_MODELS = frozenset(
    {
        "ModelErrorException",
        "ModelNotReadyException",
        "ModelStreamErrorException",
        "ModelTimeoutException",
    }
)


def _end_with(error: AwsError) -> End:
    if error.name == "ThrottlingException":
        return End("throttle", error.status, error.name)
    if error.status >= 500 or error.name in _THE_MODELS:
        return End("server_error", error.status, error.name)
    return End("client_error", error.status, error.name)


def _unwritable() -> ServiceUnavailableException:
    return ServiceUnavailableException("Bedrock is unable to process your request.")
