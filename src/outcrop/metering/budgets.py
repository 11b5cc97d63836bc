"""Budgets: what may be spent in a day or a month, and by whom; asked before a model is."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

from outcrop.counters.limit import Limit
from outcrop.metering.config import BudgetConfig
from outcrop.metering.importer import Importer, Sleep
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.prices import PriceList
from outcrop.metering.quotas import HELD, Quota, Tokens
from outcrop.metering.spending import Spender, Spending, begins, covers, dollars_of, ends
from outcrop.store.errors import StoreError
from outcrop.store.usage_records import PICO_DOLLARS, UsageRecord, cost_of
from outcrop.wire.errors import AccessDeniedException
from outcrop.wire.timestamps import Clock, from_micros, iso8601

EVERY_S = 1.0
"""So far behind, at most, is what other workers have spent."""
CLOSED_EVERY = 60
"""Rounds until days that are over are read again: a dead worker's journal may come late."""
_REMEMBERED = 10_000
_DAY = timedelta(days=1)
_NANO = 1_000
"""Pico-dollars: what is held is counted in thousands of them, where numbers are floats."""

_log = logging.getLogger(__name__)

Key: TypeAlias = tuple[str, datetime]
"""A budget's name, and when the period begins."""


class Budgets:
    """What is in the store, and what this process has recorded since it was read."""

    def __init__(
        self,
        rules: Sequence[BudgetConfig],
        spending: Spending,
        importer: Importer,
        *,
        clock: Clock,
    ) -> None:
        self._spending = spending
        self._importer = importer
        self._clock = clock
        self._book = _Book(rules)
        self._next: _Book | None = None

    @property
    def rules(self) -> Sequence[BudgetConfig]:
        return self._book.rules

    async def prepared(
        self, rules: Sequence[BudgetConfig], prices: PriceList
    ) -> Callable[[], None]:
        """What has others hold from then on: what was spent of them is known by then.

        Raises StoreError.
        """
        spending = self._spending.at(prices)
        book = self._next = _Book(rules, self._book.told)
        await self._refresh(book, spending)

        def follow() -> None:
            self._book, self._spending, self._next = book, spending, None

        return follow

    def require(self, invocation: ModelInvocation, expected: Tokens) -> Sequence[Quota]:
        """What is to be held until the call is recorded, of the budgets that refuse.

        Raises AccessDeniedException when one of them is spent. Writes down, for the answer's
        headers, the budget that is nearest to its end.
        """
        if not self.rules:
            return ()
        now, most = self._clock(), 0
        held: list[Quota] = []
        cost = self._expected_cost(invocation, expected)
        for rule in self._book.of(_spender_of(invocation)):
            key = rule.name, begins(now, rule.period)
            spent, amount = self._book.spent(key), self._book.amounts[rule.name]
            if rule.when_spent == "refuse":
                if spent >= amount:
                    raise AccessDeniedException(_refusal(rule, spent, now))
                if cost:
                    held.append(_held(key, amount - spent, cost))
            percent = 100 * spent // amount
            if percent >= max(rule.warn_at_percent, most):
                most = percent
                invocation.budget = _notice(rule, spent)
                self._book.tell_once(key, invocation.budget)
        return held

    def add(self, record: UsageRecord) -> None:
        """What this process has on disk: it counts before it is in the store."""
        for book in (self._book, self._next):
            if book is not None:
                book.add(record)

    async def refresh(self) -> None:
        """Raises StoreError; what was known stays."""
        await self._refresh(self._book, self._spending)

    async def run(self, sleep: Sleep = asyncio.sleep) -> None:
        """For as long as the worker lives."""
        rounds = 0
        while True:
            await sleep(EVERY_S)
            rounds += 1
            if rounds % CLOSED_EVERY == 0:
                self._book.closed = None, {}
            try:
                await self.refresh()
            except StoreError as error:
                _log.warning("budgets: what others have spent is not known: %s", error)
            except Exception:  # noqa: BLE001 - the next round may do better
                _log.exception("budgets could not be read")

    async def _refresh(self, book: "_Book", spending: Spending) -> None:
        if not book.rules:
            return
        recorded = dict(book.recorded)
        # What was recorded until here is in the store afterwards.
        await self._importer.once()
        book.stored = await book.read(spending, self._clock())
        book.recorded.subtract(recorded)
        book.recorded = +book.recorded

    def _expected_cost(self, invocation: ModelInvocation, expected: Tokens) -> int:
        """Pico-dollars; 0 where no price is known."""
        rates = self._spending.prices.rates(
            invocation.caller.region,
            invocation.profile_id,
            invocation.foundation_model_id or "",
            invocation.service_tier,
        )
        return cost_of((expected.input, expected.output, 0, 0), rates)


