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
        ("tm90", pytest.approx(450.5, rel=0.01)),
        ("TM(10%:90%)", pytest.approx(500.5, rel=0.01)),
        ("TM(80%:)", pytest.approx(900.5, rel=0.01)),
        ("TM(150:400)", pytest.approx(275.5, rel=0.01)),
        ("TM(2000:3000)", None),
        ("tm100", pytest.approx(500.5)),
        ("IQM", pytest.approx(500.5, rel=0.01)),
        ("tc90", pytest.approx(900)),
        ("TC(:300)", pytest.approx(300, rel=0.01)),
        ("ts90", pytest.approx(405_450, rel=0.01)),
        ("TS(80%:)", pytest.approx(180_100, rel=0.01)),
        ("TS(:0.5)", 0),
        ("wm98", pytest.approx(500.3, rel=0.01)),
        ("WM(10%:90%)", pytest.approx(500.5, rel=0.01)),
        ("PR(:300)", pytest.approx(30, rel=0.01)),
        ("PR(100:700)", pytest.approx(60, rel=0.01)),
        ("PR(:1000)", 100),
        ("PR(1000:)", 0),
        ("PR(:0.5)", 0),
    ],
)
def test_a_statistic_is_computed_from_the_ledgers_sketch(text: str, value: float | None) -> None:
    statistic = MEASUREMENTS.statistic(text)

    assert statistic is not None
    assert statistic(point(*range(1, 1001))) == value


@pytest.mark.parametrize(
    "text",
    [
        *("p", "p101", "p-1", "sum", "", "tm", "tm101", "pr300", "PR(:10%)", "TM()", "TM(:)"),
        *("TM(90%:10%)", "TM(5:5)", "TM(:101%)", "TM(a:b)", "QM(:5)", "p(10:20)", "TM(1:2:3)"),
    ],
)
def test_what_is_no_statistic_is_none(text: str) -> None:
    assert MEASUREMENTS.statistic(text) is None


def test_a_hundred_alike_are_all_inside() -> None:
    alike = point(*[7.0] * 100)

    found = {
        text: statistic(alike)
        for text in ("tm90", "tc50", "wm98", "PR(:7)", "PR(:6)", "TM(:7)", "IQM")
        if (statistic := MEASUREMENTS.statistic(text))
    }

    assert found == {
        "tm90": pytest.approx(7),
        "tc50": pytest.approx(50),
        "wm98": pytest.approx(7),
        "PR(:7)": 100,
        "PR(:6)": 0,
        "TM(:7)": pytest.approx(7),
        "IQM": pytest.approx(7),
    }


@pytest.mark.parametrize("text", ["p50", "tm90", "PR(:5)"])
def test_how_what_has_no_sketch_is_spread_is_not_known(text: str) -> None:
    statistic = MEASUREMENTS.statistic(text)
    bare = MetricPoint(
        at=datetime(2026, 11, 22, tzinfo=UTC), count=1, total=1, least=1, most=1, sketch=None
    )

    assert statistic is not None
    assert statistic(bare) is None
