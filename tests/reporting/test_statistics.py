"""Statistics of a metric, by name."""

from datetime import UTC, datetime

import pytest

from outcrop.reporting.measurements import Measurements
from outcrop.reporting.statistics import UNITS
from outcrop.store import usage_sums
from outcrop.store.usage import MetricPoint
from tests.reporting.usage import MeasuredValues


def point(*values: float) -> MetricPoint:
    return MetricPoint(
        at=datetime(2026, 11, 22, tzinfo=UTC),
        count=len(values),
        total=sum(values),
        least=min(values),
        most=max(values),
        sketch=usage_sums.sketch_of(values),
    )


MEASUREMENTS = Measurements(MeasuredValues(), usage_sums)


def test_every_metric_that_is_kept_has_a_unit() -> None:
    assert set(UNITS) == {*usage_sums.ONES, *usage_sums.COUNTED, *usage_sums.DELIVERIES}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("SampleCount", 1000),
        ("Average", 500.5),
        ("Sum", 500_500),
        ("Minimum", 1),
        ("Maximum", 1000),
        ("p0", 1),
        ("p50", pytest.approx(500.5, rel=0.01)),
        ("P99.9", pytest.approx(999.5, rel=0.01)),
        ("p100", 1000),
    ],
)
def test_a_statistic_is_computed_from_the_ledgers_sketch(text: str, value: float) -> None:
    statistic = MEASUREMENTS.statistic(text)

    assert statistic is not None
    assert statistic(point(*range(1, 1001))) == value


@pytest.mark.parametrize("text", ["p", "p101", "p-1", "tm90", "TM(10%:90%)", "IQM", "sum", ""])
def test_what_is_no_statistic_is_none(text: str) -> None:
    assert MEASUREMENTS.statistic(text) is None


def test_a_percentile_of_what_has_no_sketch_is_not_known() -> None:
    statistic = MEASUREMENTS.statistic("p50")
    bare = MetricPoint(
        at=datetime(2026, 11, 22, tzinfo=UTC), count=1, total=1, least=1, most=1, sketch=None
    )

    assert statistic is not None
    assert statistic(bare) is None
