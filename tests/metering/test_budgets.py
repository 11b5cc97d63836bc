"""Budgets: spent to the last pico-dollar, refused in time, and begun anew."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from outcrop.metering.config import BudgetConfig, MeteringConfig, Price
from outcrop.metering.importer import LogSpool
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.opening import Metering, open_ledger
from outcrop.metering.prices import PriceList
from outcrop.metering.quotas import Tokens
from outcrop.metering.spending import begins, dollars_of
from outcrop.store.errors import StoreError
from outcrop.store.store import open_store
from outcrop.store.usage_records import framed
from outcrop.wire.errors import AccessDeniedException
from outcrop.wire.shapes.bedrock_runtime import TokenUsage
from tests.clocks import FakeClock
from tests.metering.records import ACCOUNT, MODEL, REGION, record
from tests.metering.units import buy
from tests.runtime.requests import invocation

CENT = Decimal("0.01")
# At 0.06 dollars a million: a cent, but for a sixth of a thousandth of one.
ALMOST = 166_665
UNITS_MODEL = "amazon.nova-pro-v1:0"
NOTHING = Tokens(0, 0)
PRICES = PriceList([Price(model=UNITS_MODEL, model_unit_hour=Decimal("0.5"))])
PROFILE = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/abcdef123456"


def budget(**changes: Any) -> BudgetConfig:
    return BudgetConfig(**{"name": "b", "amount_usd": CENT, "warn_at_percent": 50, **changes})


def call(clock: FakeClock, input_tokens: int = 0, **changes: Any) -> ModelInvocation:
    made = invocation()
    made.began_at = clock()
    made.model_id = made.foundation_model_id = MODEL
    made.usage = TokenUsage(input_tokens=input_tokens, output_tokens=0, total_tokens=input_tokens)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@asynccontextmanager
async def metering(
    location: str, folder: Path, clock: FakeClock, *rules: BudgetConfig
) -> AsyncGenerator[Metering]:
    async with (
        open_store(location, clock=clock) as store,
        asyncio.TaskGroup() as tasks,
        open_ledger(
            folder,
            store.usage,
            store.provisioned_hours,
            config=MeteringConfig(),
            prices=PRICES,
            budgets=rules,
            log=LogSpool(folder / "log", 1),
            imports=True,
            tasks=tasks,
            clock=clock,
        ) as opened,
    ):
        yield opened


def refused(opened: Metering, made: ModelInvocation) -> str | None:
    try:
        opened.budgets.require(made, NOTHING)
    except AccessDeniedException as refusal:
        return str(refusal)
    return None


def spent_of(opened: Metering, clock: FakeClock, name: str = "b") -> Decimal:
    rule = next(rule for rule in opened.budgets.rules if rule.name == name)
    return dollars_of(opened.budgets._book.spent((name, begins(clock(), rule.period))))


def test_a_spent_budget_refuses_and_says_until_when(
    location: str, tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        async with metering(location, tmp_path / "j", clock, budget(name="team blue")) as opened:
            await opened.ledger.record(call(clock, ALMOST))
            assert refused(opened, call(clock)) is None
            await opened.ledger.record(call(clock, 2))

            assert refused(opened, call(clock)) == (
                'budget "team blue": 0.01000002 of 0.01 USD a month.'
                " Calls that it covers are refused until 2026-12-01T00:00:00Z."
            )

    asyncio.run(main())


def test_a_budget_below_the_smallest_amount_is_spent_by_anything(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        location = str(tmp_path / "outcrop.sqlite3")
        least = budget(amount_usd=Decimal("1e-13"))
        async with metering(location, tmp_path / "j", clock, least) as opened:
            assert refused(opened, call(clock)) is None
            await opened.ledger.record(call(clock, 1))
            assert refused(opened, call(clock)) is not None

    asyncio.run(main())


def test_what_was_spent_counts_once_before_and_after_it_is_in_the_store(
    location: str, tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        async with metering(location, tmp_path / "j", clock, budget()) as opened:
            for _ in range(3):
                await opened.ledger.record(call(clock, ALMOST // 3))
                await opened.budgets.refresh()
                await opened.budgets.refresh()
            assert refused(opened, call(clock)) is None
            await opened.ledger.record(call(clock, 2))

            assert refused(opened, call(clock)) is not None

    asyncio.run(main())


@pytest.mark.parametrize("period", ["DAY", "MONTH"])
def test_a_restart_forgets_nothing_and_a_new_period_everything(
    location: str, tmp_path: Path, clock: FakeClock, period: Any
) -> None:
    async def main() -> None:
        rule = budget(period=period)
        async with metering(location, tmp_path / "j", clock, rule) as opened:
            await opened.ledger.record(call(clock, 10**6))
        async with metering(location, tmp_path / "j", clock, rule) as opened:
            assert refused(opened, call(clock)) is not None
            clock.advance(days=1 if period == "DAY" else 9)
            assert refused(opened, call(clock)) is None
            await opened.budgets.refresh()
            assert refused(opened, call(clock)) is None

    asyncio.run(main())


def test_days_that_are_over_count_for_the_month(
    location: str, tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        async with metering(location, tmp_path / "j", clock, budget()) as opened:
            await opened.ledger.record(call(clock, ALMOST))
            clock.advance(days=1)
            await opened.budgets.refresh()
            assert refused(opened, call(clock)) is None
            await opened.ledger.record(call(clock, 2))
            await opened.budgets.refresh()
            assert refused(opened, call(clock)) is not None

    asyncio.run(main())


def test_what_other_workers_spent_counts_after_a_refresh(
    location: str, tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        async with (
            open_store(location, clock=clock) as other,
            metering(location, tmp_path / "j", clock, budget()) as opened,
        ):
            spent = record(clock, account_id=invocation().caller.account_id, input_tokens=10**6)
            await other.usage.add("other", 0, framed(spent))
            assert refused(opened, call(clock)) is None
            await opened.budgets.refresh()

            assert refused(opened, call(clock)) is not None

    asyncio.run(main())


COVERING = [
    ({}, True),
    ({"account": "9*"}, False),
    ({"principal": "arn:aws:iam::*"}, True),
    ({"principal": "*:user/nobody"}, False),
    ({"model": "amazon.nova-*"}, True),
    ({"model": "anthropic.*"}, False),
    ({"profile": "abcdef123456"}, True),
    ({"profile": PROFILE}, True),
    ({"profile": "us.*"}, False),
    ({"tags": {"team": "blue"}}, True),
    ({"tags": {"team": "blue", "stage": "prod"}}, False),
    ({"when_spent": "warn"}, False),
]


@pytest.mark.parametrize(("rule", "refuses"), COVERING)
def test_a_budget_is_about_what_it_names(
    tmp_path: Path, clock: FakeClock, rule: dict[str, Any], *, refuses: bool
) -> None:
    async def main() -> None:
        location = str(tmp_path / "outcrop.sqlite3")
        what: dict[str, Any] = {"inference_profile_arn": PROFILE, "tags": (("team", "blue"),)}
        async with metering(location, tmp_path / "j", clock, budget(**rule)) as opened:
            await opened.ledger.record(call(clock, 10**6, **what))
            for _ in range(2):  # as this process knows it, and as the store does
                assert (refused(opened, call(clock, **what)) is not None) is refuses
                await opened.budgets.refresh()

    asyncio.run(main())


def test_before_it_is_spent_answers_and_one_line_of_the_log_say_so(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> list[str | None]:
        location = str(tmp_path / "outcrop.sqlite3")
        told: list[str | None] = []
        async with metering(location, tmp_path / "j", clock, budget()) as opened:
            for tokens in (80_000, 80_000, 0):
                made = call(clock, tokens)
                opened.budgets.require(made, NOTHING)
                told.append(made.budget)
                await opened.ledger.record(made)
                clock.advance(seconds=1)
        return told

    told = asyncio.run(main())

    assert told == [None, None, 'budget "b": 0.0096 of 0.01 USD a month']
    assert [line for line in caplog.messages if "budget" in line] == [
        'budget: budget "b": 0.0096 of 0.01 USD a month'
    ]


def test_another_configuration_knows_at_once_what_was_spent(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        location = str(tmp_path / "outcrop.sqlite3")
        async with metering(
            location, tmp_path / "j", clock, budget(amount_usd=Decimal(1))
        ) as opened:
            await opened.ledger.record(call(clock, 10**6))
            assert refused(opened, call(clock)) is None
            follow = await opened.prepared(MeteringConfig(), PRICES, [budget()])
            assert refused(opened, call(clock)) is None
            follow()
            assert refused(opened, call(clock)) is not None
            (await opened.prepared(MeteringConfig(), PRICES, []))()
            assert refused(opened, call(clock)) is None

    asyncio.run(main())


def test_reading_goes_on_by_itself(tmp_path: Path, clock: FakeClock) -> None:
    class EnoughError(Exception):
        pass

    async def main() -> None:
        location, slept = str(tmp_path / "outcrop.sqlite3"), [timedelta()]

        async def sleep(seconds: float, /) -> None:
            if len(slept) > 2:
                raise EnoughError
            slept.append(timedelta(seconds=seconds))

        async with (
            open_store(location, clock=clock) as other,
            metering(location, tmp_path / "j", clock, budget()) as opened,
        ):
            spent = record(clock, account_id=invocation().caller.account_id, input_tokens=10**6)
            await other.usage.add("other", 0, framed(spent))
            with suppress(EnoughError):
                await opened.budgets.run(sleep)
            assert refused(opened, call(clock)) is not None

    asyncio.run(main())


HOURS = [
    ({}, True),
    ({"account": "9*"}, False),
    ({"model": "amazon.nova-pro-*"}, True),
    ({"model": MODEL}, False),
    ({"tags": {"team": "blue"}}, True),
    ({"tags": {"team": "red"}}, False),
    # Who bought them is not known, and no profile is called.
    ({"principal": "arn:aws:iam::*"}, False),
    ({"profile": "*"}, False),
]


@pytest.mark.parametrize(("rule", "counts"), HOURS)
def test_hours_of_model_units_count_for_what_they_can_be_attributed_to(
    tmp_path: Path, clock: FakeClock, rule: dict[str, Any], *, counts: bool
) -> None:
    async def main() -> None:
        location = str(tmp_path / "outcrop.sqlite3")
        async with open_store(location, clock=clock) as store:
            await buy(store, "units", 2, UNITS_MODEL, team="blue")
        clock.advance(minutes=90)
        all_of_it = budget(amount_usd=Decimal("1.5"), **rule)
        async with metering(location, tmp_path / "j", clock, all_of_it) as opened:
            assert spent_of(opened, clock) == (Decimal("1.5") if counts else 0)

    asyncio.run(main())


def test_hours_of_a_context_length_count_for_their_model(tmp_path: Path, clock: FakeClock) -> None:
    async def main() -> None:
        location = str(tmp_path / "outcrop.sqlite3")
        async with open_store(location, clock=clock) as store:
            await buy(store, "units", 2, f"{UNITS_MODEL}:24k")
        clock.advance(minutes=90)
        of_the_model = budget(amount_usd=Decimal(9), model=UNITS_MODEL)
        async with metering(location, tmp_path / "j", clock, of_the_model) as opened:
            assert spent_of(opened, clock) == Decimal("1.5")

    asyncio.run(main())


def test_hours_go_on_counting_while_nobody_calls_until_units_are_given_back(
    location: str, tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        month, day = budget(), budget(name="d", period="DAY")
        async with (
            open_store(location, clock=clock) as store,
            metering(location, tmp_path / "j", clock, month, day) as opened,
        ):
            held = await buy(store, "units", 2, UNITS_MODEL)
            told: list[Any] = []
            for hours in (1, 11, 6, 5, 5):
                clock.advance(hours=hours)
                await opened.budgets.refresh()
                told.append((spent_of(opened, clock), spent_of(opened, clock, "d")))
                if len(told) == 4:
                    assert await store.provisioned_model_throughputs.delete(held)
            # A dollar an hour for both; a new day begins after twelve.
            assert told == [(1, 1), (12, 0), (18, 6), (23, 11), (23, 11)]

    asyncio.run(main())


def test_a_configuration_that_is_read_again_forgets_nothing_for_no_moment(
    location: str, tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with metering(location, tmp_path / "j", clock, budget()) as opened:
            await opened.ledger.record(call(clock, 90_000))
            assert refused(opened, call(clock)) is None
            follow = await opened.prepared(MeteringConfig(), PRICES, [budget()])
            # Recorded after it was read, before it holds.
            await opened.ledger.record(call(clock, 90_000))
            assert refused(opened, call(clock)) is not None
            follow()
            assert refused(opened, call(clock)) is not None
            await opened.budgets.refresh()
            assert refused(opened, call(clock)) is not None

    asyncio.run(main())
    assert len([line for line in caplog.messages if "budget:" in line]) == 1


def test_a_configuration_that_cannot_be_prepared_changes_nothing(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        location = str(tmp_path / "outcrop.sqlite3")
        async with metering(location, tmp_path / "j", clock, budget()) as opened:
            await opened.ledger.record(call(clock, 10**6))
            once = opened.importer.once

            async def away() -> None:
                raise StoreError("away")

            opened.importer.once = away  # type: ignore[method-assign]
            with pytest.raises(StoreError):
                await opened.prepared(MeteringConfig(), PRICES, [budget(amount_usd=Decimal(9))])
            opened.importer.once = once  # type: ignore[method-assign]
            assert refused(opened, call(clock)) is not None

    asyncio.run(main())
