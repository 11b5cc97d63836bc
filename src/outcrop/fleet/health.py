"""Whether a server should be asked, learnt from how it answered: pure, on time that is handed in.

A server that fails again and again, or is far slower than its peers, is ejected: nobody asks it for
a while, longer each time. Then one request at a time tries it, until it has earned its place back.
"""

from typing import Literal

from outcrop.fleet.config import RoutingConfig
from outcrop.fleet.failures import FailureKind, ServerFailureError

State = Literal["healthy", "resting", "ejected", "on trial"]

# A server that is busy and does not say for how long is left alone for this.
_BUSY_S = 1.0
# Answers in a row that end a trial.
_ANSWERS_TO_COME_BACK = 3
_NEVER = float("inf")
# Not the server's fault, or not one that another request would meet.
_HARMLESS = {400, 413, 422}
_NO_OUTCOME = {FailureKind.NOT_READY, FailureKind.BUSY, FailureKind.UNABLE}


class Health:
    __slots__ = (
        "_answers",
        "_back_at",
        "_ejected",
        "_ejected_at",
        "_ejection_s",
        "_failures",
        "_on_trial",
        "_probed",
        "_until",
        "well",
        "why",
    )

    def __init__(self) -> None:
        self.well = True
        """Neither ejected, nor on trial, nor resting: the quick answer to `admits`."""
        self.why = ""
        """What was wrong last."""
        self._ejected = False
        self._on_trial = False
        self._probed = False
        self._until = 0.0
        self._failures = 0
        self._answers = 0
        self._ejected_at = 0.0
        self._ejection_s = 0.0
        self._back_at = 0.0

    def admits(self, now: float, in_flight: int) -> bool:
        """Whether one more request may go to a server that has so many."""
        if self.well:
            return True
        self._pass(now)
        if self._ejected or now < self._until:
            return False
        return not self._on_trial or in_flight == 0

    def state(self, now: float) -> State:
        self._pass(now)
        if self._ejected:
            return "ejected"
        if now < self._until:
            return "resting"
        return "on trial" if self._on_trial else "healthy"

    @property
    def ejected(self) -> bool:
        return self._ejected

    @property
    def until(self) -> float:
        """When time alone changes the answer: never, where a probe does."""
        return _NEVER if self._ejected and self._probed else self._until

    @property
    def left_alone_until(self) -> float:
        """The smaller, the less bad: for the choice among those that nobody should ask."""
        return self._until

    def answered(self, asked_at: float) -> None:
        """It began to answer what it was asked then."""
        self._failures = 0
        if not self._on_trial or asked_at < self._ejected_at:
            return
        self._answers += 1
        if self._ejected:
            # Asked because nobody was left: it has shown that it can be.
            self._ejected, self._until, self._back_at = False, 0.0, asked_at
        if self._answers >= _ANSWERS_TO_COME_BACK:
            self._on_trial = False
            self._pass(asked_at)

    def failed(self, failure: ServerFailureError, now: float, rules: RoutingConfig) -> None:
        if failure.kind in _NO_OUTCOME or failure.status in _HARMLESS:
            return
        self.why = worded(failure)
        rest_s = failure.retry_after_s
        if failure.status == 429:
            self._rest(now, _BUSY_S if rest_s is None else rest_s, rules)
            return
        self._failures += 1
        if self._on_trial or self._failures >= rules.consecutive_failures:
            self.eject(now, rules, self.why)
        if rest_s is not None:
            self._rest(now, rest_s, rules)

    def eject(self, now: float, rules: RoutingConfig, why: str) -> None:
        self.why = why
        if not self._ejected:
            relapsed = self._ejection_s > 0 and now - self._back_at < rules.longest_ejection_s
            longer_s = 2 * self._ejection_s if relapsed else rules.ejection_s
            self._ejection_s = min(longer_s, rules.longest_ejection_s)
        self.well = False
        self._ejected, self._on_trial = True, True
        self._ejected_at = now
        self._failures = self._answers = 0
        self._until = max(self._until, now + self._ejection_s)
        self._back_at = self._until

    def is_probed(self) -> None:
        """While it is ejected, `probed` decides in place of time."""
        self._probed = True

    def probed(self, now: float, rules: RoutingConfig, *, answers: bool) -> None:
        if not self._ejected:
            return
        if answers:
            self._ejected = False
            self._back_at = now
            return
        self._ejection_s = min(2 * self._ejection_s, rules.longest_ejection_s)
        self._until = now + self._ejection_s

    def _rest(self, now: float, rest_s: float, rules: RoutingConfig) -> None:
        self.well = False
        self._until = max(self._until, now + min(rest_s, rules.longest_ejection_s))

    def _pass(self, now: float) -> None:
        """What time alone changes."""
        if now < self._until or (self._ejected and self._probed):
            return
        self._ejected = False
        self.well = not self._on_trial


def worded(failure: ServerFailureError) -> str:
    """`timed out`, `status 503`: short, and nothing that callers should not know."""
    return f"status {failure.status}" if failure.status is not None else str(failure.kind)
