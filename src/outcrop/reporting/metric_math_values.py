"""Metric math, computed: series of points, lists of series, and numbers (pure).

A point that cannot be computed (one side missing, a division by zero) is left out, as CloudWatch
does.
"""

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from statistics import fmean, pstdev
from typing import TypeAlias

from msgspec import Struct, structs

from outcrop.reporting.metric_math import (
    Array,
    Call,
    Infix,
    MathError,
    Name,
    Negated,
    Number,
    Text,
    Tree,
)

Points: TypeAlias = Mapping[datetime, float]


class Series(Struct, frozen=True, kw_only=True):
    label: str
    period_s: int
    points: Points
    """In the order of time."""


Value: TypeAlias = float | Series | tuple[Series, ...]


class Scope(Struct, frozen=True, kw_only=True):
    """What an expression may refer to."""

    start: datetime
    end: datetime
    lookup: Callable[[str], Value]
    """By the Id of a query. Raises MathError."""
    metrics: Mapping[str, Series]
    """What METRICS() means, by Id."""


def evaluate(tree: Tree, scope: Scope) -> Value:
    """Raises MathError."""
    match tree:
        case Number(value):
            return value
        case Name(value):
            return scope.lookup(value)
        case Negated(operand):
            return _each(evaluate(operand, scope), operator.neg)
        case Infix(sign, left, right):
            return _infix(_INFIX[sign], evaluate(left, scope), evaluate(right, scope))
        case Array(items):
            return tuple(series for item in items for series in _listed(evaluate(item, scope)))
        case Call(function, arguments):
            return _call(function, arguments, scope)
        case Text(value):
            raise MathError(f"Unexpected text '{value}'")


def _call(function: str, arguments: Sequence[Tree], scope: Scope) -> Value:
    match function, arguments:
        case "METRICS", ():
            return tuple(scope.metrics.values())
        case "METRICS", (Text(part),):
            return tuple(series for id_, series in scope.metrics.items() if part in id_)
        case "IF", (condition, then):
            return _if(evaluate(condition, scope), evaluate(then, scope), None)
        case "IF", (condition, then, otherwise):
            chosen = evaluate(then, scope), evaluate(otherwise, scope)
            return _if(evaluate(condition, scope), *chosen)
        case "FILL", (filled, Name("REPEAT" | "LINEAR" as how)):
            return _per_series(
                evaluate(filled, scope),
                lambda one: _with(one, _interpolated(one.points, _line(one, scope), how)),
            )
        case "FILL", (filled, filler):
            return _filled(evaluate(filled, scope), evaluate(filler, scope), scope)
        case name, (argument,):
            return _of_one(name, evaluate(argument, scope))
        case name, _ if name in _FUNCTIONS:
            raise MathError(f"Wrong number of arguments for {name}")
        case name, _:
            raise MathError(f"The function {name} is not supported")


def _of_one(function: str, value: Value) -> Value:
    if function in _AGGREGATES:
        return _aggregate(_AGGREGATES[function], function, value)
    if function in _SERIES:
        return _per_series(value, _SERIES[function])
    if function in _NUMBERS:
        return _each(value, _NUMBERS[function])
    match function, value:
        case "METRIC_COUNT", tuple():
            return float(len(value))
        case "METRIC_COUNT", Series():
            return 1.0
        case "PERIOD", Series(period_s=period_s):
            return float(period_s)
        case "FIRST", (first, *_):
            return first
        case "LAST", (*_, last):
            return last
        case name, _ if name in _FUNCTIONS:
            raise MathError(f"Unsupported operand for {name}")
        case name, _:
            raise MathError(f"The function {name} is not supported")


def _aggregate(of_all: Callable[[Iterable[float]], float], function: str, value: Value) -> Value:
    """Of a list one series, point by point; of a series one number."""
    match value:
        case tuple():
            moments = sorted({moment for series in value for moment in series.points})
            columns = {
                moment: [one.points[moment] for one in value if moment in one.points]
                for moment in moments
            }
            points = _computed((moment, lambda c=c: of_all(c)) for moment, c in columns.items())
            period_s = max((series.period_s for series in value), default=60)
            return Series(label=function, period_s=period_s, points=points)
        case Series(points=points):
            return of_all(points.values()) if points else 0.0
        case _:
            raise MathError(f"Unsupported operand for {function}")


def _each(value: Value, function: Callable[[float], float]) -> Value:
    if isinstance(value, float):
        return _number(lambda: function(value))

    def of(series: Series) -> Series:
        points = series.points.items()
        return _with(series, _computed((at, lambda v=v: function(v)) for at, v in points))

    return _per_series(value, of)


def _infix(function: Callable[[float, float], float], left: Value, right: Value) -> Value:
    match left, right:
        case float(), float():
            return _number(lambda: function(left, right))
        case _, float():
            return _each(left, lambda value: function(value, right))
        case float(), _:
            return _each(right, lambda value: function(left, value))
        case Series(), Series():
            return _joined(function, left, right)
        case tuple(), Series():
            return tuple(_joined(function, one, right) for one in left)
        case Series(), tuple():
            return tuple(_joined(function, left, one) for one in right)
        case tuple(), tuple() if len(left) == len(right):
            return tuple(map(_joined, [function] * len(left), left, right))
        case _:
            raise MathError("The arrays are not of the same length")


