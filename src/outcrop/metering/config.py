"""What an operator says about limits and money: records that refuse what they do not know."""

from collections.abc import Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

_ABSURD = 1_000_000

Positive = Annotated[int, Meta(ge=1)]
Most = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Weight = Annotated[float, Meta(ge=0.001, le=1_000)]
Way = Literal["on_demand", "cross_region", "global"]
"""How the model was named: Amazon counts each by itself."""


class AdmissionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which calls may go ahead, and who goes first."""

    assumed_max_tokens: Positive = 1_024
    """Held for the output of a request that names no maximum."""
    queue_deadline_s: Seconds = 30
    """How long a call may wait for a model server."""
    spillover: bool = False
    """Whether calls above their model units go on as on-demand calls."""
    weights: dict[str, Weight] = {}
    """By account: its turns where others wait too."""


class QuotaConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. The first whose patterns (`*`, `?`) match decides; what it leaves out is free."""

    account: str = "*"
    region: str = "*"
    """The source Region: the one that the request was signed for."""
    model: str = "*"
    """A foundation model's id."""
    way: Literal["*"] | Way = "*"
    tokens_per_minute: Most | None = None
    tokens_per_day: Most | None = None
    requests_per_minute: Most | None = None
    concurrent_requests: Most | None = None

    def applies_to(self, account_id: str, region: str, model_id: str, way: Way) -> bool:
        return (
            fnmatchcase(account_id, self.account)
            and fnmatchcase(region, self.region)
            and fnmatchcase(model_id, self.model)
            and self.way in {"*", way}
        )


class MeteringConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    enabled: bool = True  # invocations are recorded and counted; takes effect at a start
    when_unwritable: Literal["refuse", "serve"] = "refuse"  # while records cannot be written
    keep_records_days: Annotated[int, Meta(ge=1, le=36_500)] = 90  # sums are kept for ever


class MetricsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Prometheus may scrape."""

    listen: str | None = None  # address:port; none: nothing is measured
    most_profiles: Positive = 100  # told apart by one worker; later ones are "other"
    most_series: Positive = 1_000  # sets of labels of one worker; later ones are "other"


class TelemetryConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is sent to an OpenTelemetry collector, by OTLP over HTTP."""

    traces: bool = False
    metrics: bool = False
    endpoint: str | None = None  # none: as OTEL_EXPORTER_OTLP_ENDPOINT and its like say
    metrics_every_s: Seconds = 60
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 5  # of one export; not of a request


class Price(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """US dollars; what is not said costs nothing. Cache rates not said: the input price."""

    model: Annotated[str, Meta(min_length=1, max_length=2048)]
    """A model's id, or a system-defined profile's: `us.amazon.nova-lite-v1:0`."""
    region: str | None = None
    """The source Region, or how it begins (`eu-`); none: every one."""
    input_per_1k: Decimal = Decimal(0)
    output_per_1k: Decimal = Decimal(0)
    cache_read_per_1k: Decimal | None = None
    cache_write_per_1k: Decimal | None = None
    model_unit_hour: Decimal | None = None
    model_unit_hour_one_month: Decimal | None = None
    """With a commitment of a month; none: as without one."""
    model_unit_hour_six_months: Decimal | None = None
    tier_multipliers: Mapping[str, Decimal] = {}
    """By service tier; 1 for those not named."""

    def __post_init__(self) -> None:
        amounts = [value for value in structs.astuple(self) if isinstance(value, Decimal)]
        for amount in (*amounts, *self.tier_multipliers.values()):
            if not (amount.is_finite() and 0 <= amount < _ABSURD):
                raise ValueError(f"{amount} is no price: 0 or more, below {_ABSURD}")
