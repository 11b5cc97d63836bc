"""`outcrop usage`: what was used, by whom, and what it cost, read from the store."""

import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from msgspec import Struct

from outcrop.metering.config import BudgetConfig
from outcrop.metering.costs import MODEL_UNIT_HOURS, TAG, TOKENS, CostRow, Costs, Granularity
from outcrop.metering.prices import PriceList
from outcrop.metering.spending import Spending, begins, dollars_of, ends
from outcrop.server.config import Config
from outcrop.server.usage_focus import FOCUS_GROUPS, focus_csv
from outcrop.server.usage_formats import (
    Line,
    Unused,
    as_json,
    budgets_table,
    plot,
    table,
    unused_table,
)
from outcrop.store.store import Store, open_store
from outcrop.wire.timestamps import Clock

GROUPS: Mapping[str, str] = {
    "account": "LINKED_ACCOUNT",
    "model": "MODEL",
    "principal": "PRINCIPAL",
    "profile": "INFERENCE_PROFILE",
    "provisioned": "PROVISIONED_MODEL",
    "region": "REGION",
    "usage-type": "USAGE_TYPE",
}
PERIODS: Mapping[str, Granularity] = {"hour": "HOURLY", "day": "DAILY", "month": "MONTHLY"}
_UNCUT = 10_000
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Question(Struct, frozen=True, kw_only=True):
    """What is asked of the store. Raises ValueError where that makes no sense."""

    by: tuple[str, ...]
    """Names of GROUPS, `tag:KEY`, or one of PERIODS; each once."""
    since: datetime
    until: datetime

    def __post_init__(self) -> None:
        periods = [name for name in self.by if name in PERIODS]
        if len(periods) > 1:
            raise ValueError(f"--by {' --by '.join(periods)}: one of them")
        if len(set(self.by)) < len(self.by):
            raise ValueError(f"--by {' --by '.join(self.by)}: each once")
        if self.since > self.until:
            since, until = (f"{at:%Y-%m-%dT%H:%MZ}" for at in (self.since, self.until))
            raise ValueError(f"--since {since} is after --until {until}")

    @property
    def granularity(self) -> Granularity | None:
        return next((PERIODS[name] for name in self.by if name in PERIODS), None)

    @property
    def heads(self) -> list[str]:
        """Of a table's columns: the period comes first."""
        return sorted(self.by, key=lambda name: name not in PERIODS)


def moment(text: str, now: datetime) -> datetime:
    """`7d`, `90m`, `2026-11-01`, `2026-11-01T12:00`: in UTC. Raises ValueError."""
    ago = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    try:
        if ago:
            return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        parsed = datetime.fromisoformat(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text} is no time such as 90m, 24h, 7d or 2026-11-01") from None


def dimension(name: str) -> str:
    """As Costs names it. Raises ValueError."""
    if name.startswith("tag:") and len(name) > 4:
        return TAG + name[4:]
    try:
        return GROUPS[name]
    except KeyError:
        known = ", ".join((*GROUPS, *PERIODS, "tag:KEY"))
        raise ValueError(f"--by {name}: must be one of {known}") from None


