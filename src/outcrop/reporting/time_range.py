"""The span that a metric is asked for, and the periods it is cut into."""

from datetime import datetime, timedelta

from msgspec import Struct

from outcrop.wire.errors import AwsError
from outcrop.wire.timestamps import from_micros, to_micros

_SECOND_US = 1_000_000
# Less and less is kept of what is older: starts are rounded to that. What Amazon has forgotten,
# days are kept of.
_ROUNDING_S = (
    (timedelta(days=455), 86_400),
    (timedelta(days=63), 3_600),
    (timedelta(days=15), 300),
    (timedelta.min, 60),
)


class TimeRange(Struct, frozen=True):
    start: datetime
    """A full minute: periods are counted from it."""
    end: datetime
    """Exclusive."""


def time_range(start: datetime, end: datetime, now: datetime, refusal: type[AwsError]) -> TimeRange:
    if start == end:
        raise refusal("The parameter StartTime must not equal parameter EndTime.")
    if start > end:
        raise refusal("The parameter StartTime must be less than the parameter EndTime.")
    step_s = next(step_s for age, step_s in _ROUNDING_S if now - start >= age)
    step_us = step_s * _SECOND_US
    return TimeRange(from_micros(to_micros(start) // step_us * step_us), end)


def check_period(period_s: int, parameter: str, refusal: type[AwsError]) -> None:
    """Bedrock's metrics have no resolution below a minute."""
    if period_s % 60:
        raise refusal(f"The parameter {parameter} must be a multiple of 60.")


def count(span: TimeRange, period_s: int) -> int:
    """Of periods, the last one cut short or not."""
    return -(-(span.end - span.start) // timedelta(seconds=period_s))
