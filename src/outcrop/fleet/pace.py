"""How quickly a line moves: what the wait of a newcomer is estimated from. Pure."""

# What is known of a line in which nobody has stood for so long is not true any more.
_FORGOTTEN_AFTER_S = 60.0


class Pace:
    """Counts those served, over the time that somebody stood in the line.

    Other lines that are served first, servers that hang and servers that come back are all in it,
    because it is measured, not calculated. Not so the longest halt: when another worker that had
    all slots has died, nobody is served for some seconds, and then everybody. Halts that come again
    and again, as where slots go round among workers, are in it. Moments are those of one clock, in
    seconds.
    """

    def __init__(self) -> None:
        self._slots = 1
        self._served = 0.0
        self._seconds = 0.0
        self._as_of: float | None = None
        self._standing = False
        self._halted = False
        self._halt_s = 0.0
        """Of this halt."""
        self._longest_halt_s = 0.0
        """Of those before it; left out of `_seconds`."""

    def begins(self, now: float, *, slots: int) -> None:
        """Somebody stands in the line, which was empty, for one of so many slots."""
        self._slots = max(slots, 1)
        if self._as_of is None or now - self._as_of > _FORGOTTEN_AFTER_S:
            self._served = self._seconds = self._longest_halt_s = 0.0
        self._as_of = now
        self._standing = True

    def moves(self, now: float) -> None:
        """The first was served."""
        self._pass(now)
        self._served += 1
        if self._served >= 4 * max(self._slots, 8):
            # The recent counts for more.
            self._served /= 2
            self._seconds /= 2
            self._longest_halt_s /= 2

    def ends(self, now: float) -> None:
        """Nobody stands in it any more."""
        self._pass(now)
        self._standing = False

    def halts(self, now: float) -> None:
        """From now on nobody can be served: other workers have all slots."""
        self._pass(now)
        self._halted = True

    def goes_on(self, now: float) -> None:
        """There is a slot again."""
        self._pass(now)
        self._halted = False
        self._seconds += min(self._halt_s, self._longest_halt_s)
        self._longest_halt_s = max(self._halt_s, self._longest_halt_s)
        self._halt_s = 0.0

    def estimate_s(self, position: float, now: float) -> float:
        """Until the one at `position` is served: 1 is the first.

        Until as many were served as there are slots, all calls in progress are taken to end now:
        short of knowledge, the estimate is too small, and nobody is refused for it.
        """
        self._pass(now)
        return position * self._seconds / max(self._served, self._slots)

    def _pass(self, now: float) -> None:
        if not self._standing or self._as_of is None:
            return
        passed_s = max(0.0, now - self._as_of)
        self._as_of = now
        if self._halted:
            self._halt_s += passed_s
        else:
            self._seconds += passed_s
