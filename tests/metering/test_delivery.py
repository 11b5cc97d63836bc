"""From the journal to its destinations: nothing lost, nothing doubled, nobody held up by others."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import Struct, msgpack

from outcrop.metering.config import InvocationLoggingConfig
from outcrop.metering.delivery.deliverer import Deliverer
from outcrop.metering.delivery.destinations import Destinations, Folder
from outcrop.metering.delivery.records import Delivered, Place
from outcrop.metering.delivery.undelivered import UndeliveredError
from outcrop.metering.journal import Journal, new_segment
from outcrop.server.clock import utc_now
from outcrop.store.usage_records import frame
from tests.clocks import FakeClock
from tests.metering.logged import ACCOUNT, REGION, Shelf, frames, logging_config, spooled


class World(Struct):
    journal: Journal
    deliverer: Deliverer
    shelf: Shelf

    async def log(self, request_id: str, bucket: str = "logs") -> None:
        config = logging_config(s3Config={"bucketName": bucket})
        written = frame(msgpack.encode(spooled(config, request_id=request_id)))
        await self.journal.append(lambda: written)

    async def deliver(self) -> None:
        self.journal.seal()
        await self.deliverer.once()


@asynccontextmanager
async def world(
    folder: Path, shelf: Shelf | None = None, clock: FakeClock | None = None
) -> AsyncGenerator[World]:
    journal, shelf = Journal(folder), shelf or Shelf()
    deliverer = Deliverer(
        journal,
        folder,
        Destinations({"bucket": shelf}),
        config=InvocationLoggingConfig(),
        clock=clock or utc_now,
    )
    try:
        yield World(journal, deliverer, shelf)
    finally:
        deliverer.close()
        await journal.aclose()


def left(folder: Path) -> list[tuple[Path, bytes]]:
    """What waits on disk."""
    return [(path, path.read_bytes()) for path in folder.iterdir()]


def test_a_batch_is_delivered_when_it_is_whole_and_then_gone_from_disk(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as here:
            await here.log("r-1")
            await here.log("r-2")
            await here.deliverer.once()
            assert here.shelf.puts == 0
            await here.deliver()
            await here.deliver()

            assert here.shelf.request_ids("logs") == ["r-1", "r-2"]
            assert here.shelf.puts == 1
            assert left(tmp_path) == []

    asyncio.run(main())


def test_what_a_dead_worker_left_is_delivered_under_the_key_it_would_have_used(
    tmp_path: Path,
) -> None:
    shelf = Shelf()

    async def dies() -> None:
        async with world(tmp_path, shelf) as here:
            await here.log("r-1")
            kept = left(tmp_path)
            await here.deliver()
        for path, data in kept:  # it died before it could take the file away
            path.write_bytes(data + b"torn")

    async def next_one() -> None:
        async with world(tmp_path, shelf) as here:
            await here.deliver()

    asyncio.run(dies())
    before = dict(shelf.objects)
    asyncio.run(next_one())

    assert shelf.puts == 2
    assert shelf.objects == before
    assert left(tmp_path) == []


def test_a_bucket_that_takes_nothing_holds_up_no_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as here:
            here.shelf.refuses.add("gone")
            await here.log("r-1", "gone")
            await here.log("r-2", "logs")
            await here.deliver()
            await here.deliver()
            assert here.shelf.request_ids("logs") == ["r-2"]
            # It was tried once, and waits.
            assert here.shelf.puts == 2

            here.shelf.refuses.clear()
            here.deliverer._waiting.clear()
            await here.deliver()
            assert here.shelf.request_ids("gone") == ["r-1"]
            assert here.shelf.puts == 3
            assert left(tmp_path) == []

    asyncio.run(main())


def test_what_nobody_takes_for_days_is_given_up(tmp_path: Path) -> None:
    clock = FakeClock(utc_now())

    async def main() -> None:
        async with world(tmp_path, clock=clock) as here:
            here.shelf.refuses.add("logs")
            await here.log("r-1")
            await here.deliver()
            assert len(left(tmp_path)) == 1
            clock.advance(days=8)
            await here.deliver()
            assert left(tmp_path) == []

    asyncio.run(main())


def test_a_file_that_is_none_of_ours_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "strange.journal").write_bytes(frame(b"\x01"))

    async def main() -> None:
        async with world(tmp_path) as here:
            await here.log("r-1")
            await here.deliver()
            assert here.shelf.request_ids("logs") == ["r-1"]

    asyncio.run(main())
    assert [path.name for path in tmp_path.iterdir()] == ["strange.unreadable"]


def test_a_segment_that_another_worker_writes_is_left_alone(tmp_path: Path) -> None:
    theirs = new_segment(tmp_path)
    theirs.path.write_bytes(frames([spooled()]))

    async def main() -> None:
        async with world(tmp_path) as here:
            await here.deliver()
            assert here.shelf.puts == 0

    asyncio.run(main())
    assert theirs.path.exists()


def test_sealing_while_the_disk_is_busy_loses_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as here:
            async with asyncio.TaskGroup() as tasks:
                for number in range(50):
                    tasks.create_task(here.log(f"r-{number}"))
                    if number % 7 == 0:
                        await asyncio.sleep(0)
                        here.journal.seal()
            await here.deliver()
            await here.deliver()
            assert sorted(here.shelf.request_ids("logs")) == sorted(f"r-{n}" for n in range(50))

    asyncio.run(main())


@pytest.mark.parametrize("key", ["../../x", "a/../../../x"])
def test_a_key_cannot_leave_its_folder(tmp_path: Path, key: str) -> None:
    folder = Folder(tmp_path / "buckets", by_name=True)
    escaping = Delivered(
        place=Place("bucket", "logs"), account_id=ACCOUNT, region=REGION, key=key, body=b""
    )

    with pytest.raises(UndeliveredError, match="would leave its folder"):
        asyncio.run(folder.put(escaping))
    assert list(tmp_path.rglob("x")) == []