class UsageReport:
    """Reads the store that a configuration names, whether a server runs on it or not."""

    def __init__(self, config: Config, *, clock: Clock) -> None:
        self._config = config
        self._clock = clock

    async def text(self, question: Question, form: str | None) -> str:
        """As `json`, `csv`, `plot` or a table; `unused` asks something else."""
        async with open_store(self._location, clock=self._clock) as store:
            if form == "budgets":
                return budgets_table(await self.budgets(store))
            if form == "unused":
                return unused_table(await self.unused(store, question))
            if form == "csv":
                return (await self.focus(store, question)).rstrip("\n")
            lines = await self.lines(store, question)
        if form == "json":
            return as_json(lines)
        if form == "plot":
            return plot(lines, question.heads, shutil.get_terminal_size().columns)
        # Into a file or a pipe nothing is cut: two ARNs may differ in their middle alone.
        return table(lines, question.heads, shutil.get_terminal_size((_UNCUT, 0)).columns)

    async def lines(self, store: Store, question: Question) -> list[Line]:
        """By period if one is asked for, then the most expensive first."""
        group_by = [dimension(name) for name in question.by if name not in PERIODS]
        granularity = question.granularity or "MONTHLY"
        rows = await self._rows(store, question, granularity, group_by)
        lines = _lines(rows, by_time=question.granularity is not None)
        return sorted(
            lines, key=lambda line: (line.start or question.since, -line.cost_usd, line.keys)
        )

    async def focus(self, store: Store, question: Question) -> str:
        """A row a charge and period: a day, if no other is asked for."""
        tags = [dimension(name) for name in question.by if name.startswith("tag:")]
        group_by = [*FOCUS_GROUPS, *tags]
        granularity = question.granularity or "DAILY"
        rows = await self._rows(store, question, granularity, group_by)
        names = await self._resource_names(store, question)
        return focus_csv(rows, group_by, granularity, resource_names=names)

    async def budgets(self, store: Store) -> list[tuple[BudgetConfig, Decimal]]:
        """With what is spent of each in its present period."""
        now, found = self._clock(), list[tuple[BudgetConfig, Decimal]]()
        prices = PriceList(self._config.prices)
        spending = Spending(store.usage, store.provisioned_hours, prices, clock=self._clock)
        for rule in self._config.budgets:
            start, end = begins(now, rule.period), ends(now, rule.period)
            spent = await spending.spent([rule], start, end)
            found.append((rule, dollars_of(spent.get(rule.name, 0))))
        return found

    async def unused(self, store: Store, question: Question) -> list[Unused]:
        """Application profiles and provisioned models that nobody called in that time."""
        called = await self._called(store, question)
        found = [
            Unused(kind="inference profile", arn=arn, name=name)
            for arn, name in await store.inference_profiles.arns()
            if arn not in called
        ]
        for account_id in await store.provisioned_hours.accounts():
            for held in await store.provisioned_hours.held(account_id, since=question.until):
                arn, name = held.record.provisioned_model_arn, held.record.provisioned_model_name
                if held.until is None and arn not in called:
                    found.append(Unused(kind="provisioned model", arn=arn, name=name))
        return found

    async def _resource_names(self, store: Store, question: Question) -> dict[str, str]:
        """By ARN, of application profiles that are there and provisioned models that were."""
        names = dict(await store.inference_profiles.arns())
        for account_id in await store.provisioned_hours.accounts():
            for held in await store.provisioned_hours.held(account_id, since=question.since):
                names[held.record.provisioned_model_arn] = held.record.provisioned_model_name
        return names

    async def _rows(
        self, store: Store, question: Question, granularity: Granularity, group_by: Sequence[str]
    ) -> list[CostRow]:
        costs = self._costs(store)
        rows: list[CostRow] = []
        for account_id in await _accounts(store):
            rows += await costs.costs(
                account_id,
                start=question.since,
                end=question.until,
                granularity=granularity,
                group_by=group_by,
            )
        return rows

    async def _called(self, store: Store, question: Question) -> set[str]:
        costs, called = self._costs(store), set[str]()
        for account_id in await store.usage.accounts():
            for point in await costs.points(account_id, question.since, question.until):
                series = point.series
                called |= {series.inference_profile_arn or "", series.provisioned_model_arn or ""}
        return called

    def _costs(self, store: Store) -> Costs:
        prices = PriceList(self._config.prices)
        return Costs(store.usage, store.provisioned_hours, prices, clock=self._clock)

    @property
    def _location(self) -> str | Path:
        return self._config.database_url or self._config.sqlite_path


async def _accounts(store: Store) -> Sequence[str]:
    used, bought = await store.usage.accounts(), await store.provisioned_hours.accounts()
    return sorted({*used, *bought})


def _lines(rows: Sequence[CostRow], *, by_time: bool) -> list[Line]:
    """Tokens and hours side by side."""
    lines: dict[tuple[datetime | None, tuple[str, ...]], Line] = {}
    for row in rows:
        key = row.start if by_time else None, row.keys
        before = lines.get(key) or Line(
            start=key[0],
            keys=row.keys,
            invocations=0,
            tokens=0,
            model_unit_hours=Decimal(0),
            cost_usd=Decimal(0),
            priced=True,
        )
        lines[key] = Line(
            start=key[0],
            keys=row.keys,
            invocations=before.invocations + row.invocations,
            tokens=before.tokens + (int(row.usage) if row.unit == TOKENS else 0),
            model_unit_hours=before.model_unit_hours
            + (row.usage if row.unit == MODEL_UNIT_HOURS else 0),
            cost_usd=before.cost_usd + row.cost,
            priced=before.priced and row.priced,
        )
    return list(lines.values())
