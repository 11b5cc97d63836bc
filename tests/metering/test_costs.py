"""Bills, against sums made by hand."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from outcrop.metering.config import Price
from outcrop.metering.costs import CostRow, Costs
from outcrop.metering.prices import PriceList
from outcrop.store.store import Store, open_store
from outcrop.store.usage_records import framed
from tests.clocks import FakeClock
from tests.metering.records import ACCOUNT, MODEL, PRINCIPAL, REGION, record
from tests.metering.units import NOON, buy

MIDNIGHT = NOON.replace(hour=0)
UNITS = PriceList([Price(model=MODEL, model_unit_hour=Decimal("21.18"))])


async def bill(
    store: Store, clock: FakeClock, *, prices: PriceList | None = None, **question: Any
) -> Sequence[CostRow]:
    costs = Costs(store.usage, store.provisioned_hours, prices or PriceList(), clock=clock)
    span: dict[str, Any] = {
        "start": MIDNIGHT,
        "end": MIDNIGHT + timedelta(days=2),
        "granularity": "DAILY",
    }
    return await costs.costs(ACCOUNT, **{**span, **question})


def told(rows: Sequence[CostRow]) -> list[tuple[Any, ...]]:
    return [(*row.keys, row.cost, row.usage, row.unit, row.invocations) for row in rows]


def test_tokens_by_whatever_they_are_split_by(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        profile = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/abc123def456"
        blue = {"inference_profile_arn": profile, "tags": (("team", "blue"),)}
        async with open_store(location, clock=clock) as store:
            batch = [
                record(clock, input_tokens=1_000_000, output_tokens=1_000, **blue),
                record(clock, input_tokens=2_000_000, output_tokens=0),
                record(clock, rates=None, foundation_model_id="mine", principal_arn="grace"),
            ]
            await store.usage.add("j", 0, b"".join(map(framed, batch)))

            by_team = await bill(store, clock, group_by=["TAG:team"])
            by_type = await bill(
                store, clock, group_by=["USAGE_TYPE"], filters={"TAG:team": ["blue"]}
            )
            by_both = await bill(
                store, clock, group_by=["MODEL", "PRINCIPAL"], granularity="MONTHLY"
            )
            by_kind = await bill(store, clock, group_by=["RECORD_TYPE"])

            # 2 million at 0.06 and 14 of no price; 1 million at 0.06 and 1,000 at 0.24 a million.
            assert told(by_team) == [
                ("", Decimal("0.12"), Decimal(2_000_014), "Tokens", 2),
                ("blue", Decimal("0.06024"), Decimal(1_001_000), "Tokens", 1),
            ]
            assert [row.priced for row in by_team] == [False, True]
            assert told(by_type) == [
                ("USE1-nova-lite-v1:0-input-tokens", Decimal("0.06"), 1_000_000, "Tokens", 1),
                ("USE1-nova-lite-v1:0-output-tokens", Decimal("0.00024"), 1_000, "Tokens", 0),
            ]
            assert told(by_both) == [
                (MODEL, PRINCIPAL, Decimal("0.18024"), Decimal(3_001_000), "Tokens", 2),
                ("mine", "grace", 0, Decimal(14), "Tokens", 1),
            ]
            assert told(by_kind) == [("Usage", Decimal("0.18024"), Decimal(3_001_014), "Tokens", 3)]
            assert {row.start for row in by_both} == {datetime(2026, 11, 1, tzinfo=UTC)}

    asyncio.run(main())


def test_what_spilled_over_is_billed_as_on_demand(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        bought = {"provisioned_model_arn": "arn:pt", "output_tokens": 0, "input_tokens": 100}
        async with open_store(location, clock=clock) as store:
            batch = [
                record(clock, rates=(0, 0, 0, 0), **bought),
                record(clock, spilled_over=True, **bought),
            ]
            await store.usage.add("j", 0, b"".join(map(framed, batch)))

            by_type = await bill(store, clock, group_by=["USAGE_TYPE"])

            assert told(by_type) == [
                ("USE1-nova-lite-v1:0-input-tokens", Decimal("0.000006"), 100, "Tokens", 1),
                ("USE1-nova-lite-v1:0-input-tokens-provisioned", 0, 100, "Tokens", 1),
            ]

    asyncio.run(main())


def test_hours_and_days_agree(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            position = 0
            for _ in range(30):
                clock.advance(minutes=47)
                frames = framed(record(clock))
                await store.usage.add("j", position, frames)
                position += len(frames)

            days = await bill(store, clock)
            hours = await bill(store, clock, granularity="HOURLY")

            assert len(days) == 2
            assert len(hours) == 24
            for rows in (days, hours):
                assert sum(row.cost for row in rows) == 30 * Decimal("0.00000174")
                assert sum(row.invocations for row in rows) == 30

    asyncio.run(main())


def test_provisioned_models_cost_by_the_hour_idle_or_not(location: str, clock: FakeClock) -> None:
    """Two units for half an hour before a restart, an hour and a half of downtime after it."""

    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            await buy(store, "steady", 2, team="blue")
            clock.advance(minutes=30)
        clock.advance(minutes=90)
        async with open_store(location, clock=clock) as store:
            (hours,) = await bill(store, clock, prices=UNITS, group_by=["TAG:team"])

            assert hours.keys == ("blue",)
            assert (hours.usage, hours.unit) == (Decimal(4), "ModelUnitHours")
            assert hours.cost == 4 * Decimal("21.18")
            assert hours.priced

            (unpriced,) = await bill(store, clock)
            assert unpriced.cost == 0
            assert not unpriced.priced

    asyncio.run(main())


def test_hours_without_an_end_in_decimals_cost_the_nearest_pico_dollar(
    location: str, clock: FakeClock
) -> None:
    """4.01687 seconds at 36 dollars an hour, which is a cent a second."""

    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            await buy(store, "brief", 1)
            clock.advance(seconds=4, microseconds=16_870)
            prices = PriceList([Price(model=MODEL, model_unit_hour=Decimal(36))])

            (row,) = await bill(store, clock, prices=prices)

            assert row.cost == Decimal("0.0401687")

    asyncio.run(main())


def test_a_deleted_provisioned_model_stays_on_the_bill(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            bought = await buy(store, "brief", 3, team="red")
            clock.advance(hours=13)
            assert await store.provisioned_model_throughputs.delete(bought)
            clock.advance(hours=200)

            rows = await bill(
                store, clock, prices=UNITS, group_by=["PROVISIONED_MODEL", "TAG:team"]
            )
            later = await bill(store, clock, start=NOON + timedelta(days=3), end=clock())

            key = (bought.provisioned_model_arn, "red")
            assert told(rows) == [
                (*key, 36 * Decimal("21.18"), 36, "ModelUnitHours", 0),
                (*key, 3 * Decimal("21.18"), 3, "ModelUnitHours", 0),
            ]
            assert list(later) == []

    asyncio.run(main())


def test_the_future_costs_nothing_yet(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            await buy(store, "new", 1)
            clock.advance(minutes=15)

            (row,) = await bill(store, clock, end=NOON + timedelta(days=30), granularity="MONTHLY")

            assert row.usage == Decimal("0.25")

    asyncio.run(main())


def test_units_of_a_context_length_are_on_the_bill_of_their_model(
    location: str, clock: FakeClock
) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            await buy(store, "short", 1, f"{MODEL}:24k")
            clock.advance(hours=2)
            names = ["MODEL", "USAGE_TYPE"]
            (hours,) = await bill(store, clock, prices=UNITS, group_by=names)

            used = "USE1-nova-lite-v1:0:24k-model-unit-hours-no-commitment"
            assert hours.keys == (MODEL, used)
            assert (hours.usage, hours.cost) == (Decimal(2), 2 * Decimal("21.18"))

    asyncio.run(main())
