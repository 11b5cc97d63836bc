"""What all invocations of a worker come to: counts and histograms, by labels that are bounded.

Prometheus scrapes them and OpenTelemetry exports them: what is measured is measured once. Bounds
of buckets are OpenTelemetry's for generative AI.
"""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import timedelta

from msgspec import Struct, field

from outcrop.metering.config import MetricsConfig
from outcrop.metering.invocation import ModelInvocation
from outcrop.metering.quotas import Quota
from outcrop.metering.recording import Ending
from outcrop.wire.shapes.bedrock_runtime import TokenUsage

DURATION_S = (
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
)
FIRST_TOKEN_S = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
EACH_TOKEN_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKENS = tuple(4**power for power in range(14))

OTHER = "other"
"""The value of a label that has had as many as it may."""
# Callers choose the Region they sign for; models and servers are the operator's.
_MOST_REGIONS = 64

_SECOND = timedelta(seconds=1)


class Labels(Struct, frozen=True, order=True):
    """Of one invocation. All empty where it is not known: the call failed before."""

    rpc_method: str
    gen_ai_operation_name: str
    gen_ai_request_model: str
    cloud_region: str
    outcrop_inference_profile: str
    http_response_status_class: str
    """`2xx`, `4xx`, `5xx`."""
    error_type: str
    """Amazon's name of the error, or `cancelled`."""


class Histogram(Struct, array_like=True):
    counts: list[int]
    """By bucket; the last is above all bounds."""
    total: float = 0


class Series(Struct, array_like=True):
    """What invocations with the same labels come to."""

    labels: Labels
    duration_s: Histogram = field(default_factory=lambda: _empty(DURATION_S))
    first_token_s: Histogram = field(default_factory=lambda: _empty(FIRST_TOKEN_S))
    each_token_s: Histogram = field(default_factory=lambda: _empty(EACH_TOKEN_S))
    input_tokens: Histogram = field(default_factory=lambda: _empty(TOKENS))
    output_tokens: Histogram = field(default_factory=lambda: _empty(TOKENS))
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    spilled_over: int = 0
    failovers: int = 0
    """Servers and Regions that were passed over."""


class Measures:
    """An Observer. What it costs does not depend on how many labels there are."""

    def __init__(self, config: MetricsConfig) -> None:
        self.in_progress = 0
        self.requests: dict[tuple[str, str, int], int] = {}
        """By service, operation and status, whatever they ask for."""
        self.bought: dict[str, Sequence[Quota]] = {}
        """What units give the provisioned models that were called, by ARN."""
        self._series: dict[tuple[str | int | bool | None, ...], Series] = {}
        self._by_labels: dict[Labels, Series] = {}
        self._regions = _Capped(_MOST_REGIONS)
        self._profiles = _Capped(config.most_profiles)
        self._most_bought = config.most_profiles
        self._most_series = config.most_series

    @property
    def series(self) -> Sequence[Series]:
        return tuple(self._by_labels.values())

    def answered(self, service: str, operation: str, status: int) -> None:
        """Any request, of a model or not."""
        key = (service, operation, status)
        self.requests[key] = self.requests.get(key, 0) + 1

    def began(self, invocation: ModelInvocation) -> None:  # noqa: ARG002 - an Observer is told
        self.in_progress += 1

    def ended(self, invocation: ModelInvocation, ending: Ending) -> None:
        self.in_progress -= 1
        series = self._of(invocation, ending)
        if invocation.bought:
            self._keep_bought(invocation)
        duration_s = _seconds(ending.at - invocation.began_at)
        _add(series.duration_s, DURATION_S, duration_s)
        if invocation.skipped:
            series.failovers += len(invocation.skipped)
        if invocation.spilled_over:
            series.spilled_over += 1
        usage = invocation.usage
        if usage is not None:
            _add_usage(series, usage)
        if invocation.first_event_at is not None:
            first_s = _seconds(invocation.first_event_at - invocation.began_at)
            _add(series.first_token_s, FIRST_TOKEN_S, first_s)
            if usage is not None and usage.output_tokens > 1:
                each_s = max(duration_s - first_s, 0.0) / (usage.output_tokens - 1)
                _add(series.each_token_s, EACH_TOKEN_S, each_s)

    def _keep_bought(self, invocation: ModelInvocation) -> None:
        arn = invocation.provisioned_model_arn
        if arn is not None and (arn in self.bought or len(self.bought) < self._most_bought):
            self.bought[arn] = invocation.bought

    def _of(self, invocation: ModelInvocation, ending: Ending) -> Series:
        # Found by what is at hand; labels are made of it when it is met for the first time.
        key = (
            invocation.operation,
            invocation.embeds,
            invocation.foundation_model_id,
            invocation.caller.region,
            invocation.inference_profile_arn,
            ending.status,
            ending.error,
        )
        series = self._series.get(key)
        if series is None:
            series = self._by(self._labels(invocation, ending))
            if len(self._series) < 2 * self._most_series:
                self._series[key] = series
        return series

    def _by(self, labels: Labels) -> Series:
        series = self._by_labels.get(labels)
        if series is None:
            if len(self._by_labels) >= self._most_series:
                labels = _ALL_OTHERS
            series = self._by_labels.setdefault(labels, Series(labels))
        return series

    def _labels(self, invocation: ModelInvocation, ending: Ending) -> Labels:
        arn = invocation.inference_profile_arn
        return Labels(
            rpc_method=invocation.operation,
            gen_ai_operation_name=operation_name(invocation),
            gen_ai_request_model=invocation.foundation_model_id or "",
            cloud_region=self._regions.value(invocation.caller.region),
            outcrop_inference_profile=self._profiles.value(profile_id(arn)) if arn else "",
            http_response_status_class=f"{ending.status // 100}xx",
            error_type=ending.error or "",
        )


def operation_name(invocation: ModelInvocation) -> str:
    """`gen_ai.operation.name`."""
    return "embeddings" if invocation.embeds else "chat"


def profile_id(arn: str) -> str:
    """Twelve characters of an application's; the id of a system-defined one."""
    return arn.rpartition("/")[2]


_ALL_OTHERS = Labels(OTHER, OTHER, OTHER, OTHER, OTHER, OTHER, OTHER)


class _Capped:
    """The first so many values of a label; then OTHER."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def value(self, value: str) -> str:
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


def _add_usage(series: Series, usage: TokenUsage) -> None:
    _add(series.input_tokens, TOKENS, usage.input_tokens)
    if usage.output_tokens:
        _add(series.output_tokens, TOKENS, usage.output_tokens)
    if usage.cache_read_input_tokens:
        series.cache_read_tokens += usage.cache_read_input_tokens
    if usage.cache_write_input_tokens:
        series.cache_write_tokens += usage.cache_write_input_tokens


def _add(histogram: Histogram, bounds: Sequence[float], value: float) -> None:
    histogram.counts[bisect_left(bounds, value)] += 1
    histogram.total += value


def _empty(bounds: Sequence[float]) -> Histogram:
    return Histogram([0] * (len(bounds) + 1))


def _seconds(span: timedelta) -> float:
    # A clock that was set back makes no time negative.
    return max(span / _SECOND, 0.0)
