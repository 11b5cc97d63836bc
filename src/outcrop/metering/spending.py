"""What was spent of budgets, by what the store knows: tokens, and hours of model units."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from outcrop.metering.config import BudgetConfig, Period
from outcrop.metering.costs import held_cost, model_id_of
from outcrop.metering.prices import PriceList
from outcrop.store.throughput_history import Held, ProvisionedHours
from outcrop.store.usage import CostPoint, Usage
from outcrop.store.usage_records import PICO_DOLLARS
from outcrop.store.usage_rollup import CostSeries
from outcrop.wire.timestamps import Clock

HELD_FRESH = timedelta(seconds=10)
"""So old may be what is known of who holds model units."""
_DAY = timedelta(days=1)
_DAY_S = 86_400


class Spender(NamedTuple):
    """All that a budget can be about."""

    account_id: str
    principal_arn: str
    """Empty for hours of model units: they are nobody's but the account's."""
    model_id: str
    profile_arn: str | None
    tags: tuple[tuple[str, str], ...]


class Spending:
    def __init__(
        self, usage: Usage, provisioned: ProvisionedHours, prices: PriceList, *, clock: Clock
    ) -> None:
        self._usage = usage
        self._provisioned = provisioned
        self.prices = prices
        self._clock = clock
        self._held: tuple[datetime, datetime, Sequence[tuple[str, Held]]] | None = None
        # Asked every second: whose series is covered by what, for the rules asked about last. The
        # store has one object for each series; it is kept, so that no other has its id.
        self._covering: tuple[object, dict[int, tuple[CostSeries, Sequence[str]]]] = None, {}

    def at(self, prices: PriceList) -> "Spending":
        """The like, with hours at other prices."""
        return Spending(self._usage, self._provisioned, prices, clock=self._clock)

    async def spent(
        self, rules: Sequence[BudgetConfig], start: datetime, end: datetime
    ) -> Mapping[str, int]:
        """Pico-dollars by budget's name, in days of UTC, until now. Raises StoreError."""
        spent: Counter[str] = Counter()
        if start < end:
            await self._add_tokens(spent, rules, start, end)
            await self._add_hours(spent, rules, start, end)
        return spent

    async def _add_tokens(
        self, spent: Counter[str], rules: Iterable[BudgetConfig], start: datetime, end: datetime
    ) -> None:
        if self._covering[0] is not rules:
            self._covering = rules, {}
        names = self._covering[1]
        for account_id in await self._usage.accounts():
            points = await self._usage.costs(account_id, start=start, end=end, span_s=_DAY_S)
            for point in points:
                of = id(point.series)
                if of not in names:
                    spender = _spender_at(account_id, point)
                    covering = [rule.name for rule in rules if covers(rule, spender)]
                    names[of] = point.series, covering
                for name in names[of][1]:
                    spent[name] += point.costs.cost

    async def _add_hours(
        self, spent: Counter[str], rules: Iterable[BudgetConfig], start: datetime, end: datetime
    ) -> None:
        until = min(end, self._clock())
        for account_id, held in await self._held_since(start):
            cost = held_cost(held, self.prices, start, until)
            spender = _spender_of_units(account_id, held)
            for rule in rules:
                if cost and covers(rule, spender):
                    spent[rule.name] += cost

    async def _held_since(self, start: datetime) -> Sequence[tuple[str, Held]]:
        now = self._clock()
        if self._held is None or self._held[1] != start or now - self._held[0] >= HELD_FRESH:
            found = [
                (account_id, held)
                for account_id in await self._provisioned.accounts()
                for held in await self._provisioned.held(account_id, since=start)
            ]
            self._held = now, start, found
        return self._held[2]


def covers(rule: BudgetConfig, spender: Spender) -> bool:
    return rule.applies_to(
        account_id=spender.account_id,
        principal_arn=spender.principal_arn,
        model_id=spender.model_id,
        profile_arn=spender.profile_arn,
        tags=dict(spender.tags),
    )


def begins(moment: datetime, period: Period) -> datetime:
    """In UTC, as the clock is."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return day.replace(day=1) if period == "MONTH" else day


def ends(moment: datetime, period: Period) -> datetime:
    first = begins(moment, period)
    return first + _DAY if period == "DAY" else (first + 31 * _DAY).replace(day=1)


def dollars_of(pico: int) -> Decimal:
    """Exact."""
    return Decimal(pico) / PICO_DOLLARS


def _spender_at(account_id: str, point: CostPoint) -> Spender:
    series = point.series
    return Spender(
        account_id,
        series.principal_arn,
        series.foundation_model_id,
        series.inference_profile_arn,
        series.tags,
    )


def _spender_of_units(account_id: str, held: Held) -> Spender:
    return Spender(account_id, "", model_id_of(held), None, held.tags)
