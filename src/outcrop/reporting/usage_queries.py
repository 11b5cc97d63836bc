"""What reporting asks of the store, and the records it gets."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

Granularity: TypeAlias = Literal["HOURLY", "DAILY", "MONTHLY"]


class MetricName(Struct, frozen=True, kw_only=True):
    name: str
    dimensions: tuple[tuple[str, str], ...]
    """Sorted by name."""


class MetricPoint(Struct, frozen=True, kw_only=True):
    at: datetime
    """The start of the period."""
    count: int
    total: float
    least: float
    most: float
    sketch: bytes | None
    """Of the distribution, where one is kept."""


class CostRow(Struct, frozen=True, kw_only=True):
    start: datetime
    keys: tuple[str, ...]
    """In the order of `group_by`; empty where there is no value."""
    cost: Decimal
    """In USD."""
    usage: Decimal
    unit: str
    """`Tokens`, `ModelUnitHours`."""


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