class _Book:
    """The budgets of one configuration, and what was spent of them."""

    def __init__(self, rules: Sequence[BudgetConfig], told: set[Key] | None = None) -> None:
        self.rules = rules
        self.amounts = {rule.name: max(int(rule.amount_usd * PICO_DOLLARS), 1) for rule in rules}
        """Pico-dollars."""
        self.stored: Mapping[Key, int] = {}
        self.closed: tuple[datetime | None, Mapping[str, int]] = None, {}
        self.recorded: Counter[Key] = Counter()
        self.told = set(told or ())
        self._covering: dict[Spender, Sequence[BudgetConfig]] = {}

    def of(self, spender: Spender) -> Sequence[BudgetConfig]:
        found = self._covering.get(spender)
        if found is None:
            if len(self._covering) >= _REMEMBERED:
                self._covering.clear()
            found = self._covering[spender] = [r for r in self.rules if covers(r, spender)]
        return found

    def spent(self, key: Key) -> int:
        """Pico-dollars."""
        return self.stored.get(key, 0) + self.recorded[key]

    def add(self, record: UsageRecord) -> None:
        if not self.rules or record.foundation_model_id is None or not record.cost:
            return
        ended_at = from_micros(record.began_at + record.duration_us)
        for rule in self.of(_spender_in(record, record.foundation_model_id)):
            self.recorded[rule.name, begins(ended_at, rule.period)] += record.cost

    async def read(self, spending: Spending, now: datetime) -> Mapping[Key, int]:
        today, month = begins(now, "DAY"), begins(now, "MONTH")
        day, closed = self.closed
        if day != today:
            closed = await spending.spent(self.rules, month, today)
            self.closed = today, closed
        fresh = await spending.spent(self.rules, today, today + _DAY)
        return dict(self._sums(now, fresh, closed))

    def tell_once(self, key: Key, notice: str) -> None:
        if key not in self.told:
            self.told.add(key)
            _log.warning("budget: %s", notice)

    def _sums(
        self, now: datetime, fresh: Mapping[str, int], closed: Mapping[str, int]
    ) -> Iterator[tuple[Key, int]]:
        for rule in self.rules:
            before = closed.get(rule.name, 0) if rule.period == "MONTH" else 0
            yield (rule.name, begins(now, rule.period)), fresh.get(rule.name, 0) + before


def _held(key: Key, left: int, cost: int) -> Quota:
    """A call goes ahead while what others are expected to cost leaves anything of the budget.

    `left` and `cost` are pico-dollars, and more than 0.
    """
    name, begin = key
    amount = -(-cost // _NANO)
    limit = Limit(
        key=f"budget/{name}/{begin.toordinal()}", most=-(-left // _NANO) - 1 + amount, span_s=HELD
    )
    return Quota(
        limit=limit,
        per_call=amount,
        text=(
            f'The rest of budget "{name}" is held for calls in progress,'
            " please wait before trying again."
        ),
    )


def _spender_of(invocation: ModelInvocation) -> Spender:
    caller = invocation.caller
    return Spender(
        caller.account_id,
        caller.arn,
        invocation.foundation_model_id or "",
        invocation.inference_profile_arn,
        invocation.tags,
    )


def _spender_in(record: UsageRecord, model_id: str) -> Spender:
    return Spender(
        record.account_id,
        record.principal_arn,
        model_id,
        record.inference_profile_arn,
        record.tags,
    )


def _refusal(rule: BudgetConfig, spent: int, now: datetime) -> str:
    return (
        f"{_notice(rule, spent)}. Calls that it covers are refused until"
        f" {iso8601(ends(now, rule.period))}."
    )


def _notice(rule: BudgetConfig, pico: int) -> str:
    """To the cent, downwards: a budget that is not spent does not look it."""
    spent = dollars_of(pico)
    told = spent.quantize(Decimal("0.01"), "ROUND_FLOOR") if spent >= 1 else spent.normalize()
    return f'budget "{rule.name}": {told:f} of {rule.amount_usd:f} USD a {rule.period.lower()}'
