"""Many usage records as few sums, by metric series and by what a bill is split by (pure)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import compress
from operator import add
from typing import NamedTuple, TypeAlias

from msgspec import Struct, json, structs

from outcrop.store.burndown import burndown_rate
from outcrop.store.usage_records import (
    Calls,
    Circumstances,
    batches_in,
    decode_circumstances,
    in_columns,
)
from outcrop.store.usage_sums import Spread, Sums

METRIC_SPANS = (60, 3_600, 86_400)
"""Seconds, aligned with UTC's midnight."""
COST_SPANS = (3_600, 86_400)
_MINUTE = 60_000_000
"""In microseconds."""


class _Group(Struct, frozen=True):
    """Of many calls, in their order."""

    first_event_us: list[int | None]
    duration_us: list[int]
    tokens: tuple[list[int], list[int], list[int], list[int]]
    """Input, output, read from a cache, written to one."""

    def add(self, calls: Calls) -> None:
        self.first_event_us.extend(calls.first_event_us)
        self.duration_us.extend(calls.duration_us)
        inputs, outputs, reads, writes = self.tokens
        inputs.extend(calls.input_tokens)
        outputs.extend(calls.output_tokens)
        reads.extend(calls.cache_read_input_tokens)
        writes.extend(calls.cache_write_input_tokens)


_Tokens: TypeAlias = tuple[Sequence[int], ...]
"""As in a group; of those that used any."""


class MetricSeries(NamedTuple):
    account_id: str
    region: str
    dimensions: tuple[tuple[str, str], ...]
    """As CloudWatch names them; none: all invocations of the account and Region."""


