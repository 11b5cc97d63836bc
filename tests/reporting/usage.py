"""Usage in memory: what was measured and spent, as the store would tell it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec
from msgspec import Struct

from outcrop.iam.caller import Caller
from outcrop.metering.costs import CostRow, Granularity
from outcrop.store.usage import MetricName, MetricPoint

CALLER = Caller(
    account_id="111122223333",
    arn="arn:aws:iam::111122223333:root",
    user_id="111122223333",
    region="us-east-1",
    partition="aws",
)
OTHER = msgspec.structs.replace(CALLER, account_id="444455556666")
KEY = bytes(32)


class ExactSketches:
    """Every value, as JSON: quantiles without an error."""

    def merged(self, one: bytes | None, other: bytes) -> bytes:
        return sketch(*values_in(one or b"[]"), *values_in(other))

    def quantile(self, sketch: bytes, q: float) -> float:
        values = sorted(values_in(sketch))
        return values[min(int(q * len(values)), len(values) - 1)]

    def share_up_to(self, sketch: bytes, value: float) -> float:
        values = values_in(sketch)
        return sum(one <= value for one in values) / len(values)

    def trimmed_mean(self, sketch: bytes, low: float, high: float) -> float:
        values = sorted(values_in(sketch))
        kept = values[int(low * len(values)) : max(int(high * len(values)), 1)]
        return sum(kept) / len(kept)


def sketch(*values: float) -> bytes:
    return msgspec.json.encode(values)


def values_in(sketch: bytes) -> list[float]:
    return msgspec.json.decode(sketch, type=list[float])


class MeasuredValues:
    """Values of metrics of one account and Region."""

    def __init__(self, owner: Caller = CALLER) -> None:
        self._owner = owner.account_id, owner.region
        self._values: defaultdict[MetricName, list[tuple[datetime, float]]] = defaultdict(list)
        self.asked: list[tuple[MetricName, int]] = []

    def add(self, name: str, at: datetime, *values: float, **dimensions: str) -> None:
        metric = MetricName(name=name, dimensions=tuple(sorted(dimensions.items())))
        self._values[metric] += [(at, value) for value in values]

    async def metric_names(
        self, account_id: str, region: str, *, since: datetime
    ) -> Sequence[MetricName]:
        if (account_id, region) != self._owner:
            return []
        return [m for m, values in self._values.items() if any(at >= since for at, _ in values)]

    async def metric(
        self,
        account_id: str,
        region: str,
        metric: MetricName,
        *,
        start: datetime,
        end: datetime,
        period_s: int,
    ) -> Sequence[MetricPoint]:
        self.asked.append((metric, period_s))
        if (account_id, region) != self._owner:
            return []
        periods: defaultdict[int, list[float]] = defaultdict(list)
        first = int(start.timestamp()) // period_s
        for at, value in self._values[metric]:
            number = int(at.timestamp()) // period_s
            if first <= number and at < end:
                periods[number].append(value)
        return [
            MetricPoint(
                at=datetime.fromtimestamp(number * period_s, tz=start.tzinfo),
                count=len(values),
                total=sum(values),
                least=min(values),
                most=max(values),
                sketch=sketch(*values) if "Latency" in metric.name else None,
            )
            for number, values in sorted(periods.items())
        ]


class Spent(Struct, frozen=True, kw_only=True):
    at: datetime
    cost: str
    usage: int = 1000
    unit: str = "Tokens"
    by: Mapping[str, str] = {}


class SpentMoney:
    def __init__(self, *spent: Spent, account_id: str = CALLER.account_id) -> None:
        self._spent = spent
        self._account_id = account_id

    async def costs(
        self,
        account_id: str,
        *,
        start: datetime,
        end: datetime,
        granularity: Granularity,
        group_by: Sequence[str],
        filters: Mapping[str, Sequence[str]],
    ) -> Sequence[CostRow]:
        assert not filters
        return [
            CostRow(
                start=_floor(one.at, granularity),
                keys=tuple(one.by.get(name, "") for name in group_by),
                cost=Decimal(one.cost),
                usage=Decimal(one.usage),
                unit=one.unit,
                invocations=1,
                priced=True,
            )
            for one in self._spent
            if account_id == self._account_id and start <= one.at < end
        ]

    async def tag_keys(self, account_id: str, *, start: datetime, end: datetime) -> Sequence[str]:
        found = {
            name.removeprefix("TAG:")
            for one in self._spent
            if account_id == self._account_id and start <= one.at < end
            for name in one.by
            if name.startswith("TAG:")
        }
        return [*found]


def _floor(at: datetime, granularity: Granularity) -> datetime:
    hour = at.replace(minute=0, second=0, microsecond=0)
    match granularity:
        case "HOURLY":
            return hour
        case "DAILY":
            return hour.replace(hour=0)
        case "MONTHLY":
            return hour.replace(day=1, hour=0)
