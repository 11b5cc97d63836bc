"""Metric math: what an expression means."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from outcrop.reporting.metric_math import MathError, parse
from outcrop.reporting.metric_math_series import Series
from outcrop.reporting.metric_math_values import Scope, Value, evaluate

START = datetime(2026, 11, 22, 12, tzinfo=UTC)


def series(*values: float | None, period_s: int = 60) -> Series:
    points = {
        START + timedelta(seconds=number * period_s): value
        for number, value in enumerate(values)
        if value is not None
    }
    return Series(label="", period_s=period_s, points=points)


def computed(expression: str, **metrics: Series) -> Value:
    end = START + timedelta(minutes=4)
    scope = Scope(start=START, end=end, values=metrics, metrics=metrics)
    return evaluate(parse(expression), scope)


def values(expression: str, **metrics: Series) -> list[float | None]:
    """Of the four minutes."""
    value = computed(expression, **metrics)
    assert isinstance(value, Series)
    moments = [START + timedelta(minutes=number) for number in range(4)]
    assert set(value.points) <= set(moments)
    assert [*value.points] == sorted(value.points)
    return [value.points.get(moment) for moment in moments]


M1, M2 = series(1, 2, None, 4), series(10, None, 30, 0)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("m1", [1, 2, None, 4]),
        ("m1 + m2", [11, None, None, 4]),
        ("m1*100/m2", [10, None, None, None]),  # by zero: no point
        ("2 * m1 - 1", [1, 3, None, 7]),
        ("-m1^2", [-1, -4, None, -16]),
        ("m1 > 1", [0, 1, None, 1]),
        ("m1 > 1 AND m1 < 4", [0, 1, None, 0]),
        ("m1 > 3 || m1 == 1", [1, 0, None, 1]),
        ("SUM(METRICS())", [11, 2, 30, 4]),
        ("AVG([m1, m2])", [5.5, 2, 30, 2]),
        ("MIN(METRICS())", [1, 2, 30, 0]),
        ("MAX(METRICS('m2'))", [10, None, 30, 0]),
        ("m1 / SUM(m1) * 7", [1, 2, None, 4]),
        ("m1 - MIN(m1)", [0, 1, None, 3]),
        ("sum([m1])", [1, 2, None, 4]),
        ("RATE(m1)", [None, 1 / 60, None, 2 / 120]),
        ("RATE(m1) * PERIOD(m1)", [None, 1, None, 1]),
        ("DIFF(m1)", [None, 1, None, 2]),
        ("DIFF_TIME(m1)", [None, 60, None, 120]),
        ("RUNNING_SUM(m1)", [1, 3, None, 7]),
        ("FILL(m1, 0)", [1, 2, 0, 4]),
        ("FILL(m1, REPEAT)", [1, 2, 2, 4]),
        ("FILL(m1, LINEAR)", [1, 2, 3, 4]),
        ("FILL(m1, m2)", [1, 2, 30, 4]),
        ("IF(m1 > 1, m1)", [None, 2, None, 4]),
        ("IF(m1 > 1, m1, 0)", [0, 2, None, 4]),
        ("IF(m1 > 1, m2, m1)", [1, None, None, 0]),
        ("IF(1, m1, m2)", [1, 2, None, 4]),
        ("METRIC_COUNT(METRICS()) * m1", [2, 4, None, 8]),
        ("FIRST([m1, m2])", [1, 2, None, 4]),
        ("LAST(REMOVE_EMPTY([m1, m1 / 0]))", [1, 2, None, 4]),
        ("LAST(METRICS() * 2)", [20, None, 60, 0]),
        ("SUM(METRICS() * m1)", [11, 4, None, 16]),
        ("CEIL(m1 / 3)", [1, 1, None, 2]),
        ("LOG10(m2)", [1, None, pytest.approx(1.4771212547), None]),
        ("(-m1)^0.5", [None, None, None, None]),
        ("(m1*10^300)*10^300", [None, None, None, None]),
    ],
)
def test_an_expression_is_computed_point_by_point(
    expression: str, expected: list[float | None]
) -> None:
    assert values(expression, m1=M1, m2=M2) == expected


def test_repeat_goes_on_after_the_last_point_and_nothing_stands_before_the_first() -> None:
    assert values("FILL(m1, REPEAT)", m1=series(None, 5)) == [None, 5, 5, 5]
    assert values("FILL(m1, LINEAR)", m1=series(None, 5)) == [None, 5, None, None]
    assert values("FILL(m1, 0)", m1=series()) == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("expression", "number"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 2 - 3", 5),
        ("2 ^ 3 ^ 2", 512),
        ("-2 ^ 2", -4),
        ("2 * -3", -6),
        ("1e3 / .5", 2000),
        ("AVG(m1)", 7 / 3),
        ("STDDEV(m1)", pytest.approx(1.247219)),
        ("IF(0, 1, 2)", 2),
    ],
)
def test_numbers_follow_the_rules_of_arithmetic(expression: str, number: float) -> None:
    assert computed(expression, m1=M1) == number


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "m1 +",
        "m1 m1",
        "(m1",
        "m1)",
        "[m1",
        "m1 ? m1",
        "'text'",
        "nobody",
        "SUM()",
        "SUM(m1, m1)",
        "SUM(1)",
        "RATE(1)",
        "ANOMALY_DETECTION_BAND(m1)",
        "METRICS(m1)",
        "FILL(m1)",
        "FILL(m1, METRICS())",
        "IF(m1)",
        "IF(METRICS(), 1, 2)",
        "IF(1, m1) + IF(0, m1)",
        "PERIOD(METRICS())",
        "FIRST(METRICS('none'))",
        "[m1, m1] + [m1, m1, m1]",
        "1 / 0",
        "SUM(METRICS('m1')) + MAX(IF(m1 > 100, m1))",
        "[1]",
        "(" * 2000 + "1" + ")" * 2000,
        "-" * 2000 + "1",
        "10^10^10",
        "m1 * 10^1000",
    ],
)
def test_what_cannot_be_computed_is_an_error(expression: str) -> None:
    with pytest.raises(MathError):
        computed(expression, m1=M1)


def test_filling_ends_where_time_ends() -> None:
    end = datetime.max.replace(tzinfo=UTC)
    start = end.replace(second=0, microsecond=0)
    one = Series(label="", period_s=60, points={start: 1.0})

    filled = evaluate(
        parse("FILL(m1, 0)"), Scope(start=start, end=end, values={"m1": one}, metrics={})
    )

    assert filled == one


def test_filling_is_bounded() -> None:
    first = datetime(1, 1, 1, tzinfo=UTC)
    scope = Scope(start=first, end=START, values={"m1": M1}, metrics={"m1": M1})

    with pytest.raises(MathError, match="FILL"):
        evaluate(parse("FILL(m1, 0)"), scope)


@given(st.text(alphabet="m1 2+-*/^()[],<>=&|'\"SUMFILIFMETRICS.eAND", max_size=60))
def test_any_text_is_computed_or_refused(expression: str) -> None:
    with suppress(MathError):
        computed(expression, m1=M1)
