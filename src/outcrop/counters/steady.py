"""Time that only goes on: what is measured by it does not notice that a clock is set back."""

from outcrop.wire.timestamps import Clock


class Steady:
    """Seconds since it was made. A clock that is set back stands still for a moment.

    A clock that leaps ahead cannot be told from a long wait: hand in one that does not leap.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock()
        self._passed_s = 0.0

    def __call__(self) -> float:
        now = self._clock()
        passed = (now - self._last).total_seconds()
        self._last = now
        if passed > 0:
            self._passed_s += passed
        return self._passed_s
