"""Clocks that tests hand in: they stand still until they are told."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    def __init__(self, moment: datetime = datetime(2026, 11, 22, 12, tzinfo=UTC)) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, **span: float) -> None:
        """`advance(seconds=3)`: the arguments of a timedelta."""
        self.moment += timedelta(**span)
