"""CloudWatch's GetMetricData: many metrics at once, and expressions over them."""

import re
from asyncio import sleep, to_thread
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from typing import NoReturn

from msgspec import Struct, structs

from outcrop.iam.caller import Caller
from outcrop.reporting.measurements import Measurements
from outcrop.reporting.metric_labels import Labels, is_dynamic, properties, zone_of
from outcrop.reporting.metric_math import Call, MathError, Name, Tree, nodes, parse
from outcrop.reporting.metric_math_series import Series
from outcrop.reporting.metric_math_values import Scope, Value, evaluate
from outcrop.reporting.metric_pages import BEGINNING, Line, Position, page_of
from outcrop.reporting.metric_search import Search, searches_in
from outcrop.reporting.metric_work import Work
from outcrop.reporting.metrics import metric_name, position
from outcrop.reporting.statistics import SIMPLE, Statistic, is_measured
from outcrop.reporting.time_range import TimeRange, check_period, count, time_range
from outcrop.store.usage import MetricName, MetricPoint
from outcrop.wire.errors import InvalidNextToken, ValidationException
from outcrop.wire.page_tokens import PageTokens
from outcrop.wire.shapes.cloudwatch import (
    GetMetricDataInput,
    GetMetricDataOutput,
    MetricDataQuery,
    MetricStat,
)
from outcrop.wire.timestamps import Clock

MOST_QUERIES = 500
MOST_DATAPOINTS = 100_800
_A_TURN = 64
"""So many metrics are looked at before others have their turn."""

_ID = re.compile(r"[a-z][a-zA-Z0-9_]*", re.ASCII)


class MetricData:
    def __init__(self, measurements: Measurements, *, page_token_key: bytes, clock: Clock) -> None:
        self._measurements = measurements
        self._clock = clock
        self._tokens: PageTokens[Position] = PageTokens(
            "GetMetricData",
            Position,  # type: ignore[arg-type]  # a tuple's type is a type to msgspec
            key=page_token_key,
            clock=clock,
            refusal=InvalidNextToken,
        )

    async def get_metric_data(
        self, caller: Caller, input_: GetMetricDataInput
    ) -> GetMetricDataOutput:
        request = structs.replace(input_, next_token=None)
        token = input_.next_token
        begin = BEGINNING if token is None else self._tokens.open(token, caller, request)
        now = self._clock()
        span = time_range(input_.start_time, input_.end_time, now, ValidationException)
        labels = _labels(caller, input_, now)
        asked = _asked_for(caller, input_.metric_data_queries, self._measurements)
        most = _most_datapoints(input_.max_datapoints)
        work = Work()
        fetched = await self._fetched(caller, asked, span, work)
        found = await self._found(caller, asked, span, work)

        def computed() -> list[Line]:
            return [*_Lines(asked, span, fetched, found, work).results(labels)]

        is_long = any(one.tree is not None for one in asked)
        # Others have their turn while expressions are computed.
        lines = await to_thread(computed) if is_long else computed()
        descending = input_.scan_by != "TimestampAscending"
        page, end = page_of(lines, begin, most, descending=descending)
        more = None if end is None else self._tokens.seal(end, caller, request)
        return GetMetricDataOutput(metric_data_results=page, next_token=more, messages=[])

    async def _fetched(
        self, caller: Caller, asked: Sequence["_Asked"], span: TimeRange, work: Work
    ) -> "_Fetched":
        """Each metric once, however many statistics of it are asked for."""
        fetched: _Fetched = {}
        for one in asked:
            if one.source is None or one.source in fetched:
                continue
            metric, period_s = one.source
            _check_count(span, period_s)
            points = await self._measurements.points(caller, metric, span, period_s)
            work.take(len(points))
            fetched[one.source] = points
            await sleep(0)  # where reading does not wait, others get their turn
        return fetched

    async def _found(
        self, caller: Caller, asked: Sequence["_Asked"], span: TimeRange, work: Work
    ) -> Mapping[Call, tuple[Series, ...]]:
        """What every SEARCH comes to: metrics that have data in the span."""
        searches = dict(_searches(asked))
        if not searches:
            return {}
        queries = self._measurements.queries
        names = await queries.metric_names(caller.account_id, caller.region, since=span.start)
        ordered = sorted(names, key=position)
        found: dict[Call, tuple[Series, ...]] = {}
        for call, search in searches.items():
            _check_count(span, search.period_s)
            work.take(len(ordered) * (1 + len(search.terms)))
            series = [one async for one in self._series_found(caller, search, ordered, span, work)]
            found[call] = tuple(series)
        return found

    async def _series_found(
        self,
        caller: Caller,
        search: Search,
        names: Sequence[MetricName],
        span: TimeRange,
        work: Work,
    ) -> AsyncIterator[Series]:
        statistic = self._measurements.statistic(search.statistic)
        if statistic is None:
            raise ValidationException(f"SEARCH has no statistic {search.statistic}.")
        for number, name in enumerate(names):
            if number % _A_TURN == 0:
                await sleep(0)
            if not search.fits(name):
                continue
            points = await self._measurements.points(caller, name, span, search.period_s)
            work.take(len(points))
            yield _series(
                " ".join([*(value for _, value in name.dimensions), name.name]),
                points,
                statistic,
                search.period_s,
                properties(name, search.statistic, search.period_s),
            )


