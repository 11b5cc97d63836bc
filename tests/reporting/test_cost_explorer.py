"""Cost Explorer: what was spent, split and filtered."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from outcrop.reporting.cost_explorer import CostExplorer
from outcrop.wire.errors import InvalidNextTokenException, ValidationException
from outcrop.wire.shapes.ce import (
    CostCategoryValues,
    DateInterval,
    DimensionValues,
    Expression,
    GetCostAndUsageRequest,
    GetCostAndUsageResponse,
    GetDimensionValuesRequest,
    GetTagsRequest,
    GroupDefinition,
    SortDefinition,
    TagValues,
)
from tests.clocks import FakeClock
from tests.reporting.usage import CALLER, KEY, OTHER, Spent, SpentMoney

INPUT, OUTPUT = "USE1-NovaLite-input-tokens", "USE1-NovaLite-output-tokens"
SERVICE, EAST, WEST = "Amazon Bedrock", "us-east-1", "us-west-2"


def at(day: int, hour: int = 12, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def by(usage_type: str, region: str, team: str = "", **tags: str) -> dict[str, str]:
    keys = {"SERVICE": SERVICE, "USAGE_TYPE": usage_type, "REGION": region}
    return keys | {f"TAG:{key}": value for key, value in {"team": team, **tags}.items()}


MONEY = SpentMoney(
    Spent(at=at(20), cost="0.1", by=by(INPUT, EAST, "checkout")),
    Spent(at=at(20), cost="0.2", by=by(OUTPUT, EAST, "checkout", stage="prod")),
    Spent(at=at(21), cost="0.0000000003", by=by(INPUT, WEST, "Search")),
    Spent(at=at(21), cost="2", usage=1, unit="ModelUnitHours", by=by("USE1-Units", EAST)),
    Spent(at=at(31, month=10), cost="40", by=by(INPUT, EAST)),
)


def served(money: SpentMoney = MONEY) -> CostExplorer:
    return CostExplorer(money, page_token_key=KEY, clock=FakeClock())


def asked(start: str, end: str, granularity: Any = "DAILY", **rest: Any) -> GetCostAndUsageRequest:
    metrics = rest.pop("metrics", ["UnblendedCost"])
    return GetCostAndUsageRequest(
        time_period=DateInterval(start=start, end=end),
        granularity=granularity,
        metrics=metrics,
        **rest,
    )


def answered(input_: GetCostAndUsageRequest) -> GetCostAndUsageResponse:
    return asyncio.run(served().get_cost_and_usage(CALLER, input_))


def totals(input_: GetCostAndUsageRequest) -> list[tuple[str, str]]:
    results = answered(input_).results_by_time or []
    return [
        (r.time_period.start, (r.total or {})["UnblendedCost"].amount or "")
        for r in results
        if r.time_period
    ]


def groups(input_: GetCostAndUsageRequest) -> list[tuple[list[str], str]]:
    return [
        (group.keys or [], (group.metrics or {})["UnblendedCost"].amount or "")
        for result in answered(input_).results_by_time or ()
        for group in result.groups or ()
    ]


def dimension(key: Any, *values: str, **rest: Any) -> Expression:
    return Expression(dimensions=DimensionValues(key=key, values=list(values), **rest))


def tag(key: str, *values: str, **rest: Any) -> Expression:
    return Expression(tags=TagValues(key=key, values=list(values), **rest))


def test_every_day_is_told_also_one_without_costs() -> None:
    assert totals(asked("2026-11-19", "2026-11-22")) == [
        ("2026-11-19", "0"),
        ("2026-11-20", "0.3"),
        ("2026-11-21", "2.0000000003"),
    ]


def test_metrics_in_capitals_are_answered_by_their_names() -> None:
    names = ["UNBLENDED_COST", "NET_AMORTIZED_COST", "USAGE_QUANTITY", "BlendedCost"]
    input_ = asked("2026-11-20", "2026-11-21", metrics=names)

    [result] = answered(input_).results_by_time or []

    assert {name: value.amount for name, value in (result.total or {}).items()} == {
        "UnblendedCost": "0.3",
        "NetAmortizedCost": "0.3",
        "UsageQuantity": "2000",
        "BlendedCost": "0.3",
    }


def test_months_are_those_of_the_calendar() -> None:
    results = answered(asked("2026-10-15", "2026-12-01", "MONTHLY")).results_by_time or []

    assert [(r.time_period, r.estimated) for r in results] == [
        (DateInterval(start="2026-10-15", end="2026-11-01"), False),
        (DateInterval(start="2026-11-01", end="2026-12-01"), True),
    ]
    assert [r.total["UnblendedCost"].amount for r in results if r.total] == ["40", "2.3000000003"]


def test_hours_are_told_with_their_time() -> None:
    input_ = asked("2026-11-20T11:00:00Z", "2026-11-20T14:00:00Z", "HOURLY")

    assert totals(input_) == [
        ("2026-11-20T11:00:00Z", "0"),
        ("2026-11-20T12:00:00Z", "0.3"),
        ("2026-11-20T13:00:00Z", "0"),
    ]


def test_usage_of_different_kinds_has_no_unit() -> None:
    names = ["UsageQuantity", "BlendedCost", "AmortizedCost"]
    results = answered(asked("2026-11-20", "2026-11-22", metrics=names)).results_by_time or []

    first, second = ({k: (v.amount, v.unit) for k, v in (r.total or {}).items()} for r in results)
    assert first == {
        "UsageQuantity": ("2000", "Tokens"),
        "BlendedCost": ("0.3", "USD"),
        "AmortizedCost": ("0.3", "USD"),
    }
    assert second["UsageQuantity"] == ("1001", "N/A")


def test_costs_are_grouped_by_dimension_and_tag() -> None:
    by_both = [
        GroupDefinition(type="TAG", key="team"),
        GroupDefinition(type="DIMENSION", key="USAGE_TYPE"),
    ]

    response = answered(asked("2026-11-20", "2026-11-22", group_by=by_both))

    assert response.group_definitions == by_both
    assert [result.total for result in response.results_by_time or ()] == [{}, {}]
    assert groups(asked("2026-11-20", "2026-11-22", group_by=by_both)) == [
        (["team$checkout", INPUT], "0.1"),
        (["team$checkout", OUTPUT], "0.2"),
        (["team$", "USE1-Units"], "2"),
        (["team$Search", INPUT], "0.0000000003"),
    ]


@pytest.mark.parametrize(
    ("expression", "cost"),
    [
        (dimension("REGION", WEST), "0.0000000003"),
        (dimension("SERVICE", SERVICE), "2.3000000003"),
        (dimension("USAGE_TYPE", INPUT, OUTPUT), "0.3000000003"),
        (dimension("USAGE_TYPE", "USE1-Nova", match_options=["STARTS_WITH"]), "0.3000000003"),
        (dimension("USAGE_TYPE", "output", match_options=["CONTAINS"]), "0.2"),
        (dimension("USAGE_TYPE", "tokens", match_options=["ENDS_WITH"]), "0.3000000003"),
        (Expression(not_=dimension("RECORD_TYPE", "Credit", "Refund")), "2.3000000003"),
        (tag("team", "checkout"), "0.3"),
        (tag("team", "search"), "0"),
        (tag("team", "search", match_options=["CASE_INSENSITIVE"]), "0.0000000003"),
        (tag("team", "CHECKOUT", match_options=["EQUALS", "CASE_INSENSITIVE"]), "0.3"),
        (
            tag("team", "X", "SEA", match_options=["STARTS_WITH", "CASE_INSENSITIVE"]),
            "0.0000000003",
        ),
        (tag("team", *map(str, range(10_000)), "checkout"), "0.3"),
        (tag("stage", match_options=["ABSENT"]), "2.1000000003"),
        (Expression(not_=tag("team", "checkout")), "2.0000000003"),
        (Expression(and_=[tag("team", "checkout"), dimension("USAGE_TYPE", INPUT)]), "0.1"),
        (Expression(or_=[tag("stage", "prod"), dimension("REGION", WEST)]), "0.2000000003"),
    ],
)
def test_a_filter_leaves_what_fits(expression: Expression, cost: str) -> None:
    input_ = asked("2026-11-20", "2026-11-22", filter=expression)

    assert sum(Decimal(amount) for _, amount in totals(input_)) == Decimal(cost)


def nested(depth: int) -> Expression:
    expression = tag("team", "checkout")
    for _ in range(depth):
        expression = Expression(not_=expression)
    return expression


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"start": "2026-11-22"}, "Start date .and hour. should be before end date"),
        ({"end": "2026-12-02"}, "end date past the beginning of next month"),
        ({"start": "2026-02-30"}, "does not exist"),
        ({"start": "2020-01-01"}, "38 months"),
        ({"start": "2026-11-20T00:00:00Z"}, "only HOURLY"),
        ({"start": "2026-11-01", "granularity": "HOURLY"}, "too old for hourly"),
        ({"metrics": []}, "At least one metric"),
        ({"metrics": ["NormalizedUsageAmount"]}, "NormalizedUsageAmount is not supported"),
        ({"group_by": [GroupDefinition(type="TAG", key=k) for k in "abc"]}, "at most 2"),
        ({"group_by": [GroupDefinition(key="SERVICE")]}, "Group Definition type is invalid."),
        (
            {"group_by": [GroupDefinition(type="DIMENSION", key="TENANCY")]},
            "Dimension TENANCY is not allowed",
        ),
        ({"group_by": [GroupDefinition(type="TAG")]}, "key of a tag"),
        ({"group_by": [GroupDefinition(type="COST_CATEGORY", key="c")]}, "type is invalid."),
        (
            {"filter": Expression(cost_categories=CostCategoryValues(key="c", values=["v"]))},
            "by cost category or product attribute are not supported",
        ),
        ({"filter": Expression()}, "exactly one of"),
        ({"filter": Expression(and_=[tag("team", "a")])}, "at least two"),
        ({"filter": tag("team")}, "must not be empty"),
        ({"filter": dimension("AZ", "x")}, "Dimension AZ is not allowed"),
        ({"filter": tag("team", "x", match_options=["GREATER_THAN_OR_EQUAL"])}, "GREATER_THAN"),
        ({"filter": nested(50)}, "nested too deeply"),
        (
            {"filter": Expression(or_=[tag(f"team{n}", "x") for n in range(101)])},
            "at most 100 conditions",
        ),
        (
            {"filter": tag("team", *map(str, range(501)), match_options=["CONTAINS"])},
            "500 values that are not to be equal",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(parameters: dict[str, Any], text: str) -> None:
    span = {"start": "2026-11-20", "end": "2026-11-22"}

    with pytest.raises(ValidationException, match=text):
        answered(asked(**{**span, **parameters}))


def values(**parameters: Any) -> tuple[list[str], int]:
    period = DateInterval(start="2026-11-20", end="2026-11-22")
    input_ = GetDimensionValuesRequest(time_period=period, **parameters)
    response = asyncio.run(served().get_dimension_values(CALLER, input_))
    assert response.return_size == len(response.dimension_values)
    return [found.value or "" for found in response.dimension_values], response.total_size


def test_the_values_of_a_dimension_are_listed() -> None:
    by_cost = [SortDefinition(key="UnblendedCost", sort_order="DESCENDING")]

    assert values(dimension="REGION") == ([EAST, WEST], 2)
    assert values(dimension="USAGE_TYPE", search_string="OUTPUT") == ([OUTPUT], 1)
    assert values(dimension="USAGE_TYPE", sort_by=by_cost)[0] == ["USE1-Units", OUTPUT, INPUT]
    assert values(dimension="REGION", max_results=1) == ([EAST], 2)
    assert values(dimension="REGION", filter=tag("team", "Search")) == ([WEST], 1)


def tags(**parameters: Any) -> list[str]:
    period = DateInterval(start="2026-11-20", end="2026-11-22")
    input_ = GetTagsRequest(time_period=period, **parameters)
    response = asyncio.run(served().get_tags(CALLER, input_))
    return response.tags


def test_tags_and_their_values_are_listed() -> None:
    assert tags() == ["aws:PrincipalArn", "stage", "team"]
    assert tags(search_string="Sta") == ["stage"]
    assert tags(tag_key="team") == ["", "Search", "checkout"]


def test_tags_are_those_of_the_costs_that_a_filter_leaves() -> None:
    east, west = dimension("REGION", EAST), dimension("REGION", WEST)

    assert tags(filter=east) == ["stage", "team"]
    assert tags(filter=west) == ["team"]
    assert tags(filter=tag("team", "nobody")) == []
    assert tags(filter=west, search_string="stage") == []
    assert tags(filter=west, tag_key="team") == ["Search"]
    with pytest.raises(ValidationException, match="exactly one of"):
        tags(filter=Expression())


def test_tags_are_sorted_by_what_their_costs_are() -> None:
    by_cost = [SortDefinition(key="UnblendedCost", sort_order="DESCENDING")]
    cheapest_first = [SortDefinition(key="UnblendedCost", sort_order="ASCENDING")]

    assert tags(sort_by=by_cost) == ["team", "stage", "aws:PrincipalArn"]
    assert tags(sort_by=cheapest_first) == ["aws:PrincipalArn", "stage", "team"]
    with pytest.raises(ValidationException, match="cannot be sorted by Colour"):
        tags(sort_by=[SortDefinition(key="Colour")])


def test_costs_are_grouped_by_who_called_and_through_what() -> None:
    profile, provisioned = "arn:…/application", "arn:…/provisioned"
    money = SpentMoney(
        Spent(at=at(20), cost="1", by={"PRINCIPAL": "arn:a", "INFERENCE_PROFILE": profile}),
        Spent(at=at(20), cost="2", by={"PRINCIPAL": "arn:b"}),
        Spent(at=at(20), cost="4", by={"PROVISIONED_MODEL": provisioned}),
    )
    by_both = [
        GroupDefinition(type="TAG", key="aws:PrincipalArn"),
        GroupDefinition(type="DIMENSION", key="RESOURCE_ID"),
    ]
    input_ = asked(
        "2026-11-20",
        "2026-11-21",
        group_by=by_both,
        filter=Expression(not_=tag("aws:PrincipalArn", "arn:b")),
    )

    response = asyncio.run(served(money).get_cost_and_usage(CALLER, input_))

    (result,) = response.results_by_time or []
    assert [group.keys for group in result.groups or ()] == [
        ["aws:PrincipalArn$", provisioned],
        ["aws:PrincipalArn$arn:a", profile],
    ]


def test_pages_cover_all_groups_in_their_periods() -> None:
    count = 6_000
    money = SpentMoney(
        *(
            Spent(at=at(20 + number % 2), cost="1", by={"TAG:team": f"t{number:05}"})
            for number in range(count)
        )
    )
    by_team = [GroupDefinition(type="TAG", key="team")]
    input_ = asked("2026-11-20", "2026-11-22", group_by=by_team)

    first = asyncio.run(served(money).get_cost_and_usage(CALLER, input_))
    again = asked(
        "2026-11-20", "2026-11-22", group_by=by_team, next_page_token=first.next_page_token
    )
    second = asyncio.run(served(money).get_cost_and_usage(CALLER, again))

    assert [len(r.groups or ()) for r in first.results_by_time or ()] == [3000, 2000]
    assert [len(r.groups or ()) for r in second.results_by_time or ()] == [1000]
    assert second.next_page_token is None
    with pytest.raises(InvalidNextTokenException):
        asyncio.run(served(money).get_cost_and_usage(OTHER, again))


def test_a_group_that_comes_in_between_two_pages_has_none_told_twice() -> None:
    spent = [Spent(at=at(20), cost="1", by={"TAG:team": f"t{n:05}"}) for n in range(5_001)]
    by_team = [GroupDefinition(type="TAG", key="team")]

    def page(money: SpentMoney, token: str | None) -> GetCostAndUsageResponse:
        input_ = asked("2026-11-20", "2026-11-21", group_by=by_team, next_page_token=token)
        return asyncio.run(served(money).get_cost_and_usage(CALLER, input_))

    first = page(SpentMoney(*spent), None)
    newer = Spent(at=at(20), cost="1", by={"TAG:team": "a new one"})
    second = page(SpentMoney(*spent, newer), first.next_page_token)

    assert [g.keys for r in second.results_by_time or () for g in r.groups or ()] == [
        ["team$t05000"]
    ]


def test_pages_of_values_and_tags_cover_all_of_them_once() -> None:
    period = DateInterval(start="2026-11-20", end="2026-11-22")

    async def listed() -> tuple[list[list[str]], list[list[str]]]:
        explorer, values, tags = served(), list[list[str]](), list[list[str]]()
        token: str | None = None
        while token or not values:
            found = await explorer.get_dimension_values(
                CALLER,
                GetDimensionValuesRequest(
                    time_period=period, dimension="USAGE_TYPE", max_results=2, next_page_token=token
                ),
            )
            values.append([one.value or "" for one in found.dimension_values])
            token = found.next_page_token
        while token or not tags:
            told = await explorer.get_tags(
                CALLER, GetTagsRequest(time_period=period, max_results=1, next_page_token=token)
            )
            tags.append(told.tags)
            token = told.next_page_token
        return values, tags

    values, tags = asyncio.run(listed())

    assert values == [[INPUT, OUTPUT], ["USE1-Units"]]
    assert tags == [["aws:PrincipalArn"], ["stage"], ["team"]]


def test_another_account_has_spent_nothing() -> None:
    response = asyncio.run(served().get_cost_and_usage(OTHER, asked("2026-11-20", "2026-11-21")))

    (result,) = response.results_by_time or []
    assert result.total
    assert result.total["UnblendedCost"].amount == "0"


def test_today_is_estimated() -> None:
    today = FakeClock().moment.date()

    results = answered(asked(f"{today - timedelta(days=1)}", f"{today + timedelta(days=1)}"))

    assert [result.estimated for result in results.results_by_time or ()] == [False, True]
