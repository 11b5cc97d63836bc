"""The ledger and its journal: on disk before anybody is told."""

import asyncio
import resource
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from datetime import timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter
from types import NoneType
from typing import NamedTuple

import pytest

from outcrop.metering.config import MeteringConfig, Price
from outcrop.metering.entries import Entries
from outcrop.metering.importer import LogSpool
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.journal import Journal, JournalError, Seconds
from outcrop.metering.ledger import Ledger
from outcrop.metering.opening import open_ledger
from outcrop.metering.prices import PriceList
from outcrop.metering.tags import TagMemory
from outcrop.store.store import open_store
from outcrop.store.usage_records import UsageRecord, batches_in, records_in, whole_frames
from outcrop.wire.errors import (
    AwsError,
    ModelStreamErrorException,
    ServiceUnavailableException,
    ThrottlingException,
    ValidationException,
)
from outcrop.wire.shapes.bedrock_runtime import TokenUsage
from tests.clocks import FakeClock
from tests.metering.records import ACCOUNT, MODEL
from tests.runtime.requests import invocation

USED = TokenUsage(input_tokens=1_000, output_tokens=10, total_tokens=1_010)


def on_disk(folder: Path) -> list[UsageRecord]:
    files = [path.read_bytes() for path in folder.glob("*.journal")]
    return [found for data in files for found in records_in(data[: whole_frames(data)])]


class Opened(NamedTuple):
    ledger: Ledger
    journal: Journal[ModelInvocation]


@asynccontextmanager
async def opened(
    folder: Path,
    clock: FakeClock,
    *,
    refuses: bool = True,
    spare_bytes: int = 0,
    seconds: Seconds = perf_counter,
) -> AsyncGenerator[Opened]:
    entries = Entries(PriceList(), clock=clock)
    journal = Journal(folder, entries.packed, spare_bytes=spare_bytes, seconds=seconds)
    try:
        yield Opened(Ledger(journal, entries, refuses=refuses), journal)
    finally:
        await journal.aclose()


def answered(clock: FakeClock) -> ModelInvocation:
    made = invocation()
    made.began_at = clock()
    clock.advance(seconds=2)
    made.first_event_at = clock()
    made.model_id = made.foundation_model_id = MODEL
    return made


def recorded(
    folder: Path, made: ModelInvocation, clock: FakeClock, error: AwsError | None = None
) -> UsageRecord:
    async def main() -> None:
        async with opened(folder, clock) as (ledger, _):
            await ledger.record(made, error)
            await ledger.record(made, error)
            ledger.record_cut_off(made)

    asyncio.run(main())
    (found,) = on_disk(folder)
    return found


def test_what_is_recorded_is_on_disk_and_only_once(tmp_path: Path, clock: FakeClock) -> None:
    made = answered(clock)
    made.usage = USED

    found = recorded(tmp_path, made, clock)

    assert (found.outcome, found.status, found.estimated) == ("success", 200, False)
    assert (found.input_tokens, found.output_tokens) == (1_000, 10)
    assert (found.first_event_us, found.duration_us) == (2_000_000, 2_000_000)
    assert found.cost == 62_400_000  # 0.00006 + 0.0000024 dollars


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ThrottlingException("slow down"), "throttle"),
        (ValidationException("no"), "client_error"),
        (ServiceUnavailableException("gone"), "server_error"),
        (ModelStreamErrorException("broke"), "server_error"),
    ],
)
def test_errors_are_recorded_as_what_they_are(
    tmp_path: Path, clock: FakeClock, error: AwsError, outcome: str
) -> None:
    found = recorded(tmp_path, answered(clock), clock, error)

    assert (found.outcome, found.status, found.error) == (outcome, error.status, error.name)


def test_an_answer_that_broke_off_is_estimated(tmp_path: Path, clock: FakeClock) -> None:
    made = answered(clock)
    made.estimate = lambda: USED

    found = recorded(tmp_path, made, clock, ModelStreamErrorException("broke"))

    assert (found.estimated, found.output_tokens) == (True, 10)


def test_what_is_provisioned_costs_by_the_hour_and_not_by_the_token(
    tmp_path: Path, clock: FakeClock
) -> None:
    made = answered(clock)
    made.usage, made.provisioned_model_arn = USED, "arn:aws:bedrock:…:provisioned-model/x"

    assert recorded(tmp_path, made, clock).cost == 0


def test_what_spilled_over_is_priced_on_demand(tmp_path: Path, clock: FakeClock) -> None:
    made = answered(clock)
    made.usage, made.provisioned_model_arn = USED, "arn:aws:bedrock:…:provisioned-model/x"
    made.spilled_over, made.resolved_service_tier = True, "default"
    made.inference_region, made.units_per_minute = "us-west-2", (100, 50)

    found = recorded(tmp_path, made, clock)

    assert (found.spilled_over, found.cost) == (True, 62_400_000)
    assert (found.inference_region, found.resolved_service_tier) == ("us-west-2", "default")
    assert found.units_per_minute == (100, 50)


