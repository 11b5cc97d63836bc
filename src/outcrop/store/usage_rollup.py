"""Many usage records as few sums, by metric series and by what a bill is split by (pure)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from msgspec import Struct, json, structs

from outcrop.store.burndown import burndown_rate
from outcrop.store.usage_records import UsageRecord
from outcrop.store.usage_sums import Spread, Sums

METRIC_SPANS = (60, 3_600, 86_400)
"""Seconds, aligned with UTC's midnight."""
COST_SPANS = (3_600, 86_400)
_MICROS = 1_000_000


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


def rolled_up(records: Iterable[UsageRecord]) -> RolledUp:
    result = RolledUp(metrics={}, costs={})
    for (minute, _), group in _groups(records).items():
        for series in _metric_series(group.first):
            sums = group.sums()
            spans = result.metrics.setdefault(series, {})
            for span_s in METRIC_SPANS:
                spans.setdefault((span_s, minute * 60 // span_s * span_s), Sums()).add(sums)
        _add_costs(result, group, minute * 60)
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


class _Group:
    """Records of one minute that go into the same series."""

    def __init__(self, first: UsageRecord) -> None:
        self.first = first
        self.records: list[UsageRecord] = []

    def sums(self) -> Sums:
        outcomes = [record.outcome for record in self.records]
        # An answer that was begun counts as an invocation, read to its end or not.
        answered = [record for record in self.records if _is_answered(record)]
        firsts = [
            record.first_event_us / 1000
            for record in answered
            if record.streamed and record.first_event_us is not None
        ]
        sums = self._token_sums()
        sums.invocations = len(answered)
        sums.client_errors = outcomes.count("client_error")
        sums.server_errors = outcomes.count("server_error")
        sums.throttles = outcomes.count("throttle")
        sums.spillovers = len(answered) if self.first.spilled_over else 0
        sums.latency_ms = Spread.of([one.duration_us / 1000 for one in answered], sketched=True)
        sums.first_token_ms = Spread.of(firsts, sketched=True)
        self._add_utilization(sums)
        return sums

    def _add_utilization(self, sums: Sums) -> None:
        units, spilled_over = self.first.units_per_minute, self.first.spilled_over
        if units is None or spilled_over or not all(units):
            return
        counted = [one for one in self.records if one.used_tokens]
        # As it is held of the units: what was read from a cache does not count.
        read = [one.input_tokens + one.cache_write_input_tokens for one in counted]
        sums.input_utilization = _spread([100 * tokens / units[0] for tokens in read])
        sums.output_utilization = _spread([100 * one.output_tokens / units[1] for one in counted])

    def _token_sums(self) -> Sums:
        rate = burndown_rate(self.first.foundation_model_id)
        counted = [one for one in self.records if one.used_tokens]
        reads = [one.cache_read_input_tokens for one in counted]
        writes = [one.cache_write_input_tokens for one in counted]
        return Sums(
            input_tokens=_spread([one.input_tokens for one in counted]),
            output_tokens=_spread([one.output_tokens for one in counted]),
            cache_read_input_tokens=_spread(list(filter(None, reads))),
            cache_write_input_tokens=_spread(list(filter(None, writes))),
            quota_tokens=_spread(
                [
                    one.input_tokens + one.cache_write_input_tokens + one.output_tokens * rate
                    for one in counted
                ]
            ),
        )


def _groups(records: Iterable[UsageRecord]) -> dict[tuple[int, object], _Group]:
    groups: dict[tuple[int, object], _Group] = {}
    for record in records:
        # Whatever the series and prices depend on.
        key = (
            (record.began_at + record.duration_us) // (60 * _MICROS),
            (
                record.account_id,
                record.region,
                record.principal_arn,
                record.foundation_model_id,
                record.inference_profile_arn,
                record.provisioned_model_arn,
                record.service_tier,
                record.resolved_service_tier,
                record.tags,
                record.rates,
                record.spilled_over,
                record.units_per_minute,
            ),
        )
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Group(record)
        group.records.append(record)
    return groups


def _is_answered(record: UsageRecord) -> bool:
    return record.outcome == "success" or (
        record.outcome == "cancelled" and record.first_event_us is not None
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread.of(values, sketched=False)


def _metric_series(record: UsageRecord) -> Iterator[MetricSeries]:
    owner = record.account_id, record.region
    yield MetricSeries(*owner, ())
    model = record.metric_model_id
    if model is None:
        return
    yield MetricSeries(*owner, (("ModelId", model),))
    if record.resolved_service_tier is not None:
        tiers = (
            ("ModelId", model),
            ("ResolvedServiceTier", record.resolved_service_tier),
            ("ServiceTier", record.service_tier or "default"),
        )
        yield MetricSeries(*owner, tiers)


def _add_costs(result: RolledUp, group: _Group, minute_s: int) -> None:
    first = group.first
    if first.foundation_model_id is None:
        return
    costs = _costs(group.records)
    if not any(costs):
        return
    series = CostSeries(
        region=first.region,
        principal_arn=first.principal_arn,
        foundation_model_id=first.foundation_model_id,
        inference_profile_arn=first.inference_profile_arn,
        provisioned_model_arn=first.provisioned_model_arn,
        service_tier=first.resolved_service_tier or first.service_tier,
        tags=first.tags,
        priced=first.rates is not None,
        spilled_over=first.spilled_over,
    )
    spans = result.costs.setdefault((first.account_id, series), {})
    for span_s in COST_SPANS:
        key = span_s, minute_s // span_s * span_s
        spans[key] = spans[key].plus(costs) if key in spans else costs


def _costs(records: list[UsageRecord]) -> Costs:
    tokens = (
        sum(record.input_tokens for record in records),
        sum(record.output_tokens for record in records),
        sum(record.cache_read_input_tokens for record in records),
        sum(record.cache_write_input_tokens for record in records),
    )
    rates = records[0].rates or (0, 0, 0, 0)
    invocations = sum(map(_is_answered, records))
    return Costs(invocations, *tokens, *map(int.__mul__, tokens, rates))


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
