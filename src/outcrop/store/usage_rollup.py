"""Many usage records as few sums, by metric series and by what a bill is split by (pure)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from msgspec import Struct, json, structs

from outcrop.store.burndown import burndown_rate
from outcrop.store.usage_records import (
    Call,
    Circumstances,
    batches_in,
    decode_circumstances,
)
from outcrop.store.usage_sums import Spread, Sums

METRIC_SPANS = (60, 3_600, 86_400)
"""Seconds, aligned with UTC's midnight."""
COST_SPANS = (3_600, 86_400)
_MINUTE = 60_000_000
"""In microseconds."""


_Tokens: TypeAlias = tuple[Sequence[int], ...]
"""Input, output, read from a cache, written to one: each of many calls, in their order."""


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
    groups = _groups(frames)
    ends = [call.began_at + call.duration_us for calls in groups.values() for call in calls]
    result = RolledUp(since=min(ends), until=max(ends), metrics={}, costs={})
    for (encoded, minute), calls in groups.items():
        shared = decode_circumstances(encoded)
        sums, costs = _sums(shared, calls)
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


def _groups(frames: bytes) -> Mapping[tuple[bytes, int], Sequence[Call]]:
    """By circumstances and by the minute in which they ended."""
    groups: dict[tuple[bytes, int], list[Call]] = {}
    for circumstances, calls in batches_in(frames):
        minute, group = None, list[Call]()
        for call in calls:
            ended = (call.began_at + call.duration_us) // _MINUTE
            if ended != minute:
                minute, group = ended, groups.setdefault((circumstances, ended), [])
            group.append(call)
    return groups


def _add_metrics(result: RolledUp, shared: Circumstances, sums: Sums, minute_s: int) -> None:
    for series in _metric_series(shared):
        spans = result.metrics.setdefault(series, {})
        for span_s in METRIC_SPANS:
            spans.setdefault((span_s, minute_s // span_s * span_s), Sums()).add(sums)


def _sums(shared: Circumstances, calls: Sequence[Call]) -> tuple[Sums, Costs]:
    tokens = _tokens(calls)
    sums = _token_sums(shared, tokens)
    answered = _answered(shared, calls)
    sums.invocations = len(answered)
    sums.client_errors = len(calls) if shared.outcome == "client_error" else 0
    sums.server_errors = len(calls) if shared.outcome == "server_error" else 0
    sums.throttles = len(calls) if shared.outcome == "throttle" else 0
    sums.spillovers = len(answered) if shared.spilled_over else 0
    sums.latency_ms = Spread.of([call.duration_us / 1000 for call in answered], sketched=True)
    if shared.streamed:
        firsts = [one.first_event_us for one in answered if one.first_event_us is not None]
        sums.first_token_ms = Spread.of([first / 1000 for first in firsts], sketched=True)
    return sums, _costs(shared, len(answered), tokens)


def _token_sums(shared: Circumstances, tokens: _Tokens) -> Sums:
    inputs, outputs, reads, writes = tokens
    rate = burndown_rate(shared.foundation_model_id)
    # As they are held of quotas and of units: what was read from a cache does not count.
    taken = list(map(int.__add__, inputs, writes))
    sums = Sums(
        input_tokens=_spread(inputs),
        output_tokens=_spread(outputs),
        cache_read_input_tokens=_spread(list(filter(None, reads))),
        cache_write_input_tokens=_spread(list(filter(None, writes))),
        quota_tokens=_spread([i + o * rate for i, o in zip(taken, outputs, strict=True)]),
    )
    units = shared.units_per_minute
    if units is not None and all(units) and not shared.spilled_over:
        sums.input_utilization = _spread([100 * one / units[0] for one in taken])
        sums.output_utilization = _spread([100 * one / units[1] for one in outputs])
    return sums


def _tokens(calls: Sequence[Call]) -> _Tokens:
    """Of those that used any."""
    used = [
        kinds
        for call in calls
        if any(
            kinds := (
                call.input_tokens,
                call.output_tokens,
                call.cache_read_input_tokens,
                call.cache_write_input_tokens,
            )
        )
    ]
    return tuple(zip(*used, strict=True)) if used else ((), (), (), ())


def _answered(shared: Circumstances, calls: Sequence[Call]) -> Sequence[Call]:
    """An answer that was begun counts as an invocation, read to its end or not."""
    if shared.outcome == "cancelled":
        return [call for call in calls if call.first_event_us is not None]
    return calls if shared.outcome == "success" else ()


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