@pytest.mark.parametrize("refuses", [True, False])
def test_a_disk_that_takes_nothing_refuses_or_serves_and_recovers(
    tmp_path: Path, clock: FakeClock, *, refuses: bool
) -> None:
    async def main() -> None:
        async with opened(tmp_path, clock, refuses=refuses) as (ledger, journal):
            await ledger.record(answered(clock))

            unwritable = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (300, unwritable[1]))
            try:
                with expected_to_refuse(refuses):
                    await ledger.record(answered(clock))
                with expected_to_refuse(refuses):
                    ledger.admit()
                assert journal.failing
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, unwritable)

            journal.look_for_room()
            await journal.settled()
            ledger.admit()
            await ledger.record(answered(clock))

    asyncio.run(main())
    assert len(on_disk(tmp_path)) == 2


def expected_to_refuse(refuses: bool) -> AbstractContextManager[object]:  # noqa: FBT001
    return pytest.raises(ServiceUnavailableException) if refuses else nullcontext()


def test_a_disk_that_is_nearly_full_refuses_before_a_model_is_asked(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        async with opened(tmp_path, clock, spare_bytes=1 << 62) as (ledger, journal):
            journal.look_for_room()
            # What was begun before is recorded, and changes nothing.
            await ledger.record(answered(clock))
            with pytest.raises(ServiceUnavailableException):
                ledger.admit()

    asyncio.run(main())
    assert len(on_disk(tmp_path)) == 1


@pytest.mark.parametrize("write_s", [0.0, 1.0])
def test_whoever_is_cancelled_leaves_the_others_alone(
    tmp_path: Path, clock: FakeClock, write_s: float
) -> None:
    """Whether the loop waits for the disk, or a thread for one that is slow."""

    async def main() -> None:
        seconds = partial(next, count(0, write_s))
        async with opened(tmp_path, clock, seconds=seconds) as (ledger, _):
            for _ in range(5):
                async with asyncio.TaskGroup() as tasks:
                    waiting = [tasks.create_task(ledger.record(answered(clock))) for _ in range(20)]
                    await asyncio.sleep(0)
                    waiting[3].cancel()

    asyncio.run(main())
    assert len(on_disk(tmp_path)) == 100


def test_those_who_end_together_share_a_write_and_what_they_have_in_common(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        async with opened(tmp_path, clock) as (ledger, _):
            calls = [answered(clock) for _ in range(8)]
            for call in calls:
                ledger.began(call)
            await asyncio.gather(*map(ledger.record, calls))

    asyncio.run(main())
    (path,) = tmp_path.glob("*.journal")
    data = path.read_bytes()
    assert [len(calls.request_id) for calls in batches_in(data)] == [8]
    assert len(data) < 8 * 120


def test_who_is_alone_or_the_last_does_not_wait_for_others(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        async with opened(tmp_path, clock, seconds=lambda: 0.0) as (ledger, _):
            await ledger.record(answered(clock))  # begins a file
            call = answered(clock)
            ledger.began(call)
            alone = ledger.record(call)
            with pytest.raises(StopIteration):
                alone.send(None)  # ends without having waited once

    asyncio.run(main())


def test_one_that_cannot_be_recorded_leaves_the_others_alone(
    tmp_path: Path, clock: FakeClock
) -> None:
    def estimate() -> TokenUsage:
        raise LookupError("no such tokenizer")

    async def main() -> None:
        broken = answered(clock)
        broken.estimate = estimate
        async with opened(tmp_path, clock) as (ledger, _):
            ended = await asyncio.gather(
                ledger.record(answered(clock)),
                ledger.record(broken),
                ledger.record(answered(clock)),
                return_exceptions=True,
            )
        assert [type(one) for one in ended] == [NoneType, LookupError, NoneType]

    asyncio.run(main())
    assert len(on_disk(tmp_path)) == 2


def test_everything_is_in_the_store_when_the_ledger_has_closed(
    location: str, tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        own = PriceList([Price(model=MODEL, input_per_1k=Decimal(1))])
        async with open_store(location, clock=clock) as store, asyncio.TaskGroup() as tasks:
            async with open_ledger(
                tmp_path,
                store.usage,
                store.provisioned_hours,
                config=MeteringConfig(),
                prices=own,
                log=LogSpool(tmp_path / "log", 1),
                imports=True,
                tasks=tasks,
                clock=clock,
            ) as metering:
                made = answered(clock)
                made.usage = USED
                await metering.ledger.record(made)
                metering.ledger.record_cut_off(answered(clock))

            day = timedelta(days=1)
            found = await store.usage.records(ACCOUNT, start=clock() - day, end=clock() + day)
            assert [(one.outcome, one.cost) for one in found] == [
                ("success", 10**12),
                ("cancelled", 0),
            ]

    asyncio.run(main())


def test_a_journal_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        journal = Journal(tmp_path / "journal", b"".join)
        (tmp_path / "journal").rmdir()
        with pytest.raises(JournalError):
            await journal.append(b"x")
        await journal.aclose()

    asyncio.run(main())


def test_tags_are_asked_for_once_a_second() -> None:
    async def main() -> None:
        asked: list[str] = []

        async def tags_of(arn: str) -> tuple[tuple[str, str], ...]:
            asked.append(arn)
            return (("team", "blue"),)

        memory = TagMemory(tags_of)

        assert [await memory("a"), await memory("a"), await memory("b")] == [
            (("team", "blue"),)
        ] * 3
        assert asked == ["a", "b"]

    asyncio.run(main())