_Source = tuple[MetricName, int]
"""A metric, and a period in seconds."""
_Fetched = dict[_Source, Sequence[MetricPoint]]


class _Asked(Struct, frozen=True, kw_only=True):
    """One query, read."""

    id: str
    label: str | None
    default_label: str
    returned: bool
    statistic: Statistic | None = None
    period_s: int = 60
    source: _Source | None = None
    """None for an expression, and for what is not there: of another namespace, unit or account."""
    properties: Mapping[str, str] = {}
    """Of a metric."""
    tree: Tree | None = None


class _Lines:
    """What the queries come to: each is computed once, after those that it refers to."""

    def __init__(
        self,
        asked: Sequence[_Asked],
        span: TimeRange,
        fetched: _Fetched,
        found: Mapping[Call, tuple[Series, ...]],
        work: Work,
    ) -> None:
        self._asked = {one.id: one for one in asked}
        metrics = {one.id: _series_of(one, fetched) for one in asked if one.tree is None}
        self._values: dict[str, Value] = dict(metrics)
        scope = Scope(
            start=span.start,
            end=span.end,
            values=self._values,
            metrics=metrics,
            found=found,
            work=work,
        )
        for id_, tree in self._in_order():
            self._values[id_] = self._evaluated(id_, tree, scope)

    def results(self, labels: Labels) -> Iterator[Line]:
        for one in self._asked.values():
            if one.returned:
                yield from _lines_of(one, self._values[one.id], labels)

    def _in_order(self) -> Iterator[tuple[str, Tree]]:
        trees = {one.id: one.tree for one in self._asked.values() if one.tree is not None}
        needs = {id_: [n for n in _names(tree) if n in trees] for id_, tree in trees.items()}
        try:
            for id_ in TopologicalSorter(needs).static_order():
                yield id_, trees[id_]
        except CycleError as error:
            _refuse_expression(error.args[1][0], "The expression refers to itself")

    def _evaluated(self, id_: str, tree: Tree, scope: Scope) -> Value:
        try:
            return evaluate(tree, scope)
        except MathError as error:
            _refuse_expression(id_, str(error))


def _names(tree: Tree) -> Iterator[str]:
    return (node.value for node in nodes(tree) if isinstance(node, Name))


def _searches(asked: Sequence[_Asked]) -> Iterator[tuple[Call, Search]]:
    for one in asked:
        try:
            yield from searches_in([one.tree] if one.tree is not None else [])
        except MathError as error:
            _refuse_expression(one.id, str(error))


def _series_of(one: _Asked, fetched: _Fetched) -> Series:
    points = fetched[one.source] if one.source else ()
    statistic = one.statistic or SIMPLE["Sum"]
    label = one.label or one.default_label
    return _series(label, points, statistic, one.period_s, one.properties)


def _series(
    label: str,
    points: Sequence[MetricPoint],
    statistic: Statistic,
    period_s: int,
    told: Mapping[str, str],
) -> Series:
    values = ((point.at, statistic(point)) for point in points)
    known = {at: value for at, value in values if value is not None}
    return Series(label=label, period_s=period_s, points=known, properties=told)


def _lines_of(one: _Asked, value: Value, labels: Labels) -> Iterator[Line]:
    match value:
        case Series(points=points):
            label = one.label or one.default_label
            if is_dynamic(label):
                label = labels.of(label, value, one.default_label)
            yield Line(id=one.id, label=label, points=list(points.items()))
        case tuple():
            for series in value:
                label = f"{one.label} {series.label}" if one.label else series.label
                if one.label and is_dynamic(one.label):
                    label = labels.of(one.label, series, series.label)
                yield Line(id=one.id, label=label, points=list(series.points.items()))
        case _:
            _refuse_expression(one.id, "The expression must return a time series")


