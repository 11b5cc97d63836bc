"""CloudWatch: GetMetricData."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from outcrop.reporting.measurements import Measurements
from outcrop.reporting.metric_data import MetricData
from outcrop.wire.errors import InvalidNextToken, ValidationException
from outcrop.wire.shapes.cloudwatch import (
    Dimension,
    GetMetricDataInput,
    GetMetricDataOutput,
    LabelOptions,
    Metric,
    MetricDataQuery,
    MetricStat,
)
from tests.clocks import FakeClock
from tests.reporting.usage import CALLER, KEY, OTHER, ExactSketches, MeasuredValues

NOON = FakeClock().moment
NOVA = "amazon.nova-lite-v1:0"


@pytest.fixture
def measured() -> MeasuredValues:
    values = MeasuredValues()
    for minute, count in enumerate([1, 2, 3, 4]):
        at = NOON + timedelta(minutes=minute)
        values.add("InputTokenCount", at, *[10] * count, ModelId=NOVA)
        values.add("Invocations", at, *[1] * count, ModelId=NOVA)
        values.add("InvocationLatency", at, 100 * count, ModelId=NOVA)
    return values


def metric(id_: str, name: str, stat: str = "Sum", **parameters: Any) -> MetricDataQuery:
    dimensions = [Dimension(name="ModelId", value=NOVA)]
    source = Metric(namespace="AWS/Bedrock", metric_name=name, dimensions=dimensions)
    period = parameters.pop("period", 60)
    unit = parameters.pop("unit", None)
    metric_stat = MetricStat(metric=source, period=period, stat=stat, unit=unit)
    return MetricDataQuery(id=id_, metric_stat=metric_stat, **parameters)


def math(id_: str, expression: str, **parameters: Any) -> MetricDataQuery:
    return MetricDataQuery(id=id_, expression=expression, **parameters)


LISTED = ("InputTokenCount", "InvocationLatency", "Invocations")
TOKENS = metric("tokens", "InputTokenCount")
CALLS = metric("calls", "Invocations", return_data=False)


def served(values: MeasuredValues) -> MetricData:
    measurements = Measurements(values, ExactSketches())
    return MetricData(measurements, page_token_key=KEY, clock=FakeClock())


def answered(
    values: MeasuredValues, *queries: MetricDataQuery, **parameters: Any
) -> GetMetricDataOutput:
    input_ = GetMetricDataInput(
        **{
            "metric_data_queries": list(queries),
            "start_time": NOON,
            "end_time": NOON + timedelta(minutes=5),
            "scan_by": "TimestampAscending",
            **parameters,
        }
    )
    return asyncio.run(served(values).get_metric_data(CALLER, input_))


def lines(
    values: MeasuredValues, *queries: MetricDataQuery, **parameters: Any
) -> list[tuple[str, str, list[float]]]:
    results = answered(values, *queries, **parameters).metric_data_results or []
    return [(r.id or "", r.label or "", r.values or []) for r in results]


def test_metrics_and_expressions_are_answered_by_id(measured: MeasuredValues) -> None:
    per_call = math("per_call", "tokens / calls", label="tokens of a call")

    assert lines(measured, TOKENS, CALLS, per_call) == [
        ("tokens", "InputTokenCount", [10, 20, 30, 40]),
        ("per_call", "tokens of a call", [10, 10, 10, 10]),
    ]


def test_the_newest_point_comes_first_unless_asked_otherwise(measured: MeasuredValues) -> None:
    output = answered(measured, TOKENS, scan_by=None)

    (result,) = output.metric_data_results or []
    assert result.values == [40, 30, 20, 10]
    assert result.timestamps == [NOON + timedelta(minutes=n) for n in (3, 2, 1, 0)]
    assert result.status_code == "Complete"


def test_an_expression_may_come_before_what_it_needs(measured: MeasuredValues) -> None:
    queries = math("a", "b * 2"), math("b", "tokens + 1", return_data=False), TOKENS

    assert lines(measured, *queries)[0] == ("a", "a", [22, 42, 62, 82])


def test_metrics_are_all_metrics_and_no_expressions(measured: MeasuredValues) -> None:
    total = math("total", "SUM(METRICS())")

    assert lines(measured, total, TOKENS, CALLS)[0] == ("total", "total", [11, 22, 33, 44])


def test_a_list_of_series_is_one_result_each(measured: MeasuredValues) -> None:
    both = math("both", "METRICS() * 1", label="x")

    assert lines(measured, both, TOKENS, CALLS)[:2] == [
        ("both", "x InputTokenCount", [10, 20, 30, 40]),
        ("both", "x Invocations", [1, 2, 3, 4]),
    ]


@pytest.mark.parametrize(
    ("search", "labels"),
    [
        ('{AWS/Bedrock,ModelId} MetricName="Invocations"', [f"{NOVA} Invocations"]),
        ('{"AWS/Bedrock","ModelId"} invocation', [f"{NOVA} {n}" for n in LISTED[1:]]),
        ("{AWS/Bedrock,ModelId} MetricName=Invocation nova", [f"{NOVA} {n}" for n in LISTED[1:]]),
        (
            f'{{AWS/Bedrock,ModelId}} ModelId=("other" OR "{NOVA}") AND MetricName="Invocations"',
            [f"{NOVA} Invocations"],
        ),
        ('MetricName="InputTokenCount"', [f"{NOVA} InputTokenCount"]),
        ('{AWS/Bedrock} MetricName="Invocations"', []),
        ('{AWS/EC2,ModelId} MetricName="Invocations"', []),
        ('{AWS/Bedrock,ModelId} "Invocation"', []),
    ],
)
def test_a_search_finds_metrics_by_schema_and_terms(
    measured: MeasuredValues, search: str, labels: list[str]
) -> None:
    found = lines(measured, math("found", f"REMOVE_EMPTY(SEARCH('{search}', 'Sum', 60))"))

    assert [label for _, label, _ in found] == labels


def test_what_a_search_found_can_be_computed_with(measured: MeasuredValues) -> None:
    search = "SEARCH('{AWS/Bedrock,ModelId} InputTokenCount', 'Sum', 60)"

    assert lines(measured, math("a", f"SUM({search}) / 10")) == [("a", "a", [1, 2, 3, 4])]


@pytest.mark.parametrize(
    "search",
    [
        "SEARCH('a')",
        "SEARCH('a', 'Sum', 30)",
        "SEARCH('a', 'tm900', 60)",
        "SEARCH('a OR b', 'Sum', 60)",
        "SEARCH('(a', 'Sum', 60)",
    ],
)
def test_a_search_that_cannot_be_read_is_refused(search: str) -> None:
    with pytest.raises(ValidationException):
        answered(MeasuredValues(), math("a", search))


def test_a_metric_is_read_once_for_all_its_statistics(measured: MeasuredValues) -> None:
    queries = [metric(f"q{n}", "InvocationLatency", s) for n, s in enumerate(("p90", "Average"))]

    assert [values for _, _, values in lines(measured, *queries)] == [[100, 200, 300, 400]] * 2
    assert len(measured.asked) == 1


def test_what_nobody_measured_is_an_empty_result(measured: MeasuredValues) -> None:
    queries = metric("a", "Nothing"), metric("b", "Invocations", unit="Seconds")

    assert lines(measured, *queries) == [("a", "Nothing", []), ("b", "Invocations", [])]


def label(values: MeasuredValues, text: str, **parameters: Any) -> str:
    [(_, told, _)] = lines(values, metric("a", "InputTokenCount", label=text), **parameters)
    return told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("${PROP('Dim.ModelId')}: ${PROP('MetricName')}", f"{NOVA}: InputTokenCount"),
        ("${PROP('Namespace')} ${PROP('Stat')} ${PROP('Period')}", "AWS/Bedrock Sum 60"),
        ("${PROP('AccountId')} in ${PROP('Region')}", "111122223333 in us-east-1"),
        ("${LABEL} [${MIN} to ${MAX}, ${AVG}]", "InputTokenCount [10 to 40, 25]"),
        ("${SUM} in ${DATAPOINT_COUNT}", "100 in 4"),
        ("${FIRST} ${LAST} ${FIRST_LAST_RANGE} ${MIN_MAX_RANGE}", "10 40 30 30"),
        ("${FIRST_LAST_TIME_RANGE}, ${MIN_MAX_TIME_RANGE}", "3m, 3m"),
        ("${MAX_TIME}", f"{NOON + timedelta(minutes=3):%Y-%m-%d %H:%M:%S} UTC"),
        ("${LAST_TIME_RELATIVE} ${FIRST_TIME_RELATIVE}", "3m 0s"),
        ("${PROP('Dim.Other')} ${NEW} $5 {MAX}", "-- ${NEW} $5 {MAX}"),
    ],
)
def test_a_label_tells_of_what_it_is_at(measured: MeasuredValues, text: str, told: str) -> None:
    assert label(measured, text) == told


def test_times_in_labels_are_those_of_the_zone_that_is_asked_for(measured: MeasuredValues) -> None:
    told = label(measured, "${FIRST_TIME}", label_options=LabelOptions(timezone="-0130"))

    assert told == f"{NOON - timedelta(minutes=90):%Y-%m-%d %H:%M:%S} UTC-01:30"
    with pytest.raises(ValidationException, match=r"LabelOptions\.Timezone"):
        label(measured, "calls", label_options=LabelOptions(timezone="CET"))


def test_a_label_without_data_says_that_there_is_none(measured: MeasuredValues) -> None:
    text = "${MAX} ${AVG} ${LAST_TIME} ${FIRST_LAST_RANGE} ${PROP('MetricName')}"
    query = metric("a", "CacheReadInputTokens", label=text)

    assert lines(measured, query) == [("a", "-- -- -- -- CacheReadInputTokens", [])]


def test_a_dynamic_label_is_filled_in_for_every_metric_that_was_found(
    measured: MeasuredValues,
) -> None:
    search = "SEARCH('{AWS/Bedrock,ModelId} MetricName=(Invocations OR Tokens)', 'Sum', 300)"
    text = "${PROP('Dim.ModelId')}/${PROP('MetricName')}: ${SUM} (${LABEL})"
    found = lines(measured, math("a", f"FILL({search}, 0)", label=text))

    assert [told for _, told, _ in found] == [f"{NOVA}/Invocations: 10 ({NOVA} Invocations)"]


def test_another_accounts_metrics_are_not_the_callers(measured: MeasuredValues) -> None:
    of_other = metric("a", "Invocations", account_id=OTHER.account_id)
    own = metric("b", "Invocations", account_id=CALLER.account_id)

    assert [(id_, len(values)) for id_, _, values in lines(measured, of_other, own)] == [
        ("a", 0),
        ("b", 4),
    ]


def test_pages_cover_every_point_once(measured: MeasuredValues) -> None:
    queries = (TOKENS, metric("empty", "Nothing"), metric("latency", "InvocationLatency"))
    input_ = {"max_datapoints": 3}

    pages = [answered(measured, *queries, **input_)]
    while token := pages[-1].next_token:
        pages.append(answered(measured, *queries, **input_, next_token=token))

    parts = [
        (r.id, r.values, r.status_code) for page in pages for r in page.metric_data_results or ()
    ]
    assert parts == [
        ("tokens", [10, 20, 30], "PartialData"),
        ("tokens", [40], "Complete"),
        ("empty", [], "Complete"),
        ("latency", [100, 200], "PartialData"),
        ("latency", [300, 400], "Complete"),
    ]
    assert len(pages) == 3


@pytest.mark.parametrize("most", range(1, 10))
def test_pages_of_any_length_name_every_line_and_cover_every_point_once(
    measured: MeasuredValues, most: int
) -> None:
    names = ("InputTokenCount", "Nothing", "InvocationLatency", "Invocations", "Nothing else")
    queries = [metric(f"m{number}", name) for number, name in enumerate(names)]
    found: dict[str, list[float]] = {}
    token = None

    while token or not found:
        page = answered(measured, *queries, max_datapoints=most, next_token=token)
        results = page.metric_data_results or []
        assert sum(len(result.values or ()) for result in results) <= most
        for result in results:
            found.setdefault(result.id or "", []).extend(result.values or ())
        token = page.next_token

    assert [*found.items()] == [(id_, values) for id_, _, values in lines(measured, *queries)]


@pytest.mark.parametrize("scan_by", ["TimestampDescending", "TimestampAscending"])
def test_what_comes_in_between_two_pages_has_nothing_told_twice(scan_by: str) -> None:
    values = MeasuredValues()

    def add(minute: int) -> None:
        values.add("InputTokenCount", NOON + timedelta(minutes=minute), minute, ModelId=NOVA)

    def page(token: str | None) -> GetMetricDataOutput:
        return answered(values, TOKENS, max_datapoints=2, scan_by=scan_by, next_token=token)

    for minute in (1, 2, 3):
        add(minute)
    first = page(None)
    add(0)
    add(4)

    second = page(first.next_token)

    results = [*(first.metric_data_results or ()), *(second.metric_data_results or ())]
    told = [value for result in results for value in result.values or ()]
    expected = [3, 2, 1, 0] if scan_by == "TimestampDescending" else [1, 2, 3, 4]
    assert told == expected
    assert second.next_token is None


def test_a_token_belongs_to_its_request_and_caller(measured: MeasuredValues) -> None:
    token = answered(measured, TOKENS, max_datapoints=3).next_token

    with pytest.raises(InvalidNextToken):
        answered(measured, TOKENS, max_datapoints=2, next_token=token)


def test_another_account_sees_nothing(measured: MeasuredValues) -> None:
    input_ = GetMetricDataInput(
        metric_data_queries=[TOKENS], start_time=NOON, end_time=NOON + timedelta(minutes=5)
    )

    output = asyncio.run(served(measured).get_metric_data(OTHER, input_))

    assert [result.values for result in output.metric_data_results or ()] == [[]]


@pytest.mark.parametrize(
    ("queries", "text"),
    [
        ([math("Total", "1")], "The value Total for parameter MetricDataQueries.member.1.Id"),
        ([TOKENS, TOKENS], "The values for parameter id in MetricDataQueries are not unique."),
        ([MetricDataQuery(id="a")], "MetricDataQueries.member.1.MetricStat and"),
        (
            [math("m", ' select SUM(Invocations) FROM "AWS/Bedrock"')],
            "Error in expression 'm': Metrics Insights queries are not supported",
        ),
        (
            [TOKENS, metric("b", "Invocations", "tm900")],
            "The value tm900 for parameter MetricDataQueries.member.2.MetricStat.Stat is not a v",
        ),
        ([metric("a", "Invocations", period=90)], "must be a multiple of 60"),
        ([math("a", "nobody")], "Error in expression 'a': The variable 'nobody' is not defined"),
        ([math("a", "1 +")], "Error in expression 'a': Unexpected end"),
        ([math("a", "1")], "Error in expression 'a': The expression must return a time series"),
        ([math("a", "b"), math("b", "a")], "The expression refers to itself"),
        ([metric(f"q{n}", "x") for n in range(501)], "must not have a size greater than 500"),
    ],
)
def test_what_cannot_be_asked_is_refused(queries: list[MetricDataQuery], text: str) -> None:
    with pytest.raises(ValidationException, match=text):
        answered(MeasuredValues(), *queries)


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_datapoints": 0},
        {"max_datapoints": 100_801},
        {"end_time": NOON},
        {"start_time": NOON - timedelta(days=71)},
    ],
)
def test_spans_and_pages_have_bounds(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationException):
        answered(MeasuredValues(), TOKENS, **parameters)


def test_a_long_chain_of_expressions_is_computed(measured: MeasuredValues) -> None:
    chain = [math(f"e{n}", f"e{n + 1} + 1", return_data=n == 0) for n in range(498)]
    queries = [*chain, math("e498", "tokens", return_data=False), TOKENS]

    assert lines(measured, *queries)[0] == ("e0", "e0", [508, 518, 528, 538])


ALL_FILLED = [math(f"e{n}", "FILL(tokens, 0) + 1") for n in range(20)]
MANY_TERMS = "SEARCH('" + "a " * 500 + "', 'Sum', 60)"


@pytest.mark.slow
def test_what_is_endless_to_compute_is_refused(measured: MeasuredValues) -> None:
    long_ago = {"start_time": NOON - timedelta(days=69)}

    with pytest.raises(ValidationException, match="more than 2,000,000 datapoints"):
        answered(measured, TOKENS, *ALL_FILLED, **long_ago)
    assert len(answered(measured, TOKENS, *ALL_FILLED[:5]).metric_data_results or ()) == 6


def test_what_is_endless_to_look_at_is_refused() -> None:
    values = MeasuredValues()
    for number in range(5_000):
        values.add("Invocations", NOON, 1, ModelId=f"a{number}")

    with pytest.raises(ValidationException, match="more than 2,000,000 datapoints"):
        answered(values, math("e", MANY_TERMS))


def test_others_have_their_turn_while_expressions_are_computed(measured: MeasuredValues) -> None:
    """The loop goes on: a task that only ever yields would not, were all computed within it."""
    input_ = GetMetricDataInput(
        metric_data_queries=[TOKENS, ALL_FILLED[0]],
        start_time=NOON - timedelta(days=69),
        end_time=NOON + timedelta(minutes=5),
    )

    async def turns() -> int:
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(served(measured).get_metric_data(CALLER, input_))
            count = 0
            while not asked.done():
                await asyncio.sleep(0)
                count += 1
        return count

    # A handful while metrics are read.
    assert asyncio.run(turns()) > 20
