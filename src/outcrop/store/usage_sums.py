"""What remains of many invocations: for each metric how many, how much, and how it is spread."""

from collections import Counter
from collections.abc import Sequence
from typing import Self

from fastdigest import TDigest
from msgspec import Struct, field, msgpack

CENTROIDS = 64
"""Of a sketch: half a percent off at p99 and 1 kB at most; the first so many values are exact."""

COUNTED = {
    "InputTokenCount": "input_tokens",
    "OutputTokenCount": "output_tokens",
    "CacheReadInputTokens": "cache_read_input_tokens",
    "CacheWriteInputTokens": "cache_write_input_tokens",
    "CacheReadInputTokenCount": "cache_read_input_tokens",
    "CacheWriteInputTokenCount": "cache_write_input_tokens",
    "EstimatedTPMQuotaUsage": "quota_tokens",
    "InvocationLatency": "latency_ms",
    "TimeToFirstToken": "first_token_ms",
    "ProvisionedInputUtilization": "input_utilization",
    "ProvisionedOutputUtilization": "output_utilization",
}
"""Metrics with a value for each invocation, and where they are in `Sums`; some go by two names."""

_SPREADS = tuple(dict.fromkeys(COUNTED.values()))

ONES = {
    "Invocations": "invocations",
    "InvocationClientErrors": "client_errors",
    "InvocationServerErrors": "server_errors",
    "InvocationThrottles": "throttles",
    "InvocationSpillovers": "spillovers",
}
"""Metrics whose every value is 1."""

DELIVERIES = tuple(
    f"ModelInvocation{what}Delivery{how}"
    for what in ("LogsS3", "LogsCloudWatch", "LargeDataS3")
    for how in ("Success", "Failure")
)
"""Likewise; of invocation logs, and so of no model."""


class Spread(Struct, array_like=True):
    """Numbers, merged."""

    count: int = 0
    total: float = 0
    least: float = 0
    most: float = 0
    sketch: bytes | None = None
    """A t-digest as fastdigest writes it."""

    @classmethod
    def of(cls, values: Sequence[float], *, sketched: bool) -> Self:
        if not values:
            return cls()
        sketch = sketch_of(values) if sketched else None
        return cls(len(values), sum(values), min(values), max(values), sketch)

    def add(self, other: "Spread") -> None:
        if not other.count:
            return
        first = not self.count
        self.least = other.least if first else min(self.least, other.least)
        self.most = other.most if first else max(self.most, other.most)
        self.count += other.count
        self.total += other.total
        if other.sketch is not None:
            self.sketch = merged(self.sketch, other.sketch)


class Sums(Struct, array_like=True):
    """All metrics of one series in one span. New fields come last."""

    invocations: int = 0
    client_errors: int = 0
    server_errors: int = 0
    throttles: int = 0
    input_tokens: Spread = field(default_factory=Spread)
    output_tokens: Spread = field(default_factory=Spread)
    cache_read_input_tokens: Spread = field(default_factory=Spread)
    cache_write_input_tokens: Spread = field(default_factory=Spread)
    quota_tokens: Spread = field(default_factory=Spread)
    latency_ms: Spread = field(default_factory=Spread)
    first_token_ms: Spread = field(default_factory=Spread)
    spillovers: int = 0
    input_utilization: Spread = field(default_factory=Spread)
    """Percent of what model units are good for in a minute: the sum of a minute is its share."""
    output_utilization: Spread = field(default_factory=Spread)
    deliveries: dict[str, int] | None = None
    """By name of DELIVERIES; None where no log was delivered."""

    def add(self, other: "Sums") -> None:
        for name in ONES.values():
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _SPREADS:
            getattr(self, name).add(getattr(other, name))
        if other.deliveries:
            self.deliveries = dict(Counter(self.deliveries or {}) + Counter(other.deliveries))

    def spread(self, metric: str) -> Spread:
        """Of a metric by its CloudWatch name; count 0 where nothing was measured."""
        if metric in COUNTED:
            spread: Spread = getattr(self, COUNTED[metric])
            return spread
        count: int
        if metric in ONES:
            count = getattr(self, ONES[metric])
        else:
            count = (self.deliveries or {}).get(metric, 0)
        return Spread(count, count, 1, 1) if count else Spread()

    @property
    def metrics(self) -> list[str]:
        """Those that have a value."""
        names = (*ONES, *COUNTED, *(self.deliveries or ()))
        return [name for name in names if self.spread(name).count]


def sketch_of(values: Sequence[float]) -> bytes:
    return TDigest.from_values(values, max_centroids=CENTROIDS).to_bytes()


def merged(one: bytes | None, other: bytes) -> bytes:
    if one is None:
        return other
    digest = TDigest.from_bytes(one)
    digest.merge_inplace(TDigest.from_bytes(other))
    return digest.to_bytes()


def quantile(sketch: bytes, q: float) -> float:
    """`q` from 0 to 1."""
    return float(TDigest.from_bytes(sketch).quantile(q))


def share_up_to(sketch: bytes, value: float) -> float:
    """Of the values, from 0 to 1."""
    return float(TDigest.from_bytes(sketch).cdf(value))


def trimmed_mean(sketch: bytes, low: float, high: float) -> float:
    """Of the values between two quantiles."""
    return float(TDigest.from_bytes(sketch).trimmed_mean(low, high))


encode_sums = msgpack.Encoder().encode
decode_sums = msgpack.Decoder(Sums).decode
