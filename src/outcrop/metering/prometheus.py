"""A snapshot in Prometheus's text form (exposition format 0.0.4). Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter

from msgspec.structs import asdict

from outcrop.metering.measures import (
    DURATION_S,
    EACH_TOKEN_S,
    FIRST_TOKEN_S,
    TOKENS,
    Histogram,
    Series,
)
from outcrop.metering.snapshot import Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_DURATION = "gen_ai_server_request_duration_seconds"
_FIRST_TOKEN = "gen_ai_server_time_to_first_token_seconds"  # noqa: S105 - a metric
_EACH_TOKEN = "gen_ai_server_time_per_output_token_seconds"  # noqa: S105 - a metric
_TOKENS = "gen_ai_client_token_usage"

_HELP = {
    _DURATION: "From a model's request to the end of its answer; its count is the requests.",
    _FIRST_TOKEN: "From a model's request to the first of its answer.",
    _EACH_TOKEN: "Of an answer after its first token, the time for each further one.",
    _TOKENS: "Tokens of an answered request, input from a cache not included.",
    "outcrop_cache_tokens_total": "Input tokens read from a model server's cache or written to it.",
    "outcrop_spillover_total": "Requests above their model units, which went on as on-demand.",
    "outcrop_failovers_total": "Model servers and Regions that were passed over.",
    "outcrop_requests_total": "Answers to requests of any operation. A stream that began is a 200.",
    "outcrop_invocations_in_progress": "Requests of a model that have begun and not ended.",
    "outcrop_invocations_waiting": "Requests that wait for a slot of a model server.",
    "outcrop_model_server_healthy": "1, or 0 while a worker leaves the server alone.",
    "outcrop_model_server_in_flight": "Requests that the server is answering.",
    "outcrop_provisioned_utilization_ratio": "The share of its model units in use, this minute.",
}


def exposition(snapshot: Snapshot) -> bytes:
    return "".join(f"{line}\n" for line in _lines(snapshot)).encode()


def _lines(snapshot: Snapshot) -> Iterator[str]:
    texts = ((_label_text(asdict(one.labels)), one) for one in snapshot.series)
    labelled = sorted(texts, key=itemgetter(0))
    for name, bounds, histogram in _HISTOGRAMS:
        yield from _head(name, "histogram")
        for labels, series in labelled:
            yield from _histogram(name, labels, bounds, histogram(series))
    yield from _tokens(labelled)
    for name, samples in _counters(snapshot, labelled):
        yield from _head(name, "counter")
        yield from (f"{name}{{{labels}}} {value}" for labels, value in samples)
    for name, samples in _gauges(snapshot):
        yield from _head(name, "gauge")
        for labels, value in samples:
            yield f"{name}{{{labels}}} {value}" if labels else f"{name} {value}"


Labelled = Sequence[tuple[str, Series]]
Samples = Iterable[tuple[str, float]]

_HISTOGRAMS: Sequence[tuple[str, Sequence[float], Callable[[Series], Histogram]]] = (
    (_DURATION, DURATION_S, lambda series: series.duration_s),
    (_FIRST_TOKEN, FIRST_TOKEN_S, lambda series: series.first_token_s),
    (_EACH_TOKEN, EACH_TOKEN_S, lambda series: series.each_token_s),
)


def _tokens(labelled: Labelled) -> Iterator[str]:
    yield from _head(_TOKENS, "histogram")
    for labels, series in labelled:
        for kind, histogram in (("input", series.input_tokens), ("output", series.output_tokens)):
            with_kind = f'{labels},gen_ai_token_type="{kind}"'
            yield from _histogram(_TOKENS, with_kind, TOKENS, histogram)


def _counters(snapshot: Snapshot, labelled: Labelled) -> Iterator[tuple[str, Samples]]:
    yield (
        "outcrop_cache_tokens_total",
        (
            (f'{labels},outcrop_cache="{kind}"', value)
            for labels, series in labelled
            for kind, value in (
                ("read", series.cache_read_tokens),
                ("write", series.cache_write_tokens),
            )
            if value
        ),
    )
    yield "outcrop_spillover_total", _nonzero(labelled, lambda series: series.spilled_over)
    yield "outcrop_failovers_total", _nonzero(labelled, lambda series: series.failovers)
    yield (
        "outcrop_requests_total",
        (
            (
                _label_text(
                    {
                        "rpc_service": service,
                        "rpc_method": operation,
                        "http_response_status_code": str(status),
                    }
                ),
                count,
            )
            for (service, operation, status), count in sorted(snapshot.requests.items())
        ),
    )


def _gauges(snapshot: Snapshot) -> Iterator[tuple[str, Samples]]:
    yield "outcrop_invocations_in_progress", [("", snapshot.in_progress)]
    yield "outcrop_invocations_waiting", [("", snapshot.waiting)]
    servers = [(_label_text({"outcrop_model_server": x.name}), x) for x in snapshot.servers]
    yield "outcrop_model_server_healthy", [(labels, int(x.healthy)) for labels, x in servers]
    yield "outcrop_model_server_in_flight", [(labels, x.in_flight) for labels, x in servers]
    yield (
        "outcrop_provisioned_utilization_ratio",
        [
            (_label_text({"outcrop_provisioned_model": arn, "gen_ai_token_type": kind}), share)
            for (arn, kind), share in sorted(snapshot.utilization.items())
        ],
    )


def _nonzero(labelled: Labelled, number: Callable[[Series], int]) -> Samples:
    return ((labels, number(series)) for labels, series in labelled if number(series))


def _histogram(
    name: str, labels: str, bounds: Sequence[float], histogram: Histogram
) -> Iterator[str]:
    """Nothing of one that is empty: a refusal has no tokens."""
    count = sum(histogram.counts)
    if not count:
        return
    cumulative = 0
    for bound, number in zip(bounds, histogram.counts, strict=False):
        cumulative += number
        yield f'{name}_bucket{{{labels},le="{float(bound)!r}"}} {cumulative}'
    yield f'{name}_bucket{{{labels},le="+Inf"}} {count}'
    yield f"{name}_sum{{{labels}}} {histogram.total}"
    yield f"{name}_count{{{labels}}} {count}"


def _head(name: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {_HELP[name]}"
    yield f"# TYPE {name} {kind}"


def _label_text(labels: dict[str, str]) -> str:
    """What is empty is not there, as Prometheus has it."""
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items() if value)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
