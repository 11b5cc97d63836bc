"""A snapshot as OpenTelemetry's metrics: the numbers of the Prometheus page under dotted names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

from msgspec import Struct
from msgspec.structs import asdict
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram as HistogramData,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from outcrop.metering.measures import (
    DURATION_S,
    EACH_TOKEN_S,
    FIRST_TOKEN_S,
    TOKENS,
    Histogram,
    Labels,
    Series,
)
from outcrop.metering.snapshot import Snapshot

SCOPE = InstrumentationScope("outcrop")

_CUMULATIVE = AggregationTemporality.CUMULATIVE
_UNKNOWN = cast("float", None)
"""Least and most of a histogram are optional in the protocol; Prometheus has none either."""
_DOTTED = {
    "rpc_method": "rpc.method",
    "gen_ai_operation_name": "gen_ai.operation.name",
    "gen_ai_request_model": "gen_ai.request.model",
    "cloud_region": "cloud.region",
    "outcrop_inference_profile": "outcrop.inference_profile",
    "http_response_status_class": "http.response.status_class",
    "error_type": "error.type",
}


Attributes = dict[str, str | int]
Samples = Sequence[tuple[Mapping[str, str | int], float]]


class Span(Struct, frozen=True):
    """When counting began, and until when: nanoseconds since 1970."""

    since: int
    until: int


def metrics_data(snapshot: Snapshot, resource: Resource, span: Span) -> MetricsData:
    metrics = [
        *_histograms(snapshot.series, span),
        *_counters(snapshot, span),
        *_gauges(snapshot, span),
    ]
    scope = ScopeMetrics(scope=SCOPE, metrics=metrics, schema_url="")
    return MetricsData([ResourceMetrics(resource=resource, scope_metrics=[scope], schema_url="")])


_TIMES: Sequence[tuple[str, Sequence[float], Callable[[Series], Histogram]]] = (
    ("gen_ai.server.request.duration", DURATION_S, lambda series: series.duration_s),
    ("gen_ai.server.time_to_first_token", FIRST_TOKEN_S, lambda series: series.first_token_s),
    ("gen_ai.server.time_per_output_token", EACH_TOKEN_S, lambda series: series.each_token_s),
)
_KINDS: Sequence[tuple[str, Callable[[Series], Histogram]]] = (
    ("input", lambda series: series.input_tokens),
    ("output", lambda series: series.output_tokens),
)


def _histograms(all_series: Sequence[Series], span: Span) -> Iterator[Metric]:
    for name, bounds, histogram in _TIMES:
        points = [
            _point(_attributes(series.labels), bounds, histogram(series), span)
            for series in all_series
            if any(histogram(series).counts)
        ]
        yield Metric(name, None, "s", HistogramData(points, _CUMULATIVE))
    points = [
        _point(_attributes(series.labels) | {"gen_ai.token.type": kind}, TOKENS, of(series), span)
        for kind, of in _KINDS
        for series in all_series
        if any(of(series).counts)
    ]
    yield Metric("gen_ai.client.token.usage", None, "{token}", HistogramData(points, _CUMULATIVE))


def _counters(snapshot: Snapshot, span: Span) -> Iterator[Metric]:
    series = [(_attributes(one.labels), one) for one in snapshot.series]
    cached = [
        (labels | {"outcrop.cache": kind}, tokens)
        for labels, one in series
        for kind, tokens in (("read", one.cache_read_tokens), ("write", one.cache_write_tokens))
    ]
    yield _counter("outcrop.cache.tokens", "{token}", cached, span)
    spilled = [(labels, one.spilled_over) for labels, one in series]
    yield _counter("outcrop.spillover", "{request}", spilled, span)
    failovers = [(labels, one.failovers) for labels, one in series]
    yield _counter("outcrop.failovers", "{server}", failovers, span)
    requests = [(_of_request(*key), count) for key, count in snapshot.requests.items()]
    yield _counter("outcrop.requests", "{request}", requests, span)


def _of_request(service: str, operation: str, status: int) -> Attributes:
    return {
        "rpc.service": service,
        "rpc.method": operation,
        "http.response.status_code": status,
    }


def _gauges(snapshot: Snapshot, span: Span) -> Iterator[Metric]:
    yield _gauge("outcrop.invocations.in_progress", [({}, snapshot.in_progress)], span)
    yield _gauge("outcrop.invocations.waiting", [({}, snapshot.waiting)], span)
    named = [({"outcrop.model_server": server.name}, server) for server in snapshot.servers]
    healthy = [(labels, int(server.healthy)) for labels, server in named]
    yield _gauge("outcrop.model_server.healthy", healthy, span)
    in_flight = [(labels, server.in_flight) for labels, server in named]
    yield _gauge("outcrop.model_server.in_flight", in_flight, span)
    shares = [
        ({"outcrop.provisioned_model": arn, "gen_ai.token.type": kind}, share)
        for (arn, kind), share in snapshot.utilization.items()
    ]
    yield _gauge("outcrop.provisioned.utilization", shares, span)


def _counter(name: str, unit: str, samples: Samples, span: Span) -> Metric:
    points = [_number(labels, value, span) for labels, value in samples if value]
    return Metric(name, None, unit, Sum(points, _CUMULATIVE, is_monotonic=True))


def _gauge(name: str, samples: Samples, span: Span) -> Metric:
    return Metric(
        name, None, "1", Gauge([_number(labels, value, span) for labels, value in samples])
    )


def _number(labels: Mapping[str, str | int], value: float, span: Span) -> NumberDataPoint:
    return NumberDataPoint(
        attributes=labels,
        start_time_unix_nano=span.since,
        time_unix_nano=span.until,
        value=value,
    )


def _point(
    labels: Mapping[str, str | int], bounds: Sequence[float], histogram: Histogram, span: Span
) -> HistogramDataPoint:
    return HistogramDataPoint(
        attributes=labels,
        start_time_unix_nano=span.since,
        time_unix_nano=span.until,
        count=sum(histogram.counts),
        sum=histogram.total,
        bucket_counts=histogram.counts,
        explicit_bounds=bounds,
        min=_UNKNOWN,
        max=_UNKNOWN,
    )


def _attributes(labels: Labels) -> Attributes:
    return {_DOTTED[name]: value for name, value in asdict(labels).items() if value}
