"""What an operator says about limits and money: records that refuse what they do not know."""

from collections.abc import Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field, structs

_ABSURD = 1_000_000
_MOST_BUDGETED = 10**12

Positive = Annotated[int, Meta(ge=1)]
Most = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Weight = Annotated[float, Meta(ge=0.001, le=1_000)]
Period = Literal["DAY", "MONTH"]
Way = Literal["on_demand", "cross_region", "global"]
"""How the model was named: Amazon counts each by itself."""
TIERS = ("default", "flex", "priority", "reserved")
"""Service tiers, as Bedrock names them."""


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
    keep_records_days: Annotated[int, Meta(ge=1, le=36_500)] = 90
    # Of sums: those of days are kept for ever. The least is what CloudWatch keeps.
    keep_minutes_days: Annotated[int, Meta(ge=63, le=36_500)] = 63
    keep_hours_days: Annotated[int, Meta(ge=455, le=36_500)] = 455
    most_series: Positive = 10_000  # of costs of one account; new sessions of a role are then one


class BudgetConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be spent on calls that meet all of it; patterns know `*` and `?`."""

    name: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9 ._/-]{0,63}\Z")]
    amount_usd: Decimal
    period: Period = "MONTH"
    account: str = "*"
    principal: str = "*"
    """The ARN of who calls."""
    model: str = "*"
    """A foundation model's id."""
    profile: str | None = None
    """An inference profile's ARN, or its id; none: with a profile or without."""
    tags: Mapping[str, str] = {}
    """Of the application profile or provisioned model."""
    warn_at_percent: Annotated[int, Meta(ge=0, le=100)] = 80
    when_spent: Literal["warn", "refuse"] = "refuse"

    def __post_init__(self) -> None:
        if not (self.amount_usd.is_finite() and 0 < self.amount_usd < _MOST_BUDGETED):
            raise ValueError(
                f"amount_usd = {self.amount_usd} is no budget: more than 0, below {_MOST_BUDGETED}"
            )

    def applies_to(
        self,
        *,
        account_id: str,
        principal_arn: str,
        model_id: str,
        profile_arn: str | None,
        tags: Mapping[str, str],
    ) -> bool:
        return (
            fnmatchcase(account_id, self.account)
            and fnmatchcase(principal_arn, self.principal)
            and fnmatchcase(model_id, self.model)
            and self._has_profile(profile_arn)
            and all(fnmatchcase(tags.get(key, ""), value) for key, value in self.tags.items())
        )

    def _has_profile(self, arn: str | None) -> bool:
        if self.profile is None:
            return True
        names = () if arn is None else (arn, arn.rpartition("/")[2])
        return any(fnmatchcase(name, self.profile) for name in names)


class MetricsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Prometheus may scrape."""

    listen: str | None = None  # address:port; none: nothing is measured
    most_profiles: Positive = 100  # told apart by one worker; later ones are "other"
    most_series: Positive = 1_000  # sets of labels of one worker; later ones are "other"


class TelemetryConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is sent to an OpenTelemetry collector, by OTLP over HTTP."""

    traces: bool = False
    metrics: bool = False
    endpoint: Annotated[str, Meta(pattern=r"\Ahttps?://[^/]")] | None = None
    """None: as OTEL_EXPORTER_OTLP_ENDPOINT and its like say."""
    metrics_every_s: Seconds = 60
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 5  # of one export; not of a request


class S3DeliveryConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Amazon S3, or a server that speaks its API."""

    endpoint_url: Annotated[str, Meta(pattern=r"\Ahttps?://[^/]+\Z")] | None = None
    """`https://s3.us-east-1.amazonaws.com`; none: buckets are not there."""
    region: str = "us-east-1"
    """To sign for."""
    path_style: bool = True
    """Whether a bucket is the beginning of the path, rather than of the host's name."""
    access_key_id_env: str = "AWS_ACCESS_KEY_ID"
    secret_access_key_env: str = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - a variable's name
    session_token_env: str = "AWS_SESSION_TOKEN"  # noqa: S105 - likewise


class InvocationLoggingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the buckets and log groups are that PutModelInvocationLoggingConfiguration names."""

    folder: Path | None = None
    """Buckets are folders in it."""
    s3: S3DeliveryConfig = field(default_factory=S3DeliveryConfig)
    cloudwatch_folder: Path | None = None
    """Log groups are folders in it."""
    cloudwatch_stdout: bool = False
    """What goes to a log group goes to standard output."""
    batch_s: Annotated[float, Meta(ge=0.1, le=3_600)] = 10
    """So long records are gathered, unless there are many."""
    keep_undelivered_days: Annotated[int, Meta(ge=1, le=365)] = 7

    def __post_init__(self) -> None:
        if self.folder is not None and self.s3.endpoint_url is not None:
            raise ValueError("buckets are in `folder` or at `s3.endpoint_url`, not in both")


class AuditConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    file: Path | None = None
    """JSON lines in CloudTrail's shape; none: no trail."""
    max_bytes: Annotated[int, Meta(ge=4_096)] = 104_857_600
    """A file that has grown so long is put aside, and another begun."""
    keep_files: Annotated[int, Meta(ge=1, le=10_000)] = 10
    """Of those that were put aside; older ones are taken away."""


class Price(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """US dollars. Of tokens, what is not said costs nothing; cache rates not said: the input price.

    What names a price of model units alone says nothing of tokens, and what names none nothing of
    model units.
    """

    model: Annotated[str, Meta(min_length=1, max_length=2048)]
    """A model's id, or a system-defined profile's: `us.amazon.nova-lite-v1:0`."""
    region: str | None = None
    """The source Region, or how it begins (`eu-`); none: every one."""
    input_per_1k: Decimal | None = None
    output_per_1k: Decimal | None = None
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
        for tier in self.tier_multipliers:
            if tier not in TIERS:
                raise ValueError(f"{tier!r} is no service tier: {', '.join(TIERS)}")

    @property
    def is_of_units(self) -> bool:
        units = (
            self.model_unit_hour,
            self.model_unit_hour_one_month,
            self.model_unit_hour_six_months,
        )
        return any(amount is not None for amount in units)

    @property
    def is_of_tokens(self) -> bool:
        tokens = (
            self.input_per_1k,
            self.output_per_1k,
            self.cache_read_per_1k,
            self.cache_write_per_1k,
        )
        return not self.is_of_units or any(amount is not None for amount in tokens)
