"""What was used and what it cost, by time and by whatever a bill is split by."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal, TypeAlias

from msgspec import Struct

from outcrop.metering.prices import PriceList
from outcrop.metering.usage_types import TOKEN_KINDS, token_usage_type, unit_usage_type
from outcrop.store.catalogue import without_context
from outcrop.store.records import ProvisionedModelThroughputRecord
from outcrop.store.throughput_history import Held, ProvisionedHours
from outcrop.store.usage import CostPoint, Usage
from outcrop.store.usage_age import HOURS_KEPT
from outcrop.store.usage_records import PICO_DOLLARS
from outcrop.store.usage_rollup import CostSeries
from outcrop.wire.arn import Arn
from outcrop.wire.timestamps import Clock

Granularity: TypeAlias = Literal["HOURLY", "DAILY", "MONTHLY"]
SERVICE = "Amazon Bedrock"
RECORD_TYPE = "Usage"
"""Of every cost there is: nothing is credited, refunded or taxed."""
TOKENS, MODEL_UNIT_HOURS = "Tokens", "ModelUnitHours"
TAG = "TAG:"
NONE = ""
"""The key of what has no such tag, profile or provisioned model."""

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_HOUR_S, _DAY_S = 3_600, 86_400
_HOUR_MICROS = 3_600_000_000


class CostRow(Struct, frozen=True, kw_only=True):
    start: datetime
    """When the period begins."""
    keys: tuple[str, ...]
    """What it was grouped by, in that order."""
    cost: Decimal
    """US dollars."""
    usage: Decimal
    unit: str
    """`Tokens` or `ModelUnitHours`: they are never added up."""
    invocations: int
    priced: bool
    """Whether a price is known for all of it; what has none costs 0."""


class _Split(Struct, frozen=True, kw_only=True):
    """How a bill is split, and what is on it."""

    granularity: Granularity
    group_by: Sequence[str]
    filters: Mapping[str, Sequence[str]]

    def keys(self, names: Mapping[str, str]) -> tuple[str, ...] | None:
        """Of a line with these names, by dimension; None: it is not on the bill."""
        if all(names.get(name, NONE) in values for name, values in self.filters.items()):
            return tuple(names.get(name, NONE) for name in self.group_by)
        return None


class Costs:
    """Tokens from the sums in the store; model units from when they were held."""

    def __init__(
        self, usage: Usage, provisioned: ProvisionedHours, prices: PriceList, *, clock: Clock
    ) -> None:
        self._usage = usage
        self._provisioned = provisioned
        self._prices = prices
        self._clock = clock

    async def costs(
        self,
        account_id: str,
        *,
        start: datetime,
        end: datetime,
        granularity: Granularity,
        group_by: Sequence[str] = (),
        filters: Mapping[str, Sequence[str]] | None = None,
    ) -> Sequence[CostRow]:
        """From `start`, to the hour, up to `end`; by period, then keys.

        Every filter must be met, by one of its values.
        """
        split = _Split(granularity=granularity, group_by=group_by, filters=filters or {})
        bill = _Bill(split)
        bill.add_tokens(account_id, await self.points(account_id, start, end, granularity))
        for held in await self._provisioned.held(account_id, since=start):
            price = _unit_price(held, self._prices)
            names = _unit_names(held)
            span = _held_within(held, start, min(end, self._clock()))
            bill.add_units(names, price, held.record, span)
        return bill.rows()

    async def tag_keys(self, account_id: str, *, start: datetime, end: datetime) -> Sequence[str]:
        """Of what was used or held."""
        points = await self.points(account_id, start, end)
        held = await self._provisioned.held(account_id, since=start)
        tags = [*(point.series.tags for point in points), *(one.tags for one in held)]
        return sorted({key for pairs in tags for key, _ in pairs})

    async def points(
        self, account_id: str, start: datetime, end: datetime, granularity: Granularity = "DAILY"
    ) -> Sequence[CostPoint]:
        """By day where both ends are midnight; else by hour, to the hour.

        Of what is so old that hours are not kept, by whole days; nothing if hours are asked for.
        """
        first = start.replace(minute=0, second=0, microsecond=0)
        if granularity == "HOURLY":
            return await self._usage.costs(account_id, start=first, end=end, span_s=_HOUR_S)
        oldest = _midnight(self._clock() - HOURS_KEPT) + _DAY
        hours_from = end if _on_the_day(start) and _on_the_day(end) else min(oldest, end)
        days: Sequence[CostPoint] = []
        if first < hours_from:
            days = await self._usage.costs(
                account_id, start=_midnight(first), end=hours_from, span_s=_DAY_S
            )
        since = max(first, hours_from)
        if since >= end:
            return days
        hours = await self._usage.costs(account_id, start=since, end=end, span_s=_HOUR_S)
        return [*days, *hours]


class _Sum(Struct):
    cost_pico: int = 0
    usage: Decimal | int = 0
    invocations: int = 0
    priced: bool = True


class _Bill:
    def __init__(self, split: _Split) -> None:
        self._split = split
        self._sums: dict[tuple[datetime, tuple[str, ...], str], _Sum] = {}

    def add_tokens(self, account_id: str, points: Iterable[CostPoint]) -> None:
        places: dict[int, Sequence[tuple[tuple[str, ...], tuple[int, ...]]]] = {}
        starts: dict[datetime, datetime] = {}
        for point in points:
            series, costs = point.series, point.costs
            place = places.get(id(series))
            if place is None:
                place = places[id(series)] = self._places(account_id, series)
            start = starts.get(point.at)
            if start is None:
                start = starts[point.at] = _period(point.at, self._split.granularity)
            for keys, kinds in place:
                used = sum([costs[1 + kind] for kind in kinds])
                invocations = costs.invocations if 0 in kinds else 0
                if used or invocations:
                    total = self._sum(start, keys, TOKENS)
                    total.cost_pico += sum([costs[5 + kind] for kind in kinds])
                    total.usage += used
                    total.invocations += invocations
                    total.priced = total.priced and series.priced

    def add_units(
        self,
        names: Mapping[str, str],
        price: Decimal | None,
        record: ProvisionedModelThroughputRecord,
        span: tuple[datetime, datetime],
    ) -> None:
        keys = self._split.keys(names)
        if keys is None:
            return
        for at, length in _pieces(*span, self._split.granularity):
            hours = _unit_hours(record, length)
            total = self._sum(at, keys, MODEL_UNIT_HOURS)
            total.cost_pico += _units_cost(hours, price)
            total.usage += hours
            total.priced = total.priced and price is not None

    def rows(self) -> list[CostRow]:
        return [
            CostRow(
                start=start,
                keys=keys,
                cost=dollars(total.cost_pico),
                usage=Decimal(total.usage),
                unit=unit,
                invocations=total.invocations,
                priced=total.priced,
            )
            for (start, keys, unit), total in sorted(self._sums.items(), key=lambda entry: entry[0])
        ]

    def _sum(self, start: datetime, keys: tuple[str, ...], unit: str) -> _Sum:
        key = start, keys, unit
        total = self._sums.get(key)
        if total is None:
            total = self._sums[key] = _Sum()
        return total

    def _places(
        self, account_id: str, series: CostSeries
    ) -> Sequence[tuple[tuple[str, ...], tuple[int, ...]]]:
        """Which kinds of token go where: invocations are counted with the first kind."""
        places: dict[tuple[str, ...], list[int]] = {}
        for kind, names in enumerate(_token_names(account_id, series)):
            keys = self._split.keys(names)
            if keys is not None:
                places.setdefault(keys, []).append(kind)
        return [(keys, tuple(kinds)) for keys, kinds in places.items()]


def held_cost(held: Held, prices: PriceList, start: datetime, end: datetime) -> int:
    """Pico-dollars for the model units from `start` to `end`; 0 where no price is known."""
    first, last = _held_within(held, start, end)
    hours = _unit_hours(held.record, max(last - first, timedelta()))
    return _units_cost(hours, _unit_price(held, prices))


def model_id_of(held: Held) -> str:
    """The foundation model, as its invocations name it: without a context length."""
    return without_context(_bought_id(held))


def _bought_id(held: Held) -> str:
    """`amazon.nova-lite-v1:0:24k`."""
    return Arn.parse(held.record.foundation_model_arn).resource_id


def _unit_price(held: Held, prices: PriceList) -> Decimal | None:
    record = held.record
    return prices.unit_hour(record.region, _bought_id(held), record.commitment_duration)


def _held_within(held: Held, start: datetime, end: datetime) -> tuple[datetime, datetime]:
    last = end if held.until is None else min(end, held.until)
    return max(start, held.record.creation_time), last


def _unit_hours(record: ProvisionedModelThroughputRecord, length: timedelta) -> Decimal:
    micros = length // timedelta(microseconds=1)
    return Decimal(micros) * record.model_units / _HOUR_MICROS


def _units_cost(hours: Decimal, price: Decimal | None) -> int:
    """To the nearest pico-dollar: hours like a third have an end in decimals alone."""
    if price is None:
        return 0
    return int((hours * price * PICO_DOLLARS).to_integral_value(ROUND_HALF_EVEN))


def dollars(pico: int) -> Decimal:
    """Exact."""
    return Decimal(pico).scaleb(-12) if pico else Decimal(0)


def _token_names(account_id: str, series: CostSeries) -> list[dict[str, str]]:
    """For each kind of token."""
    common = {
        "SERVICE": SERVICE,
        "RECORD_TYPE": RECORD_TYPE,
        "REGION": series.region,
        "LINKED_ACCOUNT": account_id,
        "PRINCIPAL": series.principal_arn,
        "MODEL": series.foundation_model_id,
        "INFERENCE_PROFILE": series.inference_profile_arn or NONE,
        "PROVISIONED_MODEL": series.provisioned_model_arn or NONE,
        **{f"{TAG}{key}": value for key, value in series.tags},
    }
    return [{**common, "USAGE_TYPE": token_usage_type(series, kind)} for kind in TOKEN_KINDS]


def _unit_names(held: Held) -> dict[str, str]:
    record = held.record
    return {
        "SERVICE": SERVICE,
        "RECORD_TYPE": RECORD_TYPE,
        "REGION": record.region,
        "LINKED_ACCOUNT": record.account_id,
        "PRINCIPAL": NONE,
        "MODEL": model_id_of(held),
        "INFERENCE_PROFILE": NONE,
        "PROVISIONED_MODEL": record.provisioned_model_arn,
        "USAGE_TYPE": unit_usage_type(record.region, _bought_id(held), record.commitment_duration),
        **{f"{TAG}{key}": value for key, value in held.tags},
    }


def _pieces(
    start: datetime, end: datetime, granularity: Granularity
) -> Iterator[tuple[datetime, timedelta]]:
    """The periods that a span touches, and how much of each it takes."""
    while start < end:
        period = _period(start, granularity)
        until = min(_next(period, granularity), end)
        yield period, until - start
        start = until


def _period(moment: datetime, granularity: Granularity) -> datetime:
    hour = moment.replace(minute=0, second=0, microsecond=0)
    if granularity == "HOURLY":
        return hour
    return hour.replace(hour=0) if granularity == "DAILY" else hour.replace(hour=0, day=1)


def _next(period: datetime, granularity: Granularity) -> datetime:
    if granularity == "MONTHLY":
        return (period + 31 * _DAY).replace(day=1)
    return period + (_HOUR if granularity == "HOURLY" else _DAY)


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _on_the_day(moment: datetime) -> bool:
    return moment == _midnight(moment)
