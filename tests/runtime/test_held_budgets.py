"""Budgets while calls are in progress: what they are expected to cost is held until it is known."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings, strategies as st

from outcrop.counters.limit import Counters
from outcrop.counters.local import LocalCounters
from outcrop.fleet.fleet import Fleet
from outcrop.fleet.units import Units
from outcrop.metering.budgets import Budgets
from outcrop.metering.config import AdmissionConfig, BudgetConfig, MeteringConfig, Price
from outcrop.metering.importer import LogSpool
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.opening import Metering, open_ledger
from outcrop.metering.prices import PriceList
from outcrop.metering.quotas import Quotas
from outcrop.metering.spending import Spending
from outcrop.runtime.admission import Admission
from outcrop.runtime.target import Target, Targets
from outcrop.store.catalogue import Catalogue
from outcrop.store.store import open_store
from outcrop.wire.errors import AccessDeniedException, ThrottlingException
from outcrop.wire.shapes.bedrock_runtime import TokenUsage
from tests.clocks import FakeClock
from tests.fakes.records import FakeInferenceProfiles, FakeProvisionedModelThroughputs
from tests.runtime.requests import caller, invocation

NOVA = "amazon.nova-lite-v1:0"
# A cent a token that is written.
PRICES = PriceList([Price(model=NOVA, output_per_1k=Decimal(10))])
CENT = Decimal("0.01")


def budget(cents: int, **more: str) -> BudgetConfig:
    return BudgetConfig(name="b", amount_usd=cents * CENT, warn_at_percent=100, **more)  # type: ignore[arg-type]


class World:
    """Calls of ten tokens at most through an Admission, and what becomes of them."""

    def __init__(
        self, metering: Metering, clock: FakeClock, budgets: Budgets, counters: Counters
    ) -> None:
        self._metering = metering
        self._clock = clock
        self._admission = Admission(
            counters, Quotas([]), Units({}, [], bases={}), AdmissionConfig(), budgets=budgets
        )
        self._targets = Targets(
            Catalogue(), Fleet([], None), FakeInferenceProfiles(), FakeProvisionedModelThroughputs()
        )

    async def begin(self, tokens: int = 10) -> ModelInvocation:
        made = invocation()
        made.began_at = self._clock()
        made.model_id = made.foundation_model_id = NOVA
        target: Target = await self._targets.resolve(caller(), NOVA)
        await self._admission.admit(made, target, tokens_in=3, tokens_out=tokens)
        return made

    async def end(self, made: ModelInvocation, tokens: int) -> None:
        made.usage = TokenUsage(input_tokens=3, output_tokens=tokens, total_tokens=3 + tokens)
        await self._metering.ledger.record(made)

    async def begun(self, calls: int) -> list[ModelInvocation]:
        """Those that may go ahead, of so many at once."""
        tried = await asyncio.gather(*(self.begin() for _ in range(calls)), return_exceptions=True)
        return [made for made in tried if isinstance(made, ModelInvocation)]


@asynccontextmanager
async def worlds(folder: Path, rule: BudgetConfig, number: int = 1) -> AsyncGenerator[list[World]]:
    """So many workers that count together."""
    clock = FakeClock()
    counters = LocalCounters(clock)
    async with (
        open_store(folder / "outcrop.sqlite3", clock=clock) as store,
        asyncio.TaskGroup() as tasks,
        open_ledger(
            folder / "j",
            store.usage,
            store.provisioned_hours,
            config=MeteringConfig(),
            prices=PRICES,
            budgets=[rule],
            log=LogSpool(folder / "log", 1),
            imports=True,
            tasks=tasks,
            clock=clock,
        ) as metering,
    ):
        spending = Spending(store.usage, store.provisioned_hours, PRICES, clock=clock)
        others = [
            Budgets([rule], spending, metering.importer, clock=clock) for _ in range(1, number)
        ]
        yield [World(metering, clock, budgets, counters) for budgets in (metering.budgets, *others)]


@pytest.mark.parametrize("workers", [1, 2])
def test_of_many_calls_at_once_as_many_begin_as_the_budget_is_good_for(
    tmp_path: Path, workers: int
) -> None:
    async def main() -> None:
        async with worlds(tmp_path, budget(35), workers) as here:
            begun = [made for world in here for made in await world.begun(50)]
            # Three are held at ten cents each, the fourth has the five that are left.
            assert len(begun) == 4
            with pytest.raises(ThrottlingException) as refused:
                await here[0].begin()
            assert str(refused.value) == (
                'The rest of budget "b" is held for calls in progress,'
                " please wait before trying again."
            )
            assert refused.value.retry_after_s == 1

            # They used less than was held: there is room again.
            for made in begun:
                await here[0].end(made, 2)
            assert len(await here[0].begun(50)) == 3

    asyncio.run(main())


def test_what_is_spent_is_refused_for_good(tmp_path: Path) -> None:
    async def main() -> None:
        async with worlds(tmp_path, budget(10)) as (here,):
            await here.end(await here.begin(), 10)
            with pytest.raises(AccessDeniedException):
                await here.begin()

    asyncio.run(main())


def test_a_budget_that_only_warns_holds_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with worlds(tmp_path, budget(10, when_spent="warn")) as (here,):
            assert len(await here.begun(50)) == 50

    asyncio.run(main())


@pytest.mark.slow
@given(
    cents=st.integers(1, 60),
    used=st.lists(st.integers(0, 10), min_size=1, max_size=12),
    at_once=st.integers(1, 8),
)
@settings(max_examples=30)
def test_a_budget_is_passed_by_the_last_call_at_most(
    cents: int, used: Sequence[int], at_once: int
) -> None:
    async def main() -> int:
        spent, left = 0, list(used)
        with TemporaryDirectory() as folder:
            async with worlds(Path(folder), budget(cents)) as (here,):
                while left:
                    begun = await here.begun(at_once)
                    if not begun:
                        break
                    for made in begun:
                        tokens = left.pop() if left else 0
                        await here.end(made, tokens)
                        spent += tokens
        return spent

    assert asyncio.run(main()) < cents + 10
