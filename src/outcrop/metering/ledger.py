"""The ledger: one usage record for each invocation, on disk before its answer is complete."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from outcrop.metering.budgets import Budgets
from outcrop.metering.config import BudgetConfig, MeteringConfig
from outcrop.metering.importer import Importer
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.journal import Journal, JournalError
from outcrop.metering.prices import FREE, PriceList, Rates
from outcrop.metering.spending import Spending
from outcrop.store.throughput_history import ProvisionedHours
from outcrop.store.usage import Usage
from outcrop.store.usage_records import Outcome, UsageRecord, cost_of, framed
from outcrop.wire.errors import AwsError, ServiceUnavailableException
from outcrop.wire.timestamps import Clock, to_micros

CLIENT_LEFT = 499
"""The status of an invocation whose client did not wait for an answer."""

Tokens: TypeAlias = tuple[int, int, int, int]
"""Input, output, read from a cache, written to one."""

_log = logging.getLogger(__name__)


class Ledger:
    def __init__(
        self,
        journal: Journal,
        prices: PriceList,
        *,
        budgets: Budgets | None = None,
        refuses: bool,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._budgets = budgets
        self._clock = clock
        self.prices = prices
        self.refuses = refuses

    def admit(self) -> None:
        """Before a model is asked: what could not be recorded is not begun, if so configured."""
        if self.refuses and self._journal.failing:
            raise _unwritable()

    async def record(self, invocation: ModelInvocation, error: AwsError | None = None) -> None:
        """Returns when it is on disk; recorded once, however often it is told of.

        Raises ServiceUnavailableException if it cannot be written, if so configured.
        """
        if invocation.recorded:
            return
        invocation.recorded = True
        entry = _Entry(invocation, _end_with(error), self._clock(), self.prices)
        try:
            await self._journal.append(entry.frame)
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
            end = _End("cancelled", 200 if begun else CLIENT_LEFT, None)
            entry = _Entry(invocation, end, self._clock(), self.prices)
            self._journal.append_unawaited(entry.frame)
            self._spend(entry)
            invocation.give_back()

    def _spend(self, entry: "_Entry") -> None:
        if self._budgets is not None and self._budgets.rules:
            self._budgets.add(entry.record)


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
    journal = Journal(folder)
    importer = Importer(journal, folder, usage, config=config, clock=clock)
    refuses = config.when_unwritable == "refuse"
    spending = Spending(usage, provisioned, prices, clock=clock)
    book = Budgets(budgets, spending, importer, clock=clock)
    ledger = Ledger(journal, prices, budgets=book, refuses=refuses, clock=clock)
    running: list[asyncio.Task[None]] = []
    try:
        await book.refresh()
        running += (tasks.create_task(importer.run()), tasks.create_task(book.run()))
        yield Metering(ledger, importer, book, enabled=config.enabled)
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
            self.ledger.prices = prices
            self.ledger.refuses = config.when_unwritable == "refuse"
            self.importer.config = config

        return follow


class _End(NamedTuple):
    outcome: Outcome
    status: int
    error: str | None


class _Entry(NamedTuple):
    """What a record is made of, when it is written."""

    invocation: ModelInvocation
    end: _End
    ended_at: datetime
    prices: PriceList

    @property
    def record(self) -> UsageRecord:
        return _record(self.invocation, self.end, self.ended_at, self.prices)

    def frame(self) -> bytes:
        return framed(self.record)


def _record(
    invocation: ModelInvocation, end: _End, ended_at: datetime, prices: PriceList
) -> UsageRecord:
    caller, began_us = invocation.caller, to_micros(invocation.began_at)
    tokens, estimated = used(invocation)
    rates = _rates(invocation, prices)
    return UsageRecord(
        request_id=invocation.request_id,
        operation=invocation.operation,
        account_id=caller.account_id,
        principal_arn=caller.arn,
        region=caller.region,
        inference_region=invocation.inference_region,
        model_id=invocation.model_id,
        foundation_model_id=invocation.foundation_model_id,
        inference_profile_arn=invocation.inference_profile_arn,
        provisioned_model_arn=invocation.provisioned_model_arn,
        tags=invocation.tags,
        request_metadata=invocation.request_metadata,
        began_at=began_us,
        first_event_us=_since(began_us, invocation.first_event_at),
        duration_us=_since(began_us, ended_at) or 0,
        streamed=invocation.streamed,
        outcome=end.outcome,
        status=end.status,
        error=end.error,
        service_tier=invocation.service_tier,
        resolved_service_tier=invocation.resolved_service_tier,
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        cache_read_input_tokens=tokens[2],
        cache_write_input_tokens=tokens[3],
        estimated=estimated,
        rates=rates,
        cost=cost_of(tokens, rates),
        spilled_over=invocation.spilled_over,
        units_per_minute=invocation.units_per_minute,
    )


def _since(began_us: int, moment: datetime | None) -> int | None:
    """Microseconds. A clock that was set back makes no time negative."""
    return None if moment is None else max(to_micros(moment) - began_us, 0)


def _rates(invocation: ModelInvocation, prices: PriceList) -> Rates | None:
    if invocation.provisioned_model_arn is not None and not invocation.spilled_over:
        return FREE  # its hours are paid for
    if invocation.foundation_model_id is None:
        return None
    return prices.rates(
        invocation.caller.region,
        invocation.profile_id,
        invocation.foundation_model_id,
        invocation.resolved_service_tier or invocation.service_tier,
    )


def used(invocation: ModelInvocation) -> tuple[Tokens, bool]:
    """What was used, and whether that is an estimate."""
    usage, estimated = invocation.usage, False
    if usage is None and invocation.estimate is not None:
        usage, estimated = invocation.estimate(), True
    if usage is None:
        return (0, 0, 0, 0), False
    read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
    return (usage.input_tokens, usage.output_tokens, read, written), estimated


# By the status they are the client's; but it is the model, or its server, that failed.
_THE_MODELS = frozenset(
    {
        "ModelErrorException",
        "ModelNotReadyException",
        "ModelStreamErrorException",
        "ModelTimeoutException",
    }
)


def _end_with(error: AwsError | None) -> _End:
    if error is None:
        return _End("success", 200, None)
    if error.name == "ThrottlingException":
        return _End("throttle", error.status, error.name)
    if error.status >= 500 or error.name in _THE_MODELS:
        return _End("server_error", error.status, error.name)
    return _End("client_error", error.status, error.name)


def _unwritable() -> ServiceUnavailableException:
    return ServiceUnavailableException("Bedrock is unable to process your request.")
