"""From journals into the store, exactly once; what was said goes on to its log."""

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from outcrop.metering.config import MeteringConfig
from outcrop.metering.importer import Importer, LogSpool
from outcrop.metering.journal import Journal
from outcrop.metering.log_records import said_frame
from outcrop.metering.tending import tend
from outcrop.store.store import Store, open_store
from outcrop.store.usage import MetricName
from outcrop.store.usage_records import UsageRecord, batches_in, framed, whole_frames
from tests.clocks import FakeClock
from tests.metering.records import ACCOUNT, REGION, record


@asynccontextmanager
async def importing(
    store: Store,
    folder: Path,
    clock: FakeClock,
    *,
    segment_bytes: int = 1 << 20,
    log: LogSpool | None = None,
) -> AsyncGenerator[tuple[Journal[bytes], Importer]]:
    journal = Journal[bytes](folder, b"".join, segment_bytes=segment_bytes)
    importer = Importer(
        folder,
        store.usage,
        config=MeteringConfig(),
        log=log or LogSpool(folder.parent / "log", 1),
        clock=clock,
    )
    try:
        yield journal, importer
    finally:
        await journal.aclose()


async def kept(store: Store, clock: FakeClock) -> list[str]:
    day = timedelta(days=1)
    found = await store.usage.records(ACCOUNT, start=clock() - day, end=clock() + day)
    return [one.request_id for one in found]


def test_what_is_older_than_it_is_kept_is_forgotten_by_the_day(
    tmp_path: Path, clock: FakeClock
) -> None:
    minutes = MetricName(name="Invocations", dimensions=())

    async def main() -> None:
        async with (
            open_store(tmp_path / "outcrop.sqlite3", clock=clock) as store,
            importing(store, tmp_path / "journal", clock) as (journal, importer),
        ):
            await journal.append(framed(record(clock)))
            await importer.once()

            async def points() -> int:
                since = clock() - timedelta(days=200)
                found = await store.usage.metric(
                    ACCOUNT, REGION, minutes, start=since, end=clock(), period_s=60
                )
                return len(found)

            left: list[tuple[int, int]] = []
            for days in (1, 62, 1, 26, 1):  # 63 days for minutes, 90 for records
                clock.advance(days=days)
                await importer.forget()
                found = await store.usage.records(
                    ACCOUNT, start=clock() - timedelta(days=200), end=clock()
                )
                left.append((await points(), len(found)))
            assert left == [(1, 1), (1, 1), (0, 1), (0, 1), (0, 0)]

    asyncio.run(main())


@pytest.mark.slow
def test_what_is_in_the_journal_comes_into_the_store_once(
    location: str, tmp_path: Path, clock: FakeClock
) -> None:
    """Through many files, while more is appended."""

    async def main() -> None:
        folder = tmp_path / "journal"
        records = [record(clock) for _ in range(200)]
        async with open_store(location, clock=clock) as store:
            async with importing(store, folder, clock, segment_bytes=2_000) as (journal, importer):
                for one in records:
                    await journal.append(framed(one))
                    if one.request_id.endswith("7"):
                        await importer.once()
                await importer.once()
                await importer.once()

            assert sorted(await kept(store, clock)) == sorted(one.request_id for one in records)
            assert len(list(folder.iterdir())) <= 1

    asyncio.run(main())


def usage_and_what_was_said(one: UsageRecord) -> bytes:
    said = "application/json", b"{}", b"{}"
    return framed(one) + said_frame(b"", b"", [said])


def in_log(folder: Path) -> list[str]:
    """The requests of which something was said, as their log has them."""
    files = [path.read_bytes() for path in sorted((folder / "log").glob("*.journal"))]
    return sorted(
        request_id
        for data in files
        for calls in batches_in(data)
        for request_id in calls.request_id
        if whole_frames(data) == len(data)
    )


def test_what_was_said_goes_on_to_its_log_when_its_usage_is_in_the_store(
    tmp_path: Path, clock: FakeClock
) -> None:
    """However much of it there is in a file, and files of which nothing was said stay away."""

    async def main() -> None:
        records = [record(clock) for _ in range(40)]
        quiet = record(clock)
        async with (
            open_store(tmp_path / "outcrop.sqlite3", clock=clock) as store,
            importing(store, tmp_path / "journal", clock) as (journal, importer),
        ):
            await journal.append(framed(quiet))
            journal.seal()
            await importer.once()
            assert in_log(tmp_path) == []

            async with asyncio.TaskGroup() as tasks:
                for number, one in enumerate(records):
                    tasks.create_task(append(journal, usage_and_what_was_said(one)))
                    if number % 7 == 0:
                        await asyncio.sleep(0)
                        await importer.once()
                        journal.seal()
            journal.seal()
            await importer.once()
            await importer.once()

            wanted = sorted(one.request_id for one in records)
            assert in_log(tmp_path) == wanted
            assert sorted(await kept(store, clock)) == sorted([*wanted, quiet.request_id])
            assert list((tmp_path / "journal").iterdir()) == []

    asyncio.run(main())


async def append(journal: Journal[bytes], frames: bytes) -> None:
    await journal.append(frames)