class CostSeries(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a bill can be split by, apart from time and kind of token."""

    region: str
    principal_arn: str
    foundation_model_id: str
    inference_profile_arn: str | None
    provisioned_model_arn: str | None
    service_tier: str | None
    tags: tuple[tuple[str, str], ...]
    priced: bool
    spilled_over: bool = False
    """Whether model units were used up and it was billed on demand."""


class Costs(NamedTuple):
    """Of one series in one span: tokens, then pico-dollars."""

    invocations: int
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_write_input_tokens: int
    input_cost: int
    output_cost: int
    cache_read_input_cost: int
    cache_write_input_cost: int

    @property
    def cost(self) -> int:
        """Pico-dollars for all kinds of token."""
        return (
            self.input_cost
            + self.output_cost
            + self.cache_read_input_cost
            + self.cache_write_input_cost
        )

    def plus(self, other: "Costs") -> "Costs":
        return Costs(*map(int.__add__, self, other))


class RolledUp(Struct, frozen=True, kw_only=True):
    """`at`: the second, since 1970, at which the span begins."""

    metrics: dict[MetricSeries, dict[tuple[int, int], Sums]]
    """By (span in seconds, at)."""
    costs: dict[tuple[str, CostSeries], dict[tuple[int, int], Costs]]
    """By account and series, then by (span in seconds, at)."""
    since: int = 0
    """When the first of the invocations ended, in microseconds since 1970; 0 without any."""
    until: int = 0
    """When the last did."""


def rolled_up(frames: bytes) -> RolledUp:
    """Of the whole frames of a journal. Raises ValueError for what is none of ours."""
    groups: _Groups = {}
    since, until = list[int](), list[int]()
    for calls in batches_in(frames):
        ends = list(map(add, calls.began_at, calls.duration_us))
        since.append(min(ends))
        until.append(max(ends))
        first, last = since[-1] // _MINUTE, until[-1] // _MINUTE
        if first == last:
            _group(groups, calls.circumstances, first).add(calls)
        else:
            _sort_in(groups, calls, [end // _MINUTE for end in ends])
    result = RolledUp(since=min(since), until=max(until), metrics={}, costs={})
    for (encoded, minute), group in groups.items():
        shared = decode_circumstances(encoded)
        sums, costs = _sums(shared, group)
        _add_metrics(result, shared, sums, minute * 60)
        _add_costs(result, shared, costs, minute * 60)
    return result


DeliveryCounts: TypeAlias = dict[tuple[str, str, int], Counter[str]]
"""By account, Region and the second at which the minute begins; then by the metric's name."""


def rolled_up_deliveries(counts: DeliveryCounts) -> RolledUp:
    """Of invocation logs: they count for the account and Region, for no model."""
    result = RolledUp(metrics={}, costs={})
    for (account_id, region, minute_s), numbers in counts.items():
        spans = result.metrics.setdefault(MetricSeries(account_id, region, ()), {})
        for span_s in METRIC_SPANS:
            at = minute_s // span_s * span_s
            spans.setdefault((span_s, at), Sums()).add(Sums(deliveries=dict(numbers)))
    return result


def is_session(principal_arn: str) -> bool:
    """Of a role: there may be any number of them, each with a name of its own."""
    return ":assumed-role/" in principal_arn


def count_with_role(sums: RolledUp, account_id: str, series: CostSeries) -> None:
    """What a session cost, as that of all those of its role: `…:assumed-role/ROLE/*`."""
    role = series.principal_arn.rpartition("/")[0]
    together = structs.replace(series, principal_arn=f"{role}/*")
    spans = sums.costs.setdefault((account_id, together), {})
    for key, costs in sums.costs.pop((account_id, series)).items():
        spans[key] = spans[key].plus(costs) if key in spans else costs


_Groups: TypeAlias = dict[tuple[bytes, int], _Group]
"""By circumstances and by the minute in which they ended."""


def _group(groups: _Groups, circumstances: bytes, minute: int) -> _Group:
    group = groups.get((circumstances, minute))
    if group is None:
        group = groups[circumstances, minute] = _Group([], [], ([], [], [], []))
    return group


def _sort_in(groups: _Groups, calls: Calls, minutes: Sequence[int]) -> None:
    for minute, row in zip(minutes, calls.rows, strict=True):
        one = in_columns(calls.circumstances, [row])
        _group(groups, calls.circumstances, minute).add(one)


def _add_metrics(result: RolledUp, shared: Circumstances, sums: Sums, minute_s: int) -> None:
    for series in _metric_series(shared):
        spans = result.metrics.setdefault(series, {})
        for span_s in METRIC_SPANS:
            spans.setdefault((span_s, minute_s // span_s * span_s), Sums()).add(sums)


def _sums(shared: Circumstances, group: _Group) -> tuple[Sums, Costs]:
    tokens = _used(group.tokens)
    sums = _token_sums(shared, tokens)
    durations, firsts = _answered(shared, group)
    ended = len(group.duration_us)
    sums.invocations = len(durations)
    sums.client_errors = ended if shared.outcome == "client_error" else 0
    sums.server_errors = ended if shared.outcome == "server_error" else 0
    sums.throttles = ended if shared.outcome == "throttle" else 0
    sums.spillovers = len(durations) if shared.spilled_over else 0
    sums.latency_ms = Spread.of([duration / 1000 for duration in durations], sketched=True)
    if shared.streamed:
        sums.first_token_ms = Spread.of([first / 1000 for first in firsts], sketched=True)
    return sums, _costs(shared, len(durations), tokens)


def _token_sums(shared: Circumstances, tokens: _Tokens) -> Sums:
    inputs, outputs, reads, writes = tokens
    rate = burndown_rate(shared.foundation_model_id)
    # As they are held of quotas and of units: what was read from a cache does not count.
    taken = list(map(add, inputs, writes))
    burnt = outputs if rate == 1 else [rate * one for one in outputs]
    sums = Sums(
        input_tokens=_spread(inputs),
        output_tokens=_spread(outputs),
        cache_read_input_tokens=_spread(list(filter(None, reads))),
        cache_write_input_tokens=_spread(list(filter(None, writes))),
        quota_tokens=_spread(list(map(add, taken, burnt))),
    )
    units = shared.units_per_minute
    if units is not None and all(units) and not shared.spilled_over:
        sums.input_utilization = _spread([100 * one / units[0] for one in taken])
        sums.output_utilization = _spread([100 * one / units[1] for one in outputs])
    return sums


def _used(tokens: _Tokens) -> _Tokens:
    """Of those that used any: all of them, nearly always."""
    if all(tokens[0]):
        return tokens
    used = [kinds for kinds in zip(*tokens, strict=True) if any(kinds)]
    return tuple(zip(*used, strict=True)) if used else ((), (), (), ())


def _answered(shared: Circumstances, group: _Group) -> tuple[Sequence[int], Sequence[int]]:
    """How long, and to the first event: an answer that was begun counts, read to its end or not."""
    firsts = [first for first in group.first_event_us if first is not None]
    if shared.outcome == "success":
        return group.duration_us, firsts
    if shared.outcome == "cancelled":
        begun = [first is not None for first in group.first_event_us]
        return list(compress(group.duration_us, begun)), firsts
    return (), ()


def _spread(values: Sequence[float]) -> Spread:
    return Spread.of(values, sketched=False)


def _metric_series(shared: Circumstances) -> Iterator[MetricSeries]:
    owner = shared.account_id, shared.region
    yield MetricSeries(*owner, ())
    model = shared.metric_model_id
    if model is None:
        return
    yield MetricSeries(*owner, (("ModelId", model),))
    if shared.resolved_service_tier is not None:
        tiers = (
            ("ModelId", model),
            ("ResolvedServiceTier", shared.resolved_service_tier),
            ("ServiceTier", shared.service_tier or "default"),
        )
        yield MetricSeries(*owner, tiers)


def _add_costs(result: RolledUp, shared: Circumstances, costs: Costs, minute_s: int) -> None:
    if shared.foundation_model_id is None or not any(costs):
        return
    series = CostSeries(
        region=shared.region,
        principal_arn=shared.principal_arn,
        foundation_model_id=shared.foundation_model_id,
        inference_profile_arn=shared.inference_profile_arn,
        provisioned_model_arn=shared.provisioned_model_arn,
        service_tier=shared.resolved_service_tier or shared.service_tier,
        tags=shared.tags,
        priced=shared.rates is not None,
        spilled_over=shared.spilled_over,
    )
    spans = result.costs.setdefault((shared.account_id, series), {})
    for span_s in COST_SPANS:
        key = span_s, minute_s // span_s * span_s
        spans[key] = spans[key].plus(costs) if key in spans else costs


def _costs(shared: Circumstances, invocations: int, tokens: _Tokens) -> Costs:
    used = [sum(kind) for kind in tokens]
    rates = shared.rates or (0, 0, 0, 0)
    return Costs(invocations, *used, *map(int.__mul__, used, rates))


encode_series = json.Encoder(order="deterministic").encode
decode_series = json.Decoder(CostSeries).decode
encode_seen = json.Encoder(order="deterministic").encode
decode_seen = json.Decoder(dict[str, int]).decode
decode_dimensions = json.Decoder(tuple[tuple[str, str], ...]).decode


def metric_key(series: MetricSeries) -> tuple[str, str, str, str]:
    dimensions = encode_series(series.dimensions).decode()
    return "metric", series.account_id, series.region, dimensions


def cost_key(account_id: str, series: CostSeries) -> tuple[str, str, str, str]:
    return "cost", account_id, series.region, encode_series(series).decode()