def _labels(caller: Caller, input_: GetMetricDataInput, now: datetime) -> Labels:
    asked_for = input_.label_options.timezone if input_.label_options else None
    zone = zone_of(asked_for)
    if zone is None:
        raise ValidationException(
            f"The value {asked_for} for parameter LabelOptions.Timezone is not a valid time zone:"
            " + or - and four digits are."
        )
    return Labels(account_id=caller.account_id, region=caller.region, now=now, zone=zone)


def _asked_for(
    caller: Caller, queries: Sequence[MetricDataQuery], measurements: Measurements
) -> list[_Asked]:
    if len(queries) > MOST_QUERIES:
        raise ValidationException(
            f"The collection MetricDataQueries must not have a size greater than {MOST_QUERIES}."
        )
    asked = [_read(query, f"member.{n}", measurements) for n, query in enumerate(queries, 1)]
    if len({one.id for one in asked}) < len(asked):
        raise ValidationException(
            "The values for parameter id in MetricDataQueries are not unique."
        )
    own = (None, caller.account_id)
    return [
        one if query.account_id in own else structs.replace(one, source=None)
        for one, query in zip(asked, queries, strict=True)
    ]


def _read(query: MetricDataQuery, number: str, measurements: Measurements) -> _Asked:
    path = f"MetricDataQueries.{number}"
    if not _ID.fullmatch(query.id):
        raise ValidationException(
            f"The value {query.id} for parameter {path}.Id is not matching the expected pattern"
            " ^[a-z][a-zA-Z0-9_]*$."
        )
    match query.metric_stat, query.expression:
        case MetricStat() as stat, None:
            return _metric(query, stat, path, measurements)
        case None, str() as expression:
            return _expression(query, expression)
        case _:
            raise ValidationException(
                f"Exactly one of the parameters {path}.MetricStat and {path}.Expression"
                " must be specified."
            )


def _metric(
    query: MetricDataQuery, stat: MetricStat, path: str, measurements: Measurements
) -> _Asked:
    check_period(stat.period, f"{path}.MetricStat.Period", ValidationException)
    statistic = measurements.statistic(stat.stat)
    if statistic is None:
        raise ValidationException(
            f"The value {stat.stat} for parameter {path}.MetricStat.Stat is not a valid statistic."
        )
    name = stat.metric.metric_name or ""
    metric = metric_name(name, stat.metric.dimensions)
    known = is_measured(stat.metric.namespace, name, stat.unit)
    told = properties(metric, stat.stat, stat.period)
    return _Asked(
        id=query.id,
        label=query.label,
        default_label=name,
        returned=query.return_data is not False,
        statistic=statistic,
        period_s=stat.period,
        source=(metric, stat.period) if known else None,
        properties={**told, "Namespace": stat.metric.namespace or ""},
    )


def _expression(query: MetricDataQuery, expression: str) -> _Asked:
    asked = _Asked(
        id=query.id,
        label=query.label,
        default_label=query.id,
        returned=query.return_data is not False,
    )
    if expression.lstrip()[:7].upper() == "SELECT ":
        _refuse_expression(query.id, "Metrics Insights queries are not supported")
    try:
        return structs.replace(asked, tree=parse(expression))
    except MathError as error:
        _refuse_expression(query.id, str(error))


def _refuse_expression(id_: str, reason: str) -> NoReturn:
    raise ValidationException(f"Error in expression '{id_}': {reason}")


def _check_count(span: TimeRange, period_s: int) -> None:
    asked_for = count(span, period_s)
    if asked_for > MOST_DATAPOINTS:
        raise ValidationException(
            f"You have requested up to {asked_for:,} datapoints of one metric, which exceeds the"
            f" limit of {MOST_DATAPOINTS:,}. Increase the period, or decrease the time range."
        )


def _most_datapoints(asked_for: int | None) -> int:
    if asked_for is None:
        return MOST_DATAPOINTS
    if not 1 <= asked_for <= MOST_DATAPOINTS:
        raise ValidationException(
            f"The parameter MaxDatapoints must be between 1 and {MOST_DATAPOINTS}."
        )
    return asked_for
