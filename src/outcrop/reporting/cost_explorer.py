"""Cost Explorer: what was spent, when, by whom and on what."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from msgspec import structs

from outcrop.iam.caller import Caller
from outcrop.metering.costs import CostRow
from outcrop.reporting.cost_filter import (
    PRINCIPAL_TAG,
    Filter,
    Keys,
    dimension,
    filter_of,
    names_in,
    sources,
    tag,
)
from outcrop.reporting.cost_periods import CostSpan, cost_span
from outcrop.reporting.cost_results import (
    COSTS,
    IN_CAPITALS,
    USAGE,
    Position,
    joined,
    position,
    results_by_time,
)
from outcrop.reporting.usage_queries import CostQueries
from outcrop.wire.errors import InvalidNextTokenException, ValidationException
from outcrop.wire.page_tokens import PageTokens
from outcrop.wire.shapes.ce import (
    DimensionValuesWithAttributes,
    Expression,
    GetCostAndUsageRequest,
    GetCostAndUsageResponse,
    GetDimensionValuesRequest,
    GetDimensionValuesResponse,
    GetTagsRequest,
    GetTagsResponse,
    GroupDefinition,
    SortDefinition,
)
from outcrop.wire.timestamps import Clock

MOST_GROUPINGS = 2
PAGE = 5_000
"""Groups on a page, all periods together; values on a page of values."""

_ValuesRequest = GetDimensionValuesRequest | GetTagsRequest


class CostExplorer:
    def __init__(self, costs: CostQueries, *, page_token_key: bytes, clock: Clock) -> None:
        self._costs = costs
        self._clock = clock
        self._cost_tokens: PageTokens[Position] = PageTokens(
            "GetCostAndUsage",
            Position,  # type: ignore[arg-type]  # a tuple's type is a type to msgspec
            key=page_token_key,
            clock=clock,
            refusal=InvalidNextTokenException,
        )
        self._tokens = {
            operation: PageTokens(
                operation, int, key=page_token_key, clock=clock, refusal=InvalidNextTokenException
            )
            for operation in ("GetDimensionValues", "GetTags")
        }

    async def get_cost_and_usage(
        self, caller: Caller, input_: GetCostAndUsageRequest
    ) -> GetCostAndUsageResponse:
        metrics = _metrics(input_.metrics)
        groupings = [_grouping(definition) for definition in input_.group_by or ()]
        if len(groupings) > MOST_GROUPINGS:
            raise ValidationException(f"GroupBy takes at most {MOST_GROUPINGS} groups.")
        span = cost_span(input_.time_period, input_.granularity, self._clock())
        rows = await self._rows(caller, span, groupings, input_.filter)
        results = [*results_by_time(span, groupings, metrics, rows, self._clock())]
        request = structs.replace(input_, next_page_token=None)
        if (token := input_.next_page_token) is not None:
            told = self._cost_tokens.open(token, caller, request)
            # By what they are, not how many: groups may have come in before it meanwhile.
            results = [result for result in results if position(result) > told]
        page, is_last = results[:PAGE], len(results) <= PAGE
        more = None if is_last else self._cost_tokens.seal(position(page[-1]), caller, request)
        return GetCostAndUsageResponse(
            group_definitions=input_.group_by,
            results_by_time=[*joined(page)],
            dimension_value_attributes=[],
            next_page_token=more,
        )

    async def get_dimension_values(
        self, caller: Caller, input_: GetDimensionValuesRequest
    ) -> GetDimensionValuesResponse:
        name = dimension(input_.dimension)
        if input_.context not in (None, "COST_AND_USAGE"):
            raise ValidationException(f"The context {input_.context} is not supported.")
        values = await self._values(caller, input_, name)
        request = structs.replace(input_, next_page_token=None)
        token = input_.next_page_token
        page, more = self._page(
            "GetDimensionValues", token, caller, request, values, input_.max_results
        )
        return GetDimensionValuesResponse(
            dimension_values=[
                DimensionValuesWithAttributes(value=value, attributes={}) for value in page
            ],
            return_size=len(page),
            total_size=len(values),
            next_page_token=more,
        )

    async def get_tags(self, caller: Caller, input_: GetTagsRequest) -> GetTagsResponse:
        """The keys there are, or the values of one key."""
        if input_.tag_key:
            values = await self._values(caller, input_, tag(input_.tag_key))
        else:
            values = await self._tag_keys(caller, input_)
        request = structs.replace(input_, next_page_token=None)
        token = input_.next_page_token
        page, more = self._page("GetTags", token, caller, request, values, input_.max_results)
        return GetTagsResponse(
            tags=list(page), return_size=len(page), total_size=len(values), next_page_token=more
        )

    async def _rows(
        self,
        caller: Caller,
        span: CostSpan,
        groupings: Sequence[str],
        expression: Expression | None,
    ) -> list[tuple[Keys, CostRow]]:
        wanted: Filter = filter_of(expression)
        names = {*groupings, *names_in(expression)}
        asked_for = sorted({source for name in names for source in sources(name)})
        rows = await self._costs.costs(
            caller.account_id,
            start=span.start,
            end=span.end,
            granularity=span.granularity,
            group_by=asked_for,
            filters={},
        )
        keyed = [(_keys(names, dict(zip(asked_for, row.keys, strict=True))), row) for row in rows]
        return [(keys, row) for keys, row in keyed if wanted(keys)]

    async def _values(self, caller: Caller, input_: _ValuesRequest, name: str) -> list[str]:
        """What a grouping comes to: by name, or the most expensive first."""
        span = cost_span(input_.time_period, "DAILY", self._clock())
        costs: defaultdict[str, Decimal] = defaultdict(Decimal)
        for keys, row in await self._rows(caller, span, [name], input_.filter):
            costs[keys[name]] += row.cost
        return _listed(costs, input_)

    async def _tag_keys(self, caller: Caller, input_: GetTagsRequest) -> list[str]:
        """With a filter those alone that have a value in what it leaves."""
        span = cost_span(input_.time_period, "DAILY", self._clock())
        keys = await self._costs.tag_keys(caller.account_id, start=span.start, end=span.end)
        names = {key: tag(key) for key in (*keys, PRINCIPAL_TAG)}
        costs: dict[str, Decimal] = {}
        if input_.filter is None:
            costs = dict.fromkeys(names, Decimal(0))
            if not input_.sort_by:
                return _listed(costs, input_)
        for values, row in await self._rows(caller, span, [*names.values()], input_.filter):
            for key, name in names.items():
                if values[name]:
                    costs[key] = costs.get(key, Decimal(0)) + row.cost
        return _listed(costs, input_)

    def _page(
        self,
        operation: str,
        token: str | None,
        caller: Caller,
        request: object,
        items: Sequence[str],
        most: int | None,
    ) -> tuple[Sequence[str], str | None]:
        tokens = self._tokens[operation]
        begin = 0 if token is None else tokens.open(token, caller, request)
        end = begin + min(most or PAGE, PAGE)
        more = tokens.seal(end, caller, request) if end < len(items) else None
        return items[begin:end], more


def _keys(names: Iterable[str], row: Keys) -> Keys:
    return {
        name: next((row[source] for source in sources(name) if row[source]), "") for name in names
    }


def _metrics(names: Sequence[str]) -> Sequence[str]:
    if not names:
        raise ValidationException("At least one metric must be specified.")
    known = [IN_CAPITALS.get(name, name) for name in names]
    for name in known:
        if name not in (*COSTS, USAGE):
            raise ValidationException(
                f"The metric {name} is not supported. Supported are: {', '.join((*COSTS, USAGE))}."
            )
    return known


def _grouping(definition: GroupDefinition) -> str:
    match definition.type:
        case "DIMENSION":
            return dimension(definition.key)
        case "TAG":
            return tag(definition.key)
        case _:
            # Seen in aws/aws-sdk-php#1590.
            raise ValidationException("Group Definition type is invalid.")


def _listed(costs: Mapping[str, Decimal], input_: _ValuesRequest) -> list[str]:
    """What is searched for of values with their costs: by name, or by cost where asked."""
    found = [value for value in costs if _contains(value, input_.search_string)]
    if not input_.sort_by:
        return sorted(found)
    descending = _is_descending(input_.sort_by)
    return sorted(found, key=lambda value: (costs[value], value), reverse=descending)


def _contains(value: str, searched: str | None) -> bool:
    return not searched or searched.casefold() in value.casefold()


def _is_descending(sort_by: Sequence[SortDefinition]) -> bool:
    for definition in sort_by:
        if IN_CAPITALS.get(definition.key, definition.key) not in COSTS:
            raise ValidationException(
                f"The values cannot be sorted by {definition.key}: by {', '.join(COSTS)} they can."
            )
    return sort_by[0].sort_order != "ASCENDING"
