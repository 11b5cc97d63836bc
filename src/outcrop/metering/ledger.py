"""The ledger: one usage record for each invocation, on disk before its answer is complete."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from msgspec import Struct

from outcrop.metering.config import MeteringConfig
from outcrop.metering.importer import Importer
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.journal import Journal, JournalError
from outcrop.metering.prices import FREE, PriceList
from outcrop.store.usage import Usage
from outcrop.store.usage_records import Outcome, UsageRecord, cost_of, framed
from outcrop.wire.errors import AwsError, ServiceUnavailableException
from outcrop.wire.shapes.bedrock_runtime import TokenUsage
from outcrop.wire.timestamps import Clock, to_micros

CLIENT_LEFT = 499
"""The status of an invocation whose client did not wait for an answer."""

_log = logging.getLogger(__name__)


class Ledger:
    def __init__(self, journal: Journal, prices: PriceList, *, refuses: bool, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._in_progress = 0
        self.prices = prices
        self.refuses = refuses

    def admit(self) -> None:
        """Before a model is asked: what could not be recorded is not begun, if so configured."""
        if self.refuses and self._journal.failing:
            raise _unwritable()
        self._in_progress += 1

    async def record(self, invocation: ModelInvocation, error: AwsError | None = None) -> None:
        """Returns when it is on disk; recorded once, however often it is told of.

        Raises ServiceUnavailableException if it cannot be written, if so configured.
        """
        if invocation.recorded:
            return
        self._close(invocation)
        outcome, status = _outcome_of(error)
        record = self._record(invocation, outcome, status, error.name if error else None)
        try:
            await self._journal.append(framed(record), more_to_come=self._in_progress > 0)
        except JournalError as failure:
            if self.refuses:
                raise _unwritable() from failure

    def record_cut_off(self, invocation: ModelInvocation) -> None:
        """Of a client that left before its answer was complete: there is nobody to wait for."""
        if not invocation.recorded:
            self._close(invocation)
            begun = invocation.streamed and invocation.first_event_at is not None
            status = 200 if begun else CLIENT_LEFT
            record = self._record(invocation, "cancelled", status, None)
            self._journal.append_unawaited(framed(record))

    def _close(self, invocation: ModelInvocation) -> None:
        invocation.recorded = True
        self._in_progress -= 1

    def _record(
        self, invocation: ModelInvocation, outcome: Outcome, status: int, error: str | None
    ) -> UsageRecord:
        caller, began_at = invocation.caller, invocation.began_at
        usage, estimated = used(invocation)
        tokens = (
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_input_tokens or 0,
            usage.cache_write_input_tokens or 0,
        )
        rates = self._rates(invocation)
        began_us, first = to_micros(began_at), invocation.first_event_at
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
            first_event_us=None if first is None else max(to_micros(first) - began_us, 0),
            # A clock that was set back makes no time negative.
            duration_us=max(to_micros(self._clock()) - began_us, 0),
            streamed=invocation.streamed,
            outcome=outcome,
            status=status,
            error=error,
            service_tier=invocation.service_tier,
            resolved_service_tier=invocation.resolved_service_tier,
            input_tokens=tokens[0],
            output_tokens=tokens[1],
            cache_read_input_tokens=tokens[2],
            cache_write_input_tokens=tokens[3],
            estimated=estimated,
            rates=rates,
            cost=cost_of(tokens, rates),
        )

    def _rates(self, invocation: ModelInvocation) -> tuple[int, int, int, int] | None:
        if invocation.provisioned_model_arn is not None:
            return FREE  # its hours are paid for
        if invocation.foundation_model_id is None:
            return None
        return self.prices.rates(
            invocation.caller.region,
            invocation.profile_id,
            invocation.foundation_model_id,
            invocation.resolved_service_tier or invocation.service_tier,
        )


@asynccontextmanager
async def open_ledger(
    folder: Path,
    usage: Usage,
    *,
    config: MeteringConfig,
    prices: PriceList,
    tasks: asyncio.TaskGroup,
    clock: Clock,
) -> AsyncGenerator["Metering"]:
    """Records, and brings into the store, until the block ends; then all of it is in the store."""
    journal = Journal(folder)
    keep = timedelta(days=config.keep_records_days)
    importer = Importer(journal, folder, usage, keep_records=keep, clock=clock)
    refuses = config.when_unwritable == "refuse"
    ledger = Ledger(journal, prices, refuses=refuses, clock=clock)
    importing = tasks.create_task(importer.run())
    try:
        yield Metering(ledger, importer)
    finally:
        importing.cancel()
        await journal.settled()
        try:
            await importer.once()
        except Exception as error:  # noqa: BLE001 - the next server takes the journal up
            _log.warning("usage stays in the journal: %s", error)
        await journal.aclose()


class Metering(Struct, frozen=True):
    ledger: Ledger
    importer: Importer

    def follow(self, config: MeteringConfig, prices: PriceList) -> None:
        """Another configuration; what is recorded keeps the price it had."""
        self.ledger.prices = prices
        self.ledger.refuses = config.when_unwritable == "refuse"
        self.importer.keep_records = timedelta(days=config.keep_records_days)


def used(invocation: ModelInvocation) -> tuple[TokenUsage, bool]:
    """What was used, and whether that is an estimate."""
    if invocation.usage is not None:
        return invocation.usage, False
    if invocation.estimate is not None:
        return invocation.estimate(), True
    return _NOTHING, False


_NOTHING = TokenUsage(input_tokens=0, output_tokens=0, total_tokens=0)

# By the status they are the client's; but it is the model, or its server, that failed.
_THE_MODELS = frozenset(
    {
        "ModelErrorException",
        "ModelNotReadyException",
        "ModelStreamErrorException",
        "ModelTimeoutException",
    }
)


def _outcome_of(error: AwsError | None) -> tuple[Outcome, int]:
    if error is None:
        return "success", 200
    if error.name == "ThrottlingException":
        return "throttle", error.status
    if error.status >= 500 or error.name in _THE_MODELS:
        return "server_error", error.status
    return "client_error", error.status


def _unwritable() -> ServiceUnavailableException:
    return ServiceUnavailableException("Bedrock is unable to process your request.")
