"""What an operator decides about metering, and what they charge."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

_ABSURD = 1_000_000


class MeteringConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    enabled: bool = True  # invocations are recorded and counted; takes effect at a start
    when_unwritable: Literal["refuse", "serve"] = "refuse"  # while records cannot be written
    keep_records_days: Annotated[int, Meta(ge=1, le=36_500)] = 90  # sums are kept for ever


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
