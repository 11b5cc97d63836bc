"""CloudWatch: ListMetrics and GetMetricStatistics."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from outcrop.reporting.measurements import Measurements
from outcrop.reporting.metrics import Metrics
from outcrop.wire.errors import (
    InvalidParameterCombinationException,
    InvalidParameterValueException,
)
from outcrop.wire.shapes.cloudwatch import (
    Datapoint,
    Dimension,
    DimensionFilter,
    GetMetricStatisticsInput,
    ListMetricsInput,
)
from tests.clocks import FakeClock
from tests.reporting.usage import CALLER, KEY, OTHER, ExactSketches, MeasuredValues

NOON = FakeClock().moment
NOVA, CLAUDE = "amazon.nova-lite-v1:0", "anthropic.claude-haiku-4-5-20251001-v1:0"


def metrics(values: MeasuredValues, clock: FakeClock | None = None) -> Metrics:
    measurements = Measurements(values, ExactSketches())
    return Metrics(measurements, page_token_key=KEY, clock=clock or FakeClock())


def listed(values: MeasuredValues, **parameters: Any) -> list[tuple[str, list[tuple[str, str]]]]:
    output = asyncio.run(metrics(values).list_metrics(CALLER, ListMetricsInput(**parameters)))
    return [
        (metric.metric_name or "", [(d.name, d.value) for d in metric.dimensions or ()])
        for metric in output.metrics or ()
    ]


@pytest.fixture
def measured() -> MeasuredValues:
    values = MeasuredValues()
    minute = NOON - timedelta(minutes=30)
    values.add("InputTokenCount", minute, 10, 30, ModelId=NOVA)
    values.add("InputTokenCount", minute, 5, ModelId=CLAUDE, ServiceTier="flex")
    values.add("Invocations", NOON - timedelta(hours=5), 1, ModelId=NOVA)
    values.add("Invocations", NOON - timedelta(days=30), 1, ModelId="amazon.titan-text-express-v1")
    return values


def test_metrics_with_data_of_two_weeks_are_listed(measured: MeasuredValues) -> None:
    assert listed(measured) == [
        ("InputTokenCount", [("ModelId", NOVA)]),
        ("InputTokenCount", [("ModelId", CLAUDE), ("ServiceTier", "flex")]),
        ("Invocations", [("ModelId", NOVA)]),
    ]


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ({"namespace": "AWS/Bedrock"}, 3),
        ({"namespace": "AWS/EC2"}, 0),
        ({"metric_name": "InputTokenCount"}, 2),
        ({"recently_active": "PT3H"}, 2),
        ({"dimensions": [DimensionFilter(name="ModelId")]}, 3),
        ({"dimensions": [DimensionFilter(name="ModelId", value=NOVA)]}, 2),
        ({"dimensions": [DimensionFilter(name=n) for n in ("ModelId", "ServiceTier")]}, 1),
        ({"owning_account": CALLER.account_id}, 3),
        ({"owning_account": OTHER.account_id}, 0),
    ],
)
def test_each_filter_narrows_the_list(
    measured: MeasuredValues, parameters: dict[str, Any], count: int
) -> None:
    assert len(listed(measured, **parameters)) == count


def test_pages_cover_the_list_and_a_token_serves_its_own_listing_alone() -> None:
    values = MeasuredValues()
    for number in range(1_001):
        values.add("Invocations", NOON, 1, ModelId=f"m{number:04}")
    served = metrics(values)

    pages = []
    input_ = ListMetricsInput(include_linked_accounts=True)
    while True:
        output = asyncio.run(served.list_metrics(CALLER, input_))
        pages.append(output)
        if output.next_token is None:
            break
        input_ = ListMetricsInput(include_linked_accounts=True, next_token=output.next_token)

    assert [len(page.metrics or ()) for page in pages] == [500, 500, 1]
    assert pages[2].owning_accounts == [CALLER.account_id]
    ids = [m.dimensions[0].value for page in pages for m in page.metrics or () if m.dimensions]
    assert ids == [f"m{number:04}" for number in range(1_001)]
    other = ListMetricsInput(next_token=pages[0].next_token)
    with pytest.raises(InvalidParameterValueException):
        asyncio.run(served.list_metrics(CALLER, other))


def asked(
    start: datetime = NOON - timedelta(hours=1),
    end: datetime = NOON,
    metric_name: str = "InputTokenCount",
    **parameters: Any,
) -> GetMetricStatisticsInput:
    return GetMetricStatisticsInput(
        **{
            "namespace": "AWS/Bedrock",
            "metric_name": metric_name,
            "dimensions": [Dimension(name="ModelId", value=NOVA)],
            "start_time": start,
            "end_time": end,
            "period": 3600,
            "statistics": ["Sum"],
            **parameters,
        }
    )


def datapoints(values: MeasuredValues, input_: GetMetricStatisticsInput) -> list[Datapoint]:
    output = asyncio.run(metrics(values).get_metric_statistics(CALLER, input_))
    assert output.label == input_.metric_name
    return output.datapoints or []


def test_every_statistic_of_a_period_is_told(measured: MeasuredValues) -> None:
    statistics = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"]

    assert datapoints(measured, asked(statistics=statistics)) == [
        Datapoint(
            timestamp=NOON - timedelta(hours=1),
            sample_count=2,
            average=20,
            sum=40,
            minimum=10,
            maximum=30,
            unit="Count",
        )
    ]


def test_percentiles_come_from_the_sketch() -> None:
    values = MeasuredValues()
    latencies = [float(n) for n in range(1, 101)]
    values.add("InvocationLatency", NOON - timedelta(minutes=2), *latencies, ModelId=NOVA)
    ranks = ["p0", "p50", "p99.9", "p100"]
    input_ = asked(
        metric_name="InvocationLatency", statistics=None, extended_statistics=ranks, period=60
    )

    (point,) = datapoints(values, input_)

    assert point.extended_statistics == {"p0": 1, "p50": 51, "p99.9": 100, "p100": 100}
    assert point.unit == "Milliseconds"


def test_periods_begin_where_the_span_begins() -> None:
    values = MeasuredValues()
    for minute in range(120):
        at = NOON + timedelta(minutes=minute)
        values.add("InvocationLatency", at, minute, ModelId=NOVA)
    start = NOON + timedelta(minutes=7, seconds=31)
    input_ = asked(
        start,
        NOON + timedelta(minutes=107),
        metric_name="InvocationLatency",
        extended_statistics=["p50"],
        statistics=["SampleCount", "Minimum"],
    )

    points = datapoints(values, input_)

    assert [(p.timestamp, p.sample_count, p.minimum) for p in points] == [
        (NOON + timedelta(minutes=7), 60, 7),
        (NOON + timedelta(minutes=67), 40, 67),
    ]
    assert points[0].extended_statistics == {"p50": 37}


@pytest.mark.parametrize(("days", "begins_at"), [(14, (13, 58)), (16, (13, 55)), (64, (13, 0))])
def test_older_starts_are_rounded_further(days: int, begins_at: tuple[int, int]) -> None:
    values = MeasuredValues()
    start = (NOON - timedelta(days=days)).replace(hour=13, minute=58, second=59)
    values.add("InputTokenCount", start.replace(second=0), 1, ModelId=NOVA)

    (point,) = datapoints(values, asked(start, start + timedelta(hours=2), period=7200))

    assert point.timestamp
    assert (point.timestamp.hour, point.timestamp.minute) == begins_at


@given(
    st.lists(st.integers(0, 600), max_size=20),
    st.integers(0, 300),
    st.integers(1, 300),
    st.integers(1, 20),
)
def test_sums_of_periods_are_the_sum_of_the_span(
    minutes: list[int], begin: int, length: int, period_minutes: int
) -> None:
    values = MeasuredValues()
    for minute in minutes:
        values.add("InputTokenCount", NOON + timedelta(minutes=minute), 1, ModelId=NOVA)
    start = NOON + timedelta(minutes=begin)
    input_ = asked(start, start + timedelta(minutes=length), period=60 * period_minutes)

    points = datapoints(values, input_)

    assert sum(p.sum or 0 for p in points) == sum(begin <= m < begin + length for m in minutes)
    offsets = [
        (p.timestamp - start) % timedelta(seconds=input_.period) for p in points if p.timestamp
    ]
    assert offsets == [timedelta(0)] * len(points)


@pytest.mark.parametrize(
    "parameters",
    [
        {"namespace": "AWS/EC2"},
        {"unit": "Seconds"},
        {"dimensions": None},
        {"metric_name": "Nobody"},
        {"start": NOON - timedelta(days=2), "end": NOON - timedelta(days=1)},
    ],
)
def test_nothing_measured_is_no_datapoint(
    measured: MeasuredValues, parameters: dict[str, Any]
) -> None:
    assert datapoints(measured, asked(**parameters)) == []


def test_where_no_statistic_is_known_is_no_datapoint(measured: MeasuredValues) -> None:
    """How tokens are spread is not kept."""
    ranks = asked(statistics=None, extended_statistics=["p99"])
    both = asked(statistics=["Sum"], extended_statistics=["p99"])

    assert datapoints(measured, ranks) == []
    assert [one.sum for one in datapoints(measured, both)] == [40]


@pytest.mark.parametrize(
    ("parameters", "error", "text"),
    [
        ({"period": 30}, InvalidParameterValueException, "must be a multiple of 60"),
        ({"end": NOON - timedelta(hours=1)}, InvalidParameterValueException, "must not equal"),
        ({"end": NOON - timedelta(hours=2)}, InvalidParameterValueException, "must be less than"),
        ({"statistics": None}, InvalidParameterCombinationException, "Must specify either"),
        (
            {"extended_statistics": ["tm900"]},
            InvalidParameterValueException,
            "The value tm900 for parameter ExtendedStatistics.member.1 is not a valid statistic",
        ),
        (
            {"start": NOON - timedelta(days=2), "period": 60},
            InvalidParameterCombinationException,
            "You have requested up to 2,880 datapoints, which exceeds the limit of 1,440.",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(
    parameters: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        datapoints(MeasuredValues(), asked(**parameters))


def test_a_start_in_another_zone_is_the_same_moment(measured: MeasuredValues) -> None:
    points = datapoints(measured, asked((NOON - timedelta(hours=1)).astimezone(UTC)))

    assert [point.sum for point in points] == [40]
