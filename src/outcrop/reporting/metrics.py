"""CloudWatch: which metrics there are, and the statistics of one."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from msgspec import structs

from outcrop.iam.caller import Caller
from outcrop.reporting.measurements import Measurements
from outcrop.reporting.statistics import NAMESPACE, SIMPLE, UNITS, Statistic, is_measured
from outcrop.reporting.time_range import TimeRange, check_period, count, time_range
from outcrop.store.usage import MetricName, MetricPoint
from outcrop.wire.errors import (
    InvalidParameterCombinationException,
    InvalidParameterValueException,
)
from outcrop.wire.page_tokens import PageTokens
from outcrop.wire.shapes.cloudwatch import (
    Datapoint,
    Dimension,
    DimensionFilter,
    GetMetricStatisticsInput,
    GetMetricStatisticsOutput,
    ListMetricsInput,
    ListMetricsOutput,
    Metric,
    StandardUnit,
)
from outcrop.wire.timestamps import Clock

PAGE = 500
MOST_DATAPOINTS = 1_440
LISTED_FOR = timedelta(days=14)
"""Metrics without data for as long are not listed."""
RECENT = timedelta(hours=3)

_Position = tuple[str, tuple[tuple[str, str], ...]]


class Metrics:
    def __init__(self, measurements: Measurements, *, page_token_key: bytes, clock: Clock) -> None:
        self._measurements = measurements
        self._clock = clock
        self._tokens: PageTokens[_Position] = PageTokens(
            "ListMetrics",
            _Position,  # type: ignore[arg-type]  # a tuple's type is a type to msgspec
            key=page_token_key,
            clock=clock,
            refusal=InvalidParameterValueException,
        )

    async def list_metrics(self, caller: Caller, input_: ListMetricsInput) -> ListMetricsOutput:
        after = self._after(caller, input_)
        listed = [
            metric
            for metric in await self._known(caller, input_)
            if _fits(metric, input_) and (after is None or position(metric) > after)
        ]
        listed.sort(key=position)
        page = listed[:PAGE]
        more = len(listed) > PAGE
        filters = structs.replace(input_, next_token=None)
        token = self._tokens.seal(position(page[-1]), caller, filters) if more else None
        owners = [caller.account_id] * len(page) if input_.include_linked_accounts else None
        return ListMetricsOutput(
            metrics=[_metric(metric) for metric in page], next_token=token, owning_accounts=owners
        )

    def _after(self, caller: Caller, input_: ListMetricsInput) -> _Position | None:
        if input_.next_token is None:
            return None
        filters = structs.replace(input_, next_token=None)
        return self._tokens.open(input_.next_token, caller, filters)

    async def _known(self, caller: Caller, input_: ListMetricsInput) -> Sequence[MetricName]:
        of_others = input_.owning_account not in (None, caller.account_id)
        if of_others or input_.namespace not in (None, NAMESPACE):
            return []
        now = self._clock()
        queries = self._measurements.queries
        since = now - (RECENT if input_.recently_active else LISTED_FOR)
        names = await queries.metric_names(caller.account_id, caller.region, since=since)
        if input_.recently_active:
            # The names are known by the day.
            span = TimeRange(since.replace(second=0, microsecond=0), now)
            names = [n for n in names if await self._measurements.points(caller, n, span, 60)]
        return names

    async def get_metric_statistics(
        self, caller: Caller, input_: GetMetricStatisticsInput
    ) -> GetMetricStatisticsOutput:
        simple, extended = _asked_for(input_, self._measurements)
        check_period(input_.period, "Period", InvalidParameterValueException)
        span = time_range(
            input_.start_time, input_.end_time, self._clock(), InvalidParameterValueException
        )
        _check_count(count(span, input_.period))
        points: Sequence[MetricPoint] = []
        if is_measured(input_.namespace, input_.metric_name, input_.unit):
            metric = metric_name(input_.metric_name, input_.dimensions)
            points = await self._measurements.points(caller, metric, span, input_.period)
        unit = UNITS.get(input_.metric_name)
        datapoints = [_datapoint(point, simple, extended, unit) for point in points]
        told = [one for one in datapoints if simple or one.extended_statistics]
        return GetMetricStatisticsOutput(label=input_.metric_name, datapoints=told)


def metric_name(name: str, dimensions: Iterable[Dimension] | None) -> MetricName:
    pairs = sorted((dimension.name, dimension.value) for dimension in dimensions or ())
    return MetricName(name=name, dimensions=tuple(pairs))


def position(metric: MetricName) -> _Position:
    return metric.name, metric.dimensions


def _fits(metric: MetricName, input_: ListMetricsInput) -> bool:
    named = input_.metric_name in (None, metric.name)
    return named and all(_has(metric, wanted) for wanted in input_.dimensions or ())


def _has(metric: MetricName, wanted: DimensionFilter) -> bool:
    return any(
        name == wanted.name and wanted.value in (None, value) for name, value in metric.dimensions
    )


def _metric(metric: MetricName) -> Metric:
    dimensions = [Dimension(name=name, value=value) for name, value in metric.dimensions]
    return Metric(namespace=NAMESPACE, metric_name=metric.name, dimensions=dimensions)


_Asked = dict[str, Statistic]


def _asked_for(
    input_: GetMetricStatisticsInput, measurements: Measurements
) -> tuple[_Asked, _Asked]:
    if not input_.statistics and not input_.extended_statistics:
        raise InvalidParameterCombinationException(
            "Must specify either Statistics or ExtendedStatistics"
        )
    extended: _Asked = {}
    for number, text in enumerate(input_.extended_statistics or (), 1):
        statistic = measurements.extended(text)
        if statistic is None:
            raise InvalidParameterValueException(
                f"The value {text} for parameter ExtendedStatistics.member.{number}"
                " is not a valid statistic."
            )
        extended[text] = statistic
    return {name: SIMPLE[name] for name in input_.statistics or ()}, extended


def _check_count(asked_for: int) -> None:
    if asked_for > MOST_DATAPOINTS:
        raise InvalidParameterCombinationException(
            f"You have requested up to {asked_for:,} datapoints, which exceeds the limit of"
            f" {MOST_DATAPOINTS:,}. You may reduce the datapoints requested by increasing Period,"
            " or decreasing the time range."
        )


def _datapoint(
    point: MetricPoint, simple: _Asked, extended: _Asked, unit: StandardUnit | None
) -> Datapoint:
    values = {name: statistic(point) for name, statistic in simple.items()}
    percentiles = {name: statistic(point) for name, statistic in extended.items()}
    known = {name: value for name, value in percentiles.items() if value is not None}
    return Datapoint(
        timestamp=point.at,
        sample_count=values.get("SampleCount"),
        average=values.get("Average"),
        sum=values.get("Sum"),
        minimum=values.get("Minimum"),
        maximum=values.get("Maximum"),
        unit=unit,
        extended_statistics=known or None,
    )