def _joined(function: Callable[[float, float], float], left: Series, right: Series) -> Series:
    common = [moment for moment in left.points if moment in right.points]
    return _with(
        left,
        _computed((at, lambda at=at: function(left.points[at], right.points[at])) for at in common),
    )


def _if(condition: Value, then: Value, otherwise: Value | None) -> Value:
    match condition:
        case float():
            chosen = then if condition else otherwise
            if chosen is None:
                raise MathError("IF of a number needs a third argument")
            return chosen
        case Series(points=points):
            chosen_at = {at: _at(then if value else otherwise, at) for at, value in points.items()}
            known = {at: value for at, value in chosen_at.items() if value is not None}
            return _with(condition, known)
        case _:
            raise MathError("IF needs one series or a number as its condition")


def _at(value: Value | None, moment: datetime) -> float | None:
    match value:
        case None | float():
            return value
        case Series(points=points):
            return points.get(moment)
        case _:
            raise MathError("IF chooses between series and numbers")


def _filled(value: Value, filler: Value, scope: Scope) -> Value:
    match filler:
        case float():
            return _per_series(
                value,
                lambda one: _with(
                    one, {at: one.points.get(at, filler) for at in _line(one, scope)}
                ),
            )
        case Series(points=points):
            return _per_series(value, lambda one: _with(one, _sorted({**points, **one.points})))
        case _:
            raise MathError("FILL needs a number, one series, REPEAT or LINEAR")


def _interpolated(known: Points, wanted: Iterable[datetime], how: str) -> Points:
    """LINEAR fills between known points, REPEAT also after the last one."""
    ahead = iter([*known, None])
    left, right = None, next(ahead)
    points: dict[datetime, float] = {}
    for moment in wanted:
        while right is not None and right <= moment:
            left, right = right, next(ahead)
        if left is None or (how == "LINEAR" and right is None and left != moment):
            continue
        points[moment] = known[left]
        if how == "LINEAR" and right is not None:
            share = (moment - left) / (right - left)
            points[moment] += (known[right] - known[left]) * share
    return points


def _line(series: Series, scope: Scope) -> Iterable[datetime]:
    """Every period's beginning."""
    step, moment = timedelta(seconds=series.period_s), scope.start
    while moment < scope.end:
        yield moment
        moment += step


def _rate(series: Series) -> Series:
    """Per second, against the point before."""
    return _with(
        series,
        {
            at: (series.points[at] - series.points[before]) / (at - before).total_seconds()
            for before, at in pairwise(series.points)
        },
    )


def _difference(series: Series) -> Series:
    pairs = pairwise(series.points)
    return _with(series, {at: series.points[at] - series.points[before] for before, at in pairs})


def _difference_of_times(series: Series) -> Series:
    pairs = pairwise(series.points)
    return _with(series, {at: (at - before).total_seconds() for before, at in pairs})


def _running_sum(series: Series) -> Series:
    sums = accumulate(series.points.values())
    return _with(series, dict(zip(series.points, sums, strict=True)))


def _per_series(value: Value, function: Callable[[Series], Series]) -> Value:
    match value:
        case Series():
            return function(value)
        case tuple():
            return tuple(map(function, value))
        case _:
            raise MathError("A series is needed where a number is")


def _listed(value: Value) -> tuple[Series, ...]:
    match value:
        case Series():
            return (value,)
        case tuple():
            return value
        case _:
            raise MathError("An array holds series")


def _with(series: Series, points: Points) -> Series:
    return structs.replace(series, points=points)


def _sorted(points: Points) -> Points:
    return dict(sorted(points.items()))


def _computed(values: Iterable[tuple[datetime, Callable[[], float]]]) -> Points:
    points = {at: _or_none(value) for at, value in values}
    return {at: value for at, value in points.items() if value is not None}


def _number(compute: Callable[[], float]) -> float:
    value = _or_none(compute)
    if value is None:
        raise MathError("The number cannot be computed")
    return value


def _or_none(compute: Callable[[], float]) -> float | None:
    try:
        value = compute()
    except (ArithmeticError, ValueError):
        return None
    # A power of a negative number may be complex.
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _truth(function: Callable[[float, float], bool]) -> Callable[[float, float], float]:
    return lambda left, right: float(function(left, right))


_INFIX: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "^": operator.pow,
    "==": _truth(operator.eq),
    "!=": _truth(operator.ne),
    "<": _truth(operator.lt),
    "<=": _truth(operator.le),
    ">": _truth(operator.gt),
    ">=": _truth(operator.ge),
    "&&": _truth(lambda left, right: bool(left and right)),
    "||": _truth(lambda left, right: bool(left or right)),
}
_AGGREGATES: Mapping[str, Callable[[Iterable[float]], float]] = {
    "SUM": math.fsum,
    "AVG": fmean,
    "MIN": min,
    "MAX": max,
    "STDDEV": pstdev,
}
_SERIES: Mapping[str, Callable[[Series], Series]] = {
    "RATE": _rate,
    "DIFF": _difference,
    "DIFF_TIME": _difference_of_times,
    "RUNNING_SUM": _running_sum,
}
_NUMBERS: Mapping[str, Callable[[float], float]] = {
    "ABS": abs,
    "CEIL": math.ceil,
    "FLOOR": math.floor,
    "LOG": math.log,
    "LOG10": math.log10,
}
_FUNCTIONS = {*_AGGREGATES, *_SERIES, *_NUMBERS} | {
    *("METRICS", "IF", "FILL", "METRIC_COUNT", "PERIOD", "FIRST", "LAST")
}
