"""Metric math, computed: series of points, lists of series, and numbers (pure).

A point that cannot be computed (one side missing, a division by zero) is left out, as CloudWatch
does.
"""

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from statistics import fmean, pstdev
from typing import TypeAlias

from msgspec import Struct, field

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
from outcrop.reporting.metric_math_series import (
    Series,
    difference,
    difference_of_times,
    interpolated,
    known_points,
    rate,
    running_sum,
    sorted_points,
    with_points,
)
from outcrop.reporting.metric_work import Work

# As many points as one answer may have.
_MOST_FILLED = 100_800

Value: TypeAlias = float | Series | tuple[Series, ...]


class Scope(Struct, frozen=True, kw_only=True):
    """What an expression may refer to."""

    start: datetime
    end: datetime
    values: Mapping[str, Value]
    """By the Id of a query."""
    metrics: Mapping[str, Series]
    """What METRICS() means, by Id."""
    found: Mapping[Call, tuple[Series, ...]] = {}
    """What each SEARCH comes to."""
    work: Work = field(default_factory=Work)


def evaluate(tree: Tree, scope: Scope) -> Value:
    """Raises MathError, and what Work raises."""
    value = _value(tree, scope)
    scope.work.take(_size(value))
    return value


def _size(value: Value) -> int:
    match value:
        case Series(points=points):
            return len(points)
        case tuple():
            return sum(len(series.points) for series in value)
        case _:
            return 1


def _value(tree: Tree, scope: Scope) -> Value:
    match tree:
        case Number(value):
            return value
        case Name(value):
            return _named(value, scope)
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


def _named(name: str, scope: Scope) -> Value:
    if name not in scope.values:
        raise MathError(f"The variable '{name}' is not defined")
    return scope.values[name]


def _call(function: str, arguments: Sequence[Tree], scope: Scope) -> Value:
    if function == "SEARCH":
        return scope.found[Call(function, tuple(arguments))]
    compute = _FUNCTIONS.get(function)
    if compute is None:
        raise MathError(f"The function {function} is not supported")
    return compute(arguments, scope)


def _metrics(arguments: Sequence[Tree], scope: Scope) -> Value:
    match arguments:
        case ():
            return tuple(scope.metrics.values())
        case (Text(part),):
            return tuple(series for id_, series in scope.metrics.items() if part in id_)
        case _:
            raise MathError("METRICS takes nothing, or one text")


def _if(arguments: Sequence[Tree], scope: Scope) -> Value:
    if len(arguments) not in {2, 3}:
        raise MathError("IF takes two or three arguments")
    condition, then, *rest = (evaluate(argument, scope) for argument in arguments)
    return _chosen(condition, then, rest[0] if rest else None)


def _fill(arguments: Sequence[Tree], scope: Scope) -> Value:
    match arguments:
        case (filled, Name("REPEAT" | "LINEAR" as how)):
            return _per_series(
                evaluate(filled, scope),
                lambda one: with_points(one, interpolated(one.points, _line(one, scope), how)),
            )
        case (filled, filler):
            return _filled(evaluate(filled, scope), evaluate(filler, scope), scope)
        case _:
            raise MathError("FILL takes two arguments")


def _of_one(compute: Callable[[Value], Value]) -> Callable[[Sequence[Tree], Scope], Value]:
    def of(arguments: Sequence[Tree], scope: Scope) -> Value:
        if len(arguments) != 1:
            raise MathError("The function takes one argument")
        return compute(evaluate(arguments[0], scope))

    return of


def _count(value: Value) -> Value:
    return float(len(_listed(value)))


def _period(value: Value) -> Value:
    match value:
        case Series(period_s=period_s):
            return float(period_s)
        case _:
            raise MathError("PERIOD takes one series")


def _first(value: Value) -> Value:
    return _nonempty(value)[0]


def _last(value: Value) -> Value:
    return _nonempty(value)[-1]


def _without_empty(value: Value) -> Value:
    return tuple(series for series in _listed(value) if series.points)


def _nonempty(value: Value) -> tuple[Series, ...]:
    if series := _listed(value):
        return series
    raise MathError("There is no series in the array")


def _aggregate(of_all: Callable[[Iterable[float]], float], value: Value) -> Value:
    """Of a list one series, point by point; of a series one number."""
    match value:
        case tuple():
            moments = sorted({moment for series in value for moment in series.points})
            points = {
                moment: of_all([one.points[moment] for one in value if moment in one.points])
                for moment in moments
            }
            period_s = max((series.period_s for series in value), default=60)
            return Series(label="", period_s=period_s, points=points)
        case Series(points=points):
            if not points:
                raise MathError("The series has no points")
            return float(of_all(points.values()))
        case _:
            raise MathError("A series is needed where a number is")


