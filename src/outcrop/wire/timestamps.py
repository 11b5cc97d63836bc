"""Time as Bedrock writes it: ISO 8601 in UTC, none or six fractional digits. And the Clock type."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Gives the present moment, in UTC. Handed in everywhere: nothing else reads the time."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970, exact (no float in between)."""
    return micros_between(_EPOCH, moment)


def micros_between(start: datetime, end: datetime) -> int:
    """Exact; a division of timedeltas takes three times as long."""
    span = end - start
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def iso8601(moment: datetime) -> str:
    """`2024-11-29T13:23:00Z`, or with six fractional digits when there is a fraction."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
