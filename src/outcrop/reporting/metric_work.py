"""How much one GetMetricData may read and compute: what a few lines ask for can be endless."""

from typing import Final

from outcrop.wire.errors import ValidationException

MOST_WORK: Final = 2_000_000
"""Datapoints: some seconds of a processor, and a few hundred megabytes."""


class Work:
    """Of one request, counted in datapoints that are read, computed or looked at."""

    def __init__(self) -> None:
        self._left = MOST_WORK

    def take(self, datapoints: int) -> None:
        """Raises ValidationException where that is too much, with all before it."""
        self._left -= datapoints
        if self._left < 0:
            raise ValidationException(
                f"The request comes to more than {MOST_WORK:,} datapoints, read and computed."
                " Increase the period, or decrease the time range or the number of metrics."
            )
