"""Which metrics there are, and the statistics that are kept of each: `Sum`, `Maximum`."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from outcrop.store.usage import MetricPoint
from outcrop.wire.shapes.cloudwatch import StandardUnit

NAMESPACE = "AWS/Bedrock"

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
