"""A metric over a span, in periods that begin where the span begins, as CloudWatch counts them."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from math import gcd

from msgspec import Struct, structs

from outcrop.iam.caller import Caller
from outcrop.reporting.spread_statistics import spread_statistic
from outcrop.reporting.statistics import SIMPLE, Statistic
from outcrop.reporting.time_range import TimeRange
from outcrop.reporting.usage_queries import MetricQueries, Sketches
from outcrop.store.usage import MetricName, MetricPoint
from outcrop.wire.timestamps import to_micros

_SECOND_US = 1_000_000


class Measurements(Struct, frozen=True):
    queries: MetricQueries
    sketches: Sketches

    def extended(self, text: str) -> Statistic | None:
        """`p99`, `TM(10%:90%)`; None for what is no statistic."""
        return spread_statistic(text, self.sketches)

    def statistic(self, text: str) -> Statistic | None:
        return SIMPLE.get(text) or self.extended(text)

    async def points(
        self, caller: Caller, metric: MetricName, span: TimeRange, period_s: int
    ) -> Sequence[MetricPoint]:
        """The queries count periods from 1970: where these differ, in finer ones, put together."""
        finer_s = gcd(period_s, to_micros(span.start) // _SECOND_US)
        points = await self.queries.metric(
            caller.account_id,
            caller.region,
            metric,
            start=span.start,
            end=span.end,
            period_s=finer_s,
        )
        if finer_s == period_s:
            return points
        return self._put_together(points, span, timedelta(seconds=period_s))

    def _put_together(
        self, points: Iterable[MetricPoint], span: TimeRange, period: timedelta
    ) -> Sequence[MetricPoint]:
        periods: dict[int, MetricPoint] = {}
        for point in points:
            number = (point.at - span.start) // period
            at = span.start + number * period
            before = periods.get(number)
            periods[number] = structs.replace(
                point if before is None else self._sum(before, point), at=at
            )
        return list(periods.values())

    def _sum(self, one: MetricPoint, other: MetricPoint) -> MetricPoint:
        sketch = (
            one.sketch if other.sketch is None else self.sketches.merged(one.sketch, other.sketch)
        )
        return MetricPoint(
            at=one.at,
            count=one.count + other.count,
            total=one.total + other.total,
            least=min(one.least, other.least),
            most=max(one.most, other.most),
            sketch=sketch,
        )
