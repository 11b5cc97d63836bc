"""A bill's span as Cost Explorer is given it, and the periods it is cut into."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from outcrop.metering.costs import Granularity
from outcrop.wire.errors import ValidationException
from outcrop.wire.shapes.ce import DateInterval

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_DATE_LENGTH = len("2025-01-01")
_MOST_HOURLY = timedelta(days=14)
_OLDEST = timedelta(days=38 * 31)
"""As many months as Cost Explorer keeps at most."""


class CostSpan(Struct, frozen=True):
    start: datetime
    end: datetime
    """Exclusive."""
    granularity: Granularity

    def periods(self) -> Iterator[tuple[datetime, datetime]]:
        """Months are those of the calendar; the first and the last may be cut short."""
        begin = self.start
        while begin < self.end:
            end = min(_next(begin, self.granularity), self.end)
            yield begin, end
            begin = end

    def interval(self, begin: datetime, end: datetime) -> DateInterval:
        if self.granularity != "HOURLY":
            return DateInterval(start=f"{begin:%Y-%m-%d}", end=f"{end:%Y-%m-%d}")
        return DateInterval(start=f"{begin:%Y-%m-%dT%H:%M:%SZ}", end=f"{end:%Y-%m-%dT%H:%M:%SZ}")


def cost_span(interval: DateInterval, granularity: Granularity, now: datetime) -> CostSpan:
    """Raises ValidationException."""
    start, end = (_moment(text, granularity) for text in (interval.start, interval.end))
    if start >= end:
        # Seen in elC0mpa/aws-doctor#1.
        raise ValidationException("Start date (and hour) should be before end date (and hour)")
    if end > _next(now, "MONTHLY"):
        # Seen in aws/aws-sdk-js#2732.
        raise ValidationException("end date past the beginning of next month")
    if start < now - _OLDEST:
        raise ValidationException("Start date is more than 38 months ago.")
    if granularity == "HOURLY" and start < now - _MOST_HOURLY - _DAY:
        # Seen in aws/aws-sdk-net#1773.
        raise ValidationException(
            "start date is too old for hourly, the max supported days for hourly granularity"
            f" is {_MOST_HOURLY.days} days."
        )
    return CostSpan(start, end, granularity)


def _moment(text: str, granularity: Granularity) -> datetime:
    """A date, or a full hour where costs are asked for by the hour."""
    try:
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise ValidationException(f"The date {text} does not exist.") from None
    if granularity == "HOURLY":
        return moment.replace(minute=0, second=0)
    if len(text) > _DATE_LENGTH:
        raise ValidationException(
            f"The date {text} has a time, which only HOURLY granularity takes: write yyyy-MM-dd."
        )
    return moment


def _next(moment: datetime, granularity: Granularity) -> datetime:
    """The beginning of the next period."""
    match granularity:
        case "HOURLY":
            return moment.replace(minute=0, second=0, microsecond=0) + _HOUR
        case "DAILY":
            return moment.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
        case "MONTHLY":
            first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            return (first + 32 * _DAY).replace(day=1)
