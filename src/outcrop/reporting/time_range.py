"""The span that a metric is asked for, and the periods it is cut into."""

from datetime import datetime, timedelta

from msgspec import Struct

from outcrop.wire.errors import AwsError
from outcrop.wire.timestamps import from_micros, to_micros

_MINUTE = timedelta(minutes=1)
_MINUTE_US = 60_000_000


class TimeRange(Struct, frozen=True):
    start: datetime
    """A full minute: periods are counted from it."""
    end: datetime
    """Exclusive."""


def time_range(start: datetime, end: datetime, refusal: type[AwsError]) -> TimeRange:
    # CloudWatch rounds older starts further, to what it has kept; here every minute is kept.
    if start == end:
        raise refusal("The parameter StartTime must not equal parameter EndTime.")
    if start > end:
        raise refusal("The parameter StartTime must be less than the parameter EndTime.")
    rounded = to_micros(start) // _MINUTE_US * _MINUTE_US
    return TimeRange(from_micros(rounded), end)


def check_period(period_s: int, parameter: str, refusal: type[AwsError]) -> None:
    """Bedrock's metrics have no resolution below a minute."""
    if period_s % 60:
        raise refusal(f"The parameter {parameter} must be a multiple of 60.")


def count(span: TimeRange, period_s: int) -> int:
    """Of periods, the last one cut short or not."""
    return -(-(span.end - span.start) // timedelta(seconds=period_s))