def _each(value: Value, function: Callable[[float], float]) -> Value:
    if isinstance(value, float):
        return _number(_or_none(function, value))
    return _per_series(
        value,
        lambda one: with_points(
            one, known_points({at: _or_none(function, v) for at, v in one.points.items()})
        ),
    )


def _infix(function: Callable[[float, float], float], left: Value, right: Value) -> Value:
    match left, right:
        case float(), float():
            return _number(_or_none(function, left, right))
        case _, float():
            return _each(left, lambda value: function(value, right))
        case float(), _:
            return _each(right, lambda value: function(left, value))
        case Series(), Series():
            return _joined(function, left, right)
        case _:
            pairs = _paired(_listed(left), _listed(right))
            return tuple(_joined(function, *pair) for pair in pairs)


def _paired(left: tuple[Series, ...], right: tuple[Series, ...]) -> Iterable[tuple[Series, Series]]:
    """Each with each; a single one with all."""
    longest = max(len(left), len(right))
    if {len(left), len(right)} - {1, longest}:
        raise MathError("The arrays are not of the same length")
    return zip(
        left * longest if len(left) == 1 else left,
        right * longest if len(right) == 1 else right,
        strict=True,
    )


def _joined(function: Callable[[float, float], float], left: Series, right: Series) -> Series:
    common = (moment for moment in left.points if moment in right.points)
    points = {at: _or_none(function, left.points[at], right.points[at]) for at in common}
    return with_points(left, known_points(points))


def _chosen(condition: Value, then: Value, otherwise: Value | None) -> Value:
    match condition:
        case float():
            chosen = then if condition else otherwise
            if chosen is None:
                raise MathError("IF of a number needs a third argument")
            return chosen
        case Series(points=points):
            at_each = {at: _at(then if value else otherwise, at) for at, value in points.items()}
            return with_points(condition, known_points(at_each))
        case _:
            raise MathError("IF takes one series or a number as its condition")


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
                lambda one: with_points(
                    one, {at: one.points.get(at, filler) for at in _line(one, scope)}
                ),
            )
        case Series(points=points):
            return _per_series(
                value, lambda one: with_points(one, sorted_points({**points, **one.points}))
            )
        case _:
            raise MathError("FILL needs a number, one series, REPEAT or LINEAR")


def _line(series: Series, scope: Scope) -> Iterable[datetime]:
    """Every period's beginning."""
    step = timedelta(seconds=series.period_s)
    periods = math.ceil((scope.end - scope.start) / step)
    if periods > _MOST_FILLED:
        raise MathError(f"FILL of more than {_MOST_FILLED} periods")
    scope.work.take(periods)
    return (scope.start + number * step for number in range(periods))


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


def _number(value: float | None) -> float:
    if value is None:
        raise MathError("The number cannot be computed")
    return value


def _or_none(function: Callable[..., object], *values: float) -> float | None:
    try:
        value = function(*values)
    except (ArithmeticError, ValueError):
        return None
    # A power of a negative number may be complex.
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _truth(function: Callable[[float, float], bool]) -> Callable[[float, float], float]:
    return lambda left, right: float(function(left, right))


_INFIX: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda left, right: left / right,
    "^": lambda left, right: left**right,
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
    "RATE": rate,
    "DIFF": difference,
    "DIFF_TIME": difference_of_times,
    "RUNNING_SUM": running_sum,
}
_NUMBERS: Mapping[str, Callable[[float], float]] = {
    "ABS": abs,
    "CEIL": math.ceil,
    "FLOOR": math.floor,
    "LOG": math.log,
    "LOG10": math.log10,
}
_FUNCTIONS: Mapping[str, Callable[[Sequence[Tree], Scope], Value]] = {
    "METRICS": _metrics,
    "IF": _if,
    "FILL": _fill,
    "METRIC_COUNT": _of_one(_count),
    "PERIOD": _of_one(_period),
    "FIRST": _of_one(_first),
    "LAST": _of_one(_last),
    "REMOVE_EMPTY": _of_one(_without_empty),
    **{name: _of_one(partial(_aggregate, of_all)) for name, of_all in _AGGREGATES.items()},
    **{name: _of_one(partial(_per_series, function=of)) for name, of in _SERIES.items()},
    **{name: _of_one(partial(_each, function=of)) for name, of in _NUMBERS.items()},
}
