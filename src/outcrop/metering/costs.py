"""What was used and what it cost, by time and by whatever a bill is split by."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct

from outcrop.metering.prices import PriceList
from outcrop.metering.usage_types import TOKEN_KINDS, token_usage_type, unit_usage_type
from outcrop.store.throughput_history import Held, ProvisionedHours
from outcrop.store.usage import CostPoint, Usage
from outcrop.store.usage_records import PICO_DOLLARS
from outcrop.wire.arn import Arn
from outcrop.wire.timestamps import Clock

Granularity: TypeAlias = Literal["HOURLY", "DAILY", "MONTHLY"]
SERVICE = "Amazon Bedrock"
TOKENS, MODEL_UNIT_HOURS = "Tokens", "ModelUnitHours"
TAG = "TAG:"
NONE = ""
"""The key of what has no such tag, profile or provisioned model."""

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_HOUR_S = Decimal(3600)


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


class Item(Struct, frozen=True, kw_only=True):
    """One line of the most detailed bill."""

    start: datetime
    names: Mapping[str, str]
    """By dimension: SERVICE, REGION, USAGE_TYPE, MODEL, …, and `TAG:…`."""
    cost_pico: int
    usage: Decimal
    unit: str
    invocations: int
    priced: bool


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
        items = self._items(
            account_id, await self._points(account_id, start, end, granularity), granularity
        )
        held = await self._provisioned.held(account_id, since=start)
        units = self._unit_items(held, start, min(end, self._clock()), granularity)
        wanted = (item for item in (*items, *units) if _meets(item, filters or {}))
        return _grouped(wanted, group_by)

    async def _points(
        self, account_id: str, start: datetime, end: datetime, granularity: Granularity
    ) -> Sequence[CostPoint]:
        days = granularity != "HOURLY" and _on_the_day(start) and _on_the_day(end)
        span = _DAY if days else _HOUR
        first = start.replace(minute=0, second=0, microsecond=0)
        span_s = int(span.total_seconds())
        return await self._usage.costs(account_id, start=first, end=end, span_s=span_s)

    def _items(
        self, account_id: str, points: Iterable[CostPoint], granularity: Granularity
    ) -> Iterator[Item]:
        names: dict[int, list[dict[str, str]]] = {}
        starts: dict[datetime, datetime] = {}
        for point in points:
            series, costs = point.series, point.costs
            if id(series) not in names:
                names[id(series)] = _token_names(account_id, point)
            if point.at not in starts:
                starts[point.at] = _period(point.at, granularity)
            tokens, money = costs[1:5], costs[5:9]
            invocations = costs.invocations
            for kind, used, pico in zip(names[id(series)], tokens, money, strict=True):
                if used or invocations:
                    yield Item(
                        start=starts[point.at],
                        names=kind,
                        cost_pico=pico,
                        usage=Decimal(used),
                        unit=TOKENS,
                        invocations=invocations,
                        priced=series.priced,
                    )
                invocations = 0  # counted with the first

    def _unit_items(
        self, held: Iterable[Held], start: datetime, end: datetime, granularity: Granularity
    ) -> Iterator[Item]:
        for one in held:
            record = one.record
            model_id = Arn.parse(record.foundation_model_arn).resource_id
            price = self._prices.unit_hour(record.region, model_id, record.commitment_duration)
            names = _unit_names(one, model_id)
            first = max(start, record.creation_time)
            last = end if one.until is None else min(end, one.until)
            for at, span in _split(first, last, granularity):
                seconds = Decimal(span // timedelta(microseconds=1)) / 1_000_000
                hours = seconds / _HOUR_S * record.model_units
                pico = 0 if price is None else int(hours * price * PICO_DOLLARS)
                yield Item(
                    start=at,
                    names=names,
                    cost_pico=pico,
                    usage=hours,
                    unit=MODEL_UNIT_HOURS,
                    invocations=0,
                    priced=price is not None,
                )


class _Sum(Struct):
    cost_pico: int = 0
    usage: Decimal = Decimal(0)
    invocations: int = 0
    priced: bool = True


def _grouped(items: Iterable[Item], group_by: Sequence[str]) -> list[CostRow]:
    sums: dict[tuple[datetime, tuple[str, ...], str], _Sum] = {}
    for item in items:
        keys = tuple(item.names.get(name, NONE) for name in group_by)
        total = sums.setdefault((item.start, keys, item.unit), _Sum())
        total.cost_pico += item.cost_pico
        total.usage += item.usage
        total.invocations += item.invocations
        total.priced = total.priced and item.priced
    return [
        CostRow(
            start=start,
            keys=keys,
            cost=dollars(total.cost_pico),
            usage=total.usage,
            unit=unit,
            invocations=total.invocations,
            priced=total.priced,
        )
        for (start, keys, unit), total in sorted(sums.items(), key=lambda entry: entry[0])
    ]


def dollars(pico: int) -> Decimal:
    """Exact."""
    return Decimal(pico).scaleb(-12)


def _meets(item: Item, filters: Mapping[str, Sequence[str]]) -> bool:
    return all(item.names.get(name, NONE) in values for name, values in filters.items())


def _token_names(account_id: str, point: CostPoint) -> list[dict[str, str]]:
    """For each kind of token."""
    series = point.series
    common = {
        "SERVICE": SERVICE,
        "REGION": series.region,
        "LINKED_ACCOUNT": account_id,
        "PRINCIPAL": series.principal_arn,
        "MODEL": series.foundation_model_id,
        "INFERENCE_PROFILE": series.inference_profile_arn or NONE,
        "PROVISIONED_MODEL": series.provisioned_model_arn or NONE,
        **{f"{TAG}{key}": value for key, value in series.tags},
    }
    return [{**common, "USAGE_TYPE": token_usage_type(series, kind)} for kind in TOKEN_KINDS]


def _unit_names(held: Held, model_id: str) -> dict[str, str]:
    record = held.record
    return {
        "SERVICE": SERVICE,
        "REGION": record.region,
        "LINKED_ACCOUNT": record.account_id,
        "PRINCIPAL": NONE,
        "MODEL": model_id,
        "INFERENCE_PROFILE": NONE,
        "PROVISIONED_MODEL": record.provisioned_model_arn,
        "USAGE_TYPE": unit_usage_type(record.region, model_id, record.commitment_duration),
        **{f"{TAG}{key}": value for key, value in held.tags},
    }


def _split(
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


def _on_the_day(moment: datetime) -> bool:
    utc = moment.astimezone(UTC)
    return utc == utc.replace(hour=0, minute=0, second=0, microsecond=0)