@pytest.mark.parametrize("imported", [False, True])
def test_what_a_dead_worker_had_said_goes_to_the_log_and_counts_once(
    tmp_path: Path, clock: FakeClock, *, imported: bool
) -> None:
    """Whether it died before its usage was in the store, or before it could hand the rest on."""

    async def main() -> None:
        one, folder = record(clock), tmp_path / "journal"
        data = usage_and_what_was_said(one)
        folder.mkdir()
        (folder / "dead.journal").write_bytes(data + bytes(4_096))
        async with open_store(tmp_path / "outcrop.sqlite3", clock=clock) as store:
            if imported:
                assert await store.usage.add("dead", 0, framed(one), until=len(data))
            async with importing(store, folder, clock) as (_, importer):
                await importer.once()

            assert await kept(store, clock) == [one.request_id]
        assert (tmp_path / "log" / "dead.journal").read_bytes() == data
        assert list(folder.iterdir()) == []

    asyncio.run(main())


def test_a_file_is_sealed_so_long_after_something_was_said_in_it(
    tmp_path: Path, clock: FakeClock
) -> None:
    """Without that, it stays until it is full."""
    now, in_log_at = [0.0], list[float]()
    entries, log = Said(), LogSpool(tmp_path / "log", batch_s=3)

    async def main() -> None:
        async with (
            open_store(tmp_path / "outcrop.sqlite3", clock=clock) as store,
            importing(store, tmp_path / "journal", clock, log=log) as (journal, importer),
        ):
            await journal.append(framed(record(clock)))

            async def sleep(seconds: float) -> None:
                if now[0] == 10:
                    await journal.append(usage_and_what_was_said(record(clock)))
                    entries.said = True
                await importer.once()
                if in_log(tmp_path) or now[0] > 60:
                    in_log_at.append(now[0])
                    raise EnoughError
                now[0] += seconds

            with pytest.raises(EnoughError):
                await tend(journal, entries, log, seconds=lambda: now[0], sleep=sleep)

    asyncio.run(main())
    assert in_log_at == [13]
    assert len(in_log(tmp_path)) == 2


class Said:
    said = False


def test_a_file_may_be_let_go_at_any_moment_while_it_is_read(
    tmp_path: Path, clock: FakeClock
) -> None:
    """It is cut to what was written then: shorter than it was when it was opened."""

    async def main() -> None:
        written: list[str] = []
        async with (
            open_store(tmp_path / "outcrop.sqlite3", clock=clock) as store,
            importing(store, tmp_path / "journal", clock) as (journal, importer),
        ):
            for turns in range(24):
                one = record(clock)
                written.append(one.request_id)
                await journal.append(framed(one))
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(importer.once())
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    journal.seal()
            await importer.once()
            assert sorted(await kept(store, clock)) == sorted(written)
            assert list((tmp_path / "journal").iterdir()) == []

    asyncio.run(main())


def test_a_file_that_cannot_be_handed_on_is_handed_on_later_and_counts_once(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        one, log = record(clock), tmp_path / "log"
        async with (
            open_store(tmp_path / "outcrop.sqlite3", clock=clock) as store,
            importing(store, tmp_path / "journal", clock) as (journal, importer),
        ):
            await journal.append(usage_and_what_was_said(one))
            journal.seal()
            log.rmdir()
            log.write_text("in its way")
            for _ in range(2):
                with pytest.raises(OSError, match="log"):
                    await importer.once()
            log.unlink()
            log.mkdir()
            await importer.once()

            assert in_log(tmp_path) == await kept(store, clock) == [one.request_id]
            assert list((tmp_path / "journal").iterdir()) == []

    asyncio.run(main())


class EnoughError(Exception):
    """Of waiting."""


@pytest.mark.slow
def test_a_dead_workers_journal_is_taken_away_and_a_living_ones_read_as_far_as_it_is_whole(
    location: str, tmp_path: Path, clock: FakeClock
) -> None:
    """By one of two importers, and not by the other as well."""

    async def main() -> None:
        folder = tmp_path / "journal"
        records = [record(clock) for _ in range(50)]
        frames = b"".join(map(framed, records))
        async with open_store(location, clock=clock) as store:
            folder.mkdir()
            torn = framed(record(clock))[:-3]
            (folder / "dead.journal").write_bytes(frames + torn)
            half = len(b"".join(map(framed, records[:20])))
            assert await store.usage.add("dead", 0, frames[:half])  # it died after so many
            killed = record(clock)  # of one whose end was never written to
            (folder / "killed.journal").write_bytes(framed(killed) + bytes(1 << 20))
            living = record(clock)
            alive = os.open(folder / "alive.journal", os.O_RDWR | os.O_CREAT)
            os.write(alive, framed(living) + framed(record(clock))[:-3])
            fcntl.flock(alive, fcntl.LOCK_EX)

            async with (
                importing(store, folder, clock) as (_, one),
                importing(store, folder, clock) as (_, other),
                asyncio.TaskGroup() as tasks,
            ):
                tasks.create_task(one.once())
                tasks.create_task(other.once())
            os.close(alive)

            wanted = sorted(one.request_id for one in [*records, killed, living])
            assert sorted(await kept(store, clock)) == wanted
            names = {path.name for path in folder.iterdir()}
            assert names == {"alive.journal", "dead.torn"}

    asyncio.run(main())
