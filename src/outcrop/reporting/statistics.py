"""A metric's statistics, by the names that callers give them: `Sum`, `p99.9`."""

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from outcrop.reporting.usage_queries import MetricPoint

NAMESPACE = "AWS/Bedrock"

Quantile: TypeAlias = Callable[[bytes, float], float]
Statistic: TypeAlias = Callable[[MetricPoint], float | None]
"""None where the point does not hold what the statistic needs."""

_LATENCIES = ("InvocationLatency", "TimeToFirstToken")
_PERCENTILE = re.compile(r"[pP](\d{1,2}(?:\.\d{1,10})?|100)")

SIMPLE: Mapping[str, Statistic] = {
    "SampleCount": lambda point: float(point.count),
    "Average": lambda point: point.total / point.count,
    "Sum": lambda point: point.total,
    "Minimum": lambda point: point.least,
    "Maximum": lambda point: point.most,
}


def unit_of(metric_name: str) -> str:
    if metric_name in _LATENCIES:
        return "Milliseconds"
    return "Percent" if metric_name.endswith("Utilization") else "Count"


def percentile(text: str, quantile: Quantile) -> Statistic | None:
    """`p50` to `p99.9999999999`; None for what is no percentile."""
    found = _PERCENTILE.fullmatch(text)
    if found is None:
        return None
    rank = float(found[1]) / 100

    def of(point: MetricPoint) -> float | None:
        if rank in (0, 1):
            return point.most if rank else point.least
        return None if point.sketch is None else quantile(point.sketch, rank)

    return of
