"""What the sums of the store come to with time, and with more and more who call."""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from outcrop.metering.costs import Costs
from outcrop.metering.prices import PriceList
from outcrop.store.store import Store, open_store
from outcrop.store.usage import MetricName
from outcrop.store.usage_age import HOURS_KEPT
from outcrop.store.usage_records import framed
from tests.clocks import FakeClock
from tests.metering.records import ACCOUNT, MODEL, REGION, record

ROLE = f"arn:aws:sts::{ACCOUNT}:assumed-role/caller"
DAY = timedelta(days=1)
CALLS = MetricName(name="Invocations", dimensions=(("ModelId", MODEL),))


async def counted(store: Store, clock: FakeClock, period_s: int) -> list[int]:
    points = await store.usage.metric(
        ACCOUNT, REGION, CALLS, start=clock() - 500 * DAY, end=clock() + DAY, period_s=period_s
    )
    return [point.count for point in points]


async def spent(store: Store, clock: FakeClock, **question: Any) -> Decimal:
    costs = Costs(store.usage, store.provisioned_hours, PriceList(), clock=clock)
    given = {"start": clock() - 500 * DAY, "end": clock() + DAY, "granularity": "MONTHLY"}
    rows = await costs.costs(ACCOUNT, **{**given, **question})
    return sum((row.cost for row in rows), Decimal(0))


def test_minutes_and_hours_are_forgotten_and_days_stay(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            cost = Decimal(0)
            for number in range(6):  # 500 days ago, 400, 300 …
                made = record(FakeClock(clock() - (500 - 100 * number) * DAY))
                await store.usage.add("j", number and await store.usage.position("j"), framed(made))
                cost += Decimal(made.cost) / 10**12
            assert await counted(store, clock, 60) == [1] * 6
            before = await spent(store, clock)

            await store.usage.forget_sums(
                minutes_before=clock() - 63 * DAY, hours_before=clock() - HOURS_KEPT
            )

            assert await counted(store, clock, 60) == [1]
            assert await counted(store, clock, 3_600) == [1] * 5
            assert await counted(store, clock, 86_400) == [1] * 6
            assert await spent(store, clock) == before == cost
            # What begins in the middle of a day that no hours are kept of begins with it.
            odd = clock() - 500 * DAY + timedelta(hours=7)
            assert await spent(store, clock, start=odd) == cost
            assert await spent(store, clock, start=clock() - 400 * DAY) == cost * 5 / 6
            assert await spent(store, clock, start=odd, granularity="HOURLY") == cost * 5 / 6

    asyncio.run(main())


def test_forgetting_goes_through_every_series_and_day(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            frames = b"".join(
                framed(record(FakeClock(clock() - days * DAY), foundation_model_id=f"m.{number}"))
                for number in range(205)
                for days in (0, 470, 480)
            )
            await store.usage.add("j", 0, frames)
            await store.usage.forget_sums(minutes_before=clock() - DAY, hours_before=clock() - DAY)
            for table, kept in (("usage_metrics", 5), ("usage_costs", 4)):
                rows = await store.usage._database.fetch(
                    f"SELECT series_id, COUNT(*) FROM {table} GROUP BY series_id"
                )
                assert {number for _, number in rows} == {kept}

    asyncio.run(main())


def sessions(clock: FakeClock, numbers: Sequence[int]) -> bytes:
    return b"".join(
        framed(record(clock, principal_arn=f"{ROLE}/s{number}", streamed=False))
        for number in numbers
    )


async def rows_of(store: Store, table: str) -> int:
    ((number,),) = await store.usage._database.fetch(f"SELECT COUNT(*) FROM {table}")
    rows: int = number
    return rows


def test_new_sessions_beyond_the_bound_count_with_their_role(
    location: str, clock: FakeClock
) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            add = store.usage.add
            await add("a", 0, sessions(clock, range(2)), most_series=3)
            await add("b", 0, sessions(clock, range(1, 7)), most_series=3)
            user = f"arn:aws:iam::{ACCOUNT}:user/new"
            await add("c", 0, framed(record(clock, principal_arn=user)), most_series=3)
            await add("d", 0, sessions(clock, range(7)), most_series=3)

            points = await store.usage.costs(
                ACCOUNT, start=clock() - DAY, end=clock() + DAY, span_s=86_400
            )
            assert {p.series.principal_arn: p.costs.invocations for p in points} == {
                f"{ROLE}/s0": 2,
                f"{ROLE}/s1": 3,
                f"{ROLE}/s2": 2,
                f"{ROLE}/*": 8,
                user: 1,
            }

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_with_a_hundred_thousand_principals_the_store_stays_small_and_questions_quick(
    tmp_path: Path, clock: FakeClock
) -> None:
    bound, batch, people = 10_000, 2_000, 100_000

    async def main() -> None:
        async with open_store(tmp_path / "outcrop.sqlite3", clock=clock) as store:
            for begin in range(0, people, batch):
                frames = sessions(clock, range(begin, begin + batch))
                await store.usage.add(f"j{begin}", 0, frames, most_series=bound)
            # Of 90,000 sessions that came later there is one row, an hour and a day.
            assert await rows_of(store, "usage_costs") == 2 * (bound + 1)

            began = time.process_time()
            costs = Costs(store.usage, store.provisioned_hours, PriceList(), clock=clock)
            rows = await costs.costs(
                ACCOUNT,
                start=clock().replace(hour=0),
                end=clock().replace(hour=0) + DAY,
                granularity="DAILY",
                group_by=["PRINCIPAL"],
            )
            assert await counted(store, clock, 60) == [people]
            took_s = time.process_time() - began

        assert sum(row.invocations for row in rows) == people
        assert len(rows) == bound + 1
        assert took_s < 2.0, f"{took_s:.2f} s of CPU"

    asyncio.run(main())
