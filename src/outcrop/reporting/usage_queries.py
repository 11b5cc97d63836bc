"""What reporting asks of the ledger."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from outcrop.metering.costs import CostRow, Granularity
from outcrop.store.usage import MetricName, MetricPoint


class MetricQueries(Protocol):
    async def metric_names(
        self, account_id: str, region: str, *, since: datetime
    ) -> Sequence[MetricName]: ...

    async def metric(
        self,
        account_id: str,
        region: str,
        metric: MetricName,
        *,
        start: datetime,
        end: datetime,
        period_s: int,
    ) -> Sequence[MetricPoint]:
        """By time, empty periods left out. Periods are counted from 1970; the first is whole."""
        ...


class Sketches(Protocol):
    """How the values of a metric are spread, kept so that two spreads can be made one."""

    def merged(self, one: bytes | None, other: bytes) -> bytes: ...

    def quantile(self, sketch: bytes, q: float) -> float:
        """The value below which a share of `q` (0 to 1) lies."""
        ...

    def share_up_to(self, sketch: bytes, value: float) -> float:
        """Which share (0 to 1) of the values is at most `value`."""
        ...

    def trimmed_mean(self, sketch: bytes, low: float, high: float) -> float:
        """Of the values between two quantiles, `low` below `high`."""
        ...


class CostQueries(Protocol):
    async def costs(
        self,
        account_id: str,
        *,
        start: datetime,
        end: datetime,
        granularity: Granularity,
        group_by: Sequence[str],
        filters: Mapping[str, Sequence[str]],
    ) -> Sequence[CostRow]:
        """One row a period, unit and combination of keys. Names: `SERVICE`, `TAG:team`."""
        ...

    async def tag_keys(self, account_id: str, *, start: datetime, end: datetime) -> Sequence[str]:
        """Of whatever cost anything."""
        ...
