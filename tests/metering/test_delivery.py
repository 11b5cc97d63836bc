"""From journals to their destinations: nothing lost, nothing doubled, nobody held up by others."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from msgspec import Struct

from outcrop.metering.config import InvocationLoggingConfig
from outcrop.metering.delivery.deliverer import Deliverer
from outcrop.metering.delivery.destinations import Destinations, Folder
from outcrop.metering.delivery.records import Delivered, Place
from outcrop.metering.delivery.tally import Tally
from outcrop.metering.delivery.undelivered import UndeliveredError
from outcrop.metering.journal import new_segment
from outcrop.metering.log_records import INLINE_BYTES, Told
from outcrop.server.clock import utc_now
from outcrop.store.errors import StoreError
from outcrop.store.store import Store, open_store
from outcrop.store.usage import Usage
from outcrop.store.usage_records import frame
from outcrop.store.usage_rollup import DeliveryCounts
from tests.clocks import FakeClock
from tests.metering.logged import ACCOUNT, AT, REGION, Shelf, frames, logging_config, told


class World(Struct):
    folder: Path
    deliverer: Deliverer
    shelf: Shelf
    store: Store
    said: list[Told]
    """What will be in the next file."""

    def log(self, request_id: str, bucket: str = "logs", **members: Any) -> None:
        config = logging_config(s3Config={"bucketName": bucket})
        self.said.append(told(**{"config": config, "request_id": request_id, **members}))

    async def deliver(self) -> None:
        if self.said:
            (self.folder / f"{uuid4().hex}.journal").write_bytes(frames(self.said))
            self.said.clear()
        await self.deliverer.once()

    async def counted(self) -> dict[str, int]:
        """The metrics of deliveries in the last hour or so, as the store has them."""
        since, until = AT - timedelta(hours=2), AT + timedelta(hours=2)
        names = await self.store.usage.metric_names(ACCOUNT, REGION, since=since)
        found: dict[str, int] = {}
        for name in names:
            points = await self.store.usage.metric(
                ACCOUNT, REGION, name, start=since, end=until, period_s=3_600
            )
            assert (name.dimensions, [point.most for point in points]) == ((), [1] * len(points))
            found[name.name] = sum(point.count for point in points)
        return found


@asynccontextmanager
async def world(
    folder: Path, shelf: Shelf | None = None, clock: FakeClock | None = None
) -> AsyncGenerator[World]:
    shelf, clock_ = shelf or Shelf(), clock or utc_now
    async with open_store(folder.parent / "outcrop.sqlite3", clock=clock_) as store:
        deliverer = Deliverer(
            folder,
            Destinations({"bucket": shelf, "log_group": shelf}),
            Tally(store.usage, clock=clock_),
            config=InvocationLoggingConfig(),
            clock=clock_,
        )
        try:
            yield World(folder, deliverer, shelf, store, [])
        finally:
            deliverer.close()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


def left(folder: Path) -> list[tuple[Path, bytes]]:
    """What waits on disk."""
    return [(path, path.read_bytes()) for path in folder.iterdir()]


def test_a_batch_is_delivered_once_and_then_gone_from_disk(spool: Path) -> None:
    async def main() -> None:
        async with world(spool) as here:
            here.log("r-1")
            here.log("r-2")
            await here.deliver()
            await here.deliver()

            assert here.shelf.request_ids("logs") == ["r-1", "r-2"]
            assert here.shelf.puts == 1
            assert left(spool) == []

    asyncio.run(main())


def test_what_a_dead_worker_left_is_delivered_under_the_key_it_would_have_used(
    spool: Path,
) -> None:
    shelf = Shelf()

    async def dies() -> None:
        async with world(spool, shelf) as here:
            here.log("r-1")
            (spool / "0123456789abcdef.journal").write_bytes(frames(here.said))
            await here.deliverer.once()
        # It died before it could take the file away.
        (spool / "0123456789abcdef.journal").write_bytes(frames(here.said) + b"torn")

    async def next_one() -> None:
        async with world(spool, shelf) as here:
            await here.deliver()

    asyncio.run(dies())
    before = dict(shelf.objects)
    asyncio.run(next_one())

    assert shelf.puts == 2
    assert shelf.objects == before
    assert left(spool) == []


def test_a_bucket_that_takes_nothing_holds_up_no_other(spool: Path) -> None:
    async def main() -> None:
        async with world(spool) as here:
            here.shelf.refuses.add("gone")
            here.log("r-1", "gone")
            here.log("r-2", "logs")
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
            assert left(spool) == []

    asyncio.run(main())


def test_what_nobody_takes_for_days_is_given_up(spool: Path) -> None:
    clock = FakeClock(utc_now())

    async def main() -> None:
        async with world(spool, clock=clock) as here:
            here.shelf.refuses.add("logs")
            here.log("r-1")
            await here.deliver()
            assert len(left(spool)) == 1
            clock.advance(days=8)
            await here.deliver()
            assert left(spool) == []

    asyncio.run(main())


def test_a_file_that_is_none_of_ours_is_set_aside(spool: Path) -> None:
    (spool / "strange.journal").write_bytes(frame(b"\x01"))

    async def main() -> None:
        async with world(spool) as here:
            here.log("r-1")
            await here.deliver()
            assert here.shelf.request_ids("logs") == ["r-1"]

    asyncio.run(main())
    assert [path.name for path in spool.iterdir()] == ["strange.unreadable"]


def test_a_segment_that_another_worker_writes_is_left_alone(spool: Path) -> None:
    theirs = new_segment(spool)
    theirs.path.write_bytes(frames([told()]))

    async def main() -> None:
        async with world(spool) as here:
            await here.deliver()
            assert here.shelf.puts == 0

    asyncio.run(main())
    assert theirs.path.exists()


LARGE = b'"' + b"x" * INLINE_BYTES + b'"'
TO_GROUP = {"logGroupName": "g", "roleArn": f"arn:aws:iam::{ACCOUNT}:role/r"}


def test_every_attempt_of_a_delivery_is_counted_by_what_it_brings_and_where(spool: Path) -> None:
    async def main() -> None:
        async with world(spool, clock=FakeClock(AT)) as here:
            here.shelf.refuses.add("gone")
            here.log("r-1")
            here.log("r-2", output_body=LARGE, input_body=LARGE)
            here.log("r-3", "gone")
            config = logging_config(s3Config=None, cloudWatchConfig=TO_GROUP)
            here.log("r-4", config=config)
            await here.deliver()

            assert await here.counted() == {
                "ModelInvocationLogsS3DeliverySuccess": 1,
                "ModelInvocationLargeDataS3DeliverySuccess": 2,
                "ModelInvocationLogsS3DeliveryFailure": 1,
                "ModelInvocationLogsCloudWatchDeliverySuccess": 1,
            }

    asyncio.run(main())


def test_what_several_servers_deliver_one_after_the_other_is_added_up(spool: Path) -> None:
    async def delivers(request_id: str) -> dict[str, int]:
        async with world(spool, clock=FakeClock(AT)) as here:
            here.log(request_id)
            await here.deliver()
            return await here.counted()

    assert asyncio.run(delivers("r-1")) == {"ModelInvocationLogsS3DeliverySuccess": 1}
    assert asyncio.run(delivers("r-2")) == {"ModelInvocationLogsS3DeliverySuccess": 2}


def test_deliveries_are_counted_later_when_the_store_is_out_of_reach(
    spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Away:
        """A store that is out of reach for the first question."""

        def __init__(self, usage: Usage) -> None:
            self.usage, self.asked = usage, 0

        async def count_deliveries(self, counts: DeliveryCounts) -> None:
            self.asked += 1
            if self.asked == 1:
                raise StoreError("away")
            await self.usage.count_deliveries(counts)

    async def main() -> None:
        async with world(spool, clock=FakeClock(AT)) as here:
            tally = here.deliverer._tally
            tally._usage = Away(here.store.usage)  # type: ignore[assignment]
            here.log("r-1")
            await here.deliver()
            assert await here.counted() == {}
            here.log("r-2")
            await here.deliver()
            assert await here.counted() == {"ModelInvocationLogsS3DeliverySuccess": 2}

    asyncio.run(main())
    assert "deliveries of invocation logs are counted later: away" in caplog.messages


@pytest.mark.parametrize("key", ["../../x", "a/../../../x"])
def test_a_key_cannot_leave_its_folder(tmp_path: Path, key: str) -> None:
    folder = Folder(tmp_path / "buckets", by_name=True)
    escaping = Delivered(
        place=Place("bucket", "logs"), account_id=ACCOUNT, region=REGION, key=key, body=b""
    )

    with pytest.raises(UndeliveredError, match="would leave its folder"):
        asyncio.run(folder.put(escaping))
    assert list(tmp_path.rglob("x")) == []
