"""A metric's statistics, by the names that callers give them: `Sum`, `p99.9`."""

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from outcrop.store.usage import MetricPoint
from outcrop.wire.shapes.cloudwatch import StandardUnit

NAMESPACE = "AWS/Bedrock"

Quantile: TypeAlias = Callable[[bytes, float], float]
Statistic: TypeAlias = Callable[[MetricPoint], float | None]
"""None where the point does not hold what the statistic needs."""

UNITS: Mapping[str, StandardUnit] = {
    "Invocations": "Count",
    "InvocationClientErrors": "Count",
    "InvocationServerErrors": "Count",
    "InvocationThrottles": "Count",
    "InvocationLatency": "Milliseconds",
    "TimeToFirstToken": "Milliseconds",
    "InputTokenCount": "Count",
    "OutputTokenCount": "Count",
    "CacheReadInputTokens": "Count",
    "CacheWriteInputTokens": "Count",
    "CacheReadInputTokenCount": "Count",
    "CacheWriteInputTokenCount": "Count",
    "EstimatedTPMQuotaUsage": "Count",
    "InvocationSpillovers": "Count",
    "ProvisionedInputUtilization": "Percent",
    "ProvisionedOutputUtilization": "Percent",
    "ModelInvocationLogsS3DeliverySuccess": "Count",
    "ModelInvocationLogsS3DeliveryFailure": "Count",
    "ModelInvocationLogsCloudWatchDeliverySuccess": "Count",
    "ModelInvocationLogsCloudWatchDeliveryFailure": "Count",
    "ModelInvocationLargeDataS3DeliverySuccess": "Count",
    "ModelInvocationLargeDataS3DeliveryFailure": "Count",
}
"""Of every metric there is."""

_PERCENTILE = re.compile(r"[pP](\d{1,2}(?:\.\d{1,10})?|100)")

SIMPLE: Mapping[str, Statistic] = {
    "SampleCount": lambda point: float(point.count),
    "Average": lambda point: point.total / point.count,
    "Sum": lambda point: point.total,
    "Minimum": lambda point: point.least,
    "Maximum": lambda point: point.most,
}


def is_measured(namespace: str | None, name: str, unit: str | None) -> bool:
    """Whether there is such a metric, in this unit."""
    return namespace == NAMESPACE and name in UNITS and unit in (None, UNITS[name])


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
