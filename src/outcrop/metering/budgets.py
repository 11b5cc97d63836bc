"""Budgets: what may be spent in a day or a month, and by whom; asked before a model is."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from outcrop.metering.config import BudgetConfig, Period
from outcrop.metering.importer import Importer, Sleep
from outcrop.metering.invocation import ModelInvocation
from outcrop.store.errors import StoreError
from outcrop.store.usage import CostPoint, Usage
from outcrop.store.usage_records import PICO_DOLLARS, UsageRecord
from outcrop.wire.errors import AccessDeniedException
from outcrop.wire.timestamps import Clock, from_micros, iso8601

EVERY_S = 1.0
"""So far behind, at most, is what other workers have spent."""
CLOSED_EVERY = 60
"""Rounds until days that are over are read again: a dead worker's journal may come late."""
_REMEMBERED = 10_000
_DAY = timedelta(days=1)
_DAY_S = 86_400

_log = logging.getLogger(__name__)

Key: TypeAlias = tuple[str, datetime]
"""A budget's name, and when the period begins."""


class Spender(NamedTuple):
    """All that a budget can be about."""

    account_id: str
    principal_arn: str
    model_id: str
    profile_arn: str | None
    tags: tuple[tuple[str, str], ...]


class Budgets:
    """What is in the store, and what this process has recorded since it was read."""

    def __init__(
        self, rules: Sequence[BudgetConfig], usage: Usage, importer: Importer, *, clock: Clock
    ) -> None:
        self._usage = usage
        self._importer = importer
        self._clock = clock
        self.follow(rules)

    def follow(self, rules: Sequence[BudgetConfig]) -> None:
        """Others from here on; what was spent of them is known after the next `refresh`."""
        self.rules = rules
        self._covering: dict[Spender, Sequence[BudgetConfig]] = {}
        self._stored: Mapping[Key, int] = {}
        self._closed: tuple[datetime | None, Mapping[str, int]] = None, {}
        self._recorded: Counter[Key] = Counter()
        self._told: set[Key] = set()

    def require(self, invocation: ModelInvocation) -> None:
        """Raises AccessDeniedException when a budget that refuses is spent.

        Writes down, for the answer's headers, the budget that is nearest to its end.
        """
        if not self.rules:
            return
        now, most = self._clock(), Decimal(0)
        for rule in self._of(_spender_of(invocation)):
            spent = dollars_of(self._spent((rule.name, begins(now, rule.period))))
            if spent >= rule.amount_usd and rule.when_spent == "refuse":
                raise AccessDeniedException(_refusal(rule, spent, now))
            percent = 100 * spent / rule.amount_usd
            if percent >= max(Decimal(rule.warn_at_percent), most):
                most = percent
                invocation.budget = _notice(rule, spent)
                self._tell_once((rule.name, begins(now, rule.period)), invocation.budget)

    def add(self, record: UsageRecord) -> None:
        """What this process has on disk: it counts before it is in the store."""
        if not self.rules or record.foundation_model_id is None or not record.cost:
            return
        ended_at = from_micros(record.began_at + record.duration_us)
        for rule in self._of(_spender_in(record, record.foundation_model_id)):
            self._recorded[rule.name, begins(ended_at, rule.period)] += record.cost

    async def refresh(self) -> None:
        """Raises StoreError; what was known stays."""
        recorded, rules = dict(self._recorded), self.rules
        if not rules:
            return
        # What was recorded until here is in the store afterwards.
        await self._importer.once()
        stored = await self._read(rules, self._clock())
        if rules is not self.rules:
            return
        self._stored = stored
        self._recorded.subtract(recorded)
        self._recorded = +self._recorded

    async def run(self, sleep: Sleep = asyncio.sleep) -> None:
        """For as long as the worker lives."""
        rounds = 0
        while True:
            await sleep(EVERY_S)
            rounds += 1
            if rounds % CLOSED_EVERY == 0:
                self._closed = None, {}
            try:
                await self.refresh()
            except StoreError as error:
                _log.warning("budgets: what others have spent is not known: %s", error)
            except Exception:  # noqa: BLE001 - the next round may do better
                _log.exception("budgets could not be read")

    async def _read(self, rules: Sequence[BudgetConfig], now: datetime) -> Mapping[Key, int]:
        today, month = begins(now, "DAY"), begins(now, "MONTH")
        day, closed = self._closed
        if day != today:
            closed = await spent_in_store(self._usage, rules, month, today)
            self._closed = today, closed
        fresh = await spent_in_store(self._usage, rules, today, today + _DAY)
        return {
            (rule.name, begins(now, rule.period)): fresh[rule.name]
            + (closed[rule.name] if rule.period == "MONTH" else 0)
            for rule in rules
        }

    def _spent(self, key: Key) -> int:
        return self._stored.get(key, 0) + self._recorded[key]

    def _of(self, spender: Spender) -> Sequence[BudgetConfig]:
        found = self._covering.get(spender)
        if found is None:
            if len(self._covering) >= _REMEMBERED:
                self._covering.clear()
            found = self._covering[spender] = [r for r in self.rules if covers(r, spender)]
        return found

    def _tell_once(self, key: Key, notice: str) -> None:
        if key not in self._told:
            self._told.add(key)
            _log.warning("budget: %s", notice)


def covers(rule: BudgetConfig, spender: Spender) -> bool:
    return rule.applies_to(
        account_id=spender.account_id,
        principal_arn=spender.principal_arn,
        model_id=spender.model_id,
        profile_arn=spender.profile_arn,
        tags=dict(spender.tags),
    )


async def spent_in_store(
    usage: Usage, rules: Iterable[BudgetConfig], start: datetime, end: datetime
) -> Mapping[str, int]:
    """Pico-dollars by budget's name, in days of UTC. Raises StoreError."""
    spent: Counter[str] = Counter()
    for account_id in await usage.accounts() if start < end else ():
        names: dict[int, Sequence[str]] = {}
        for point in await usage.costs(account_id, start=start, end=end, span_s=_DAY_S):
            of = id(point.series)
            if of not in names:
                spender = _spender_at(account_id, point)
                names[of] = [rule.name for rule in rules if covers(rule, spender)]
            for name in names[of]:
                spent[name] += point.costs.cost
    return spent


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


def _spender_at(account_id: str, point: CostPoint) -> Spender:
    series = point.series
    return Spender(
        account_id,
        series.principal_arn,
        series.foundation_model_id,
        series.inference_profile_arn,
        series.tags,
    )


def _refusal(rule: BudgetConfig, spent: Decimal, now: datetime) -> str:
    return (
        f"{_notice(rule, spent)}. Calls that it covers are refused until"
        f" {iso8601(ends(now, rule.period))}."
    )


def _notice(rule: BudgetConfig, spent: Decimal) -> str:
    """To the cent, downwards: a budget that is not spent does not look it."""
    told = spent.quantize(Decimal("0.01"), "ROUND_FLOOR") if spent >= 1 else spent.normalize()
    return f'budget "{rule.name}": {told:f} of {rule.amount_usd:f} USD a {rule.period.lower()}'
