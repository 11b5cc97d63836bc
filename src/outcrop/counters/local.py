"""Counting within one process: nothing waits, nothing is shared."""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from outcrop.counters.limit import HELD_RETRY_S, Grant, Hold, Limit, Refused
from outcrop.counters.steady import Steady
from outcrop.wire.timestamps import Clock

_SWEEP_FROM = 1_024


class Settled(Struct, frozen=True):
    """Of one span, what was used for good at one time."""

    key: str
    span_s: int
    amount: int
    age_s: float


class LocalCounters:
    """`hold` completes without suspending."""

    def __init__(self, clock: Clock) -> None:
        """`clock` must not leap ahead (see Steady); set back, it frees nothing and stops nothing.

        Otherwise a leap ahead by a span would let the whole limit be granted again at once.
        """
        self._steady = Steady(clock)
        self._windows: dict[tuple[str, int], _Window] = {}  # by key and span
        self._held: dict[str, int] = {}
        self._open: set[int] = set()
        self._numbers = 0
        self._sweep_at = _SWEEP_FROM

    async def hold(self, holds: Sequence[Hold]) -> Grant | Refused:
        now = self._steady()
        refused = self._refusal(holds, now)
        if refused is not None:
            return refused
        for hold in holds:
            limit = hold.limit
            if limit.span_s:
                self._window(limit).add(now, hold.amount)
            else:
                self._held[limit.key] = self._held.get(limit.key, 0) + hold.amount
        self._numbers += 1
        self._open.add(self._numbers)
        return Grant(self._numbers, tuple(holds), now)

    def settle(self, grant: Grant, amounts: Mapping[str, int]) -> None:
        if grant.number not in self._open:
            return
        self._open.remove(grant.number)
        now = self._steady()
        for hold in grant.holds:
            if hold.limit.span_s:
                used = amounts.get(hold.limit.key, 0)
                self._window(hold.limit).settle(grant.at_s, now, held=hold.amount, used=used)
            else:
                self._give_back(hold)

    async def used(self, limits: Sequence[Limit]) -> Sequence[int]:
        now = self._steady()
        return [self._used(limit, now) for limit in limits]

    def settled(self) -> Iterator[Settled]:
        """All that counts in any span: what was used, once nothing is held any more."""
        now = self._steady()
        for (key, span_s), window in self._windows.items():
            for age_s, amount in window.contents(now):
                yield Settled(key, span_s, amount, age_s)

    def _refusal(self, holds: Sequence[Hold], now: float) -> Refused | None:
        worst: Refused | None = None
        for hold in holds:
            wait_s = self._wait_s(hold, now)
            if wait_s == 0:
                continue
            refused = Refused(hold.limit, wait_s)
            if wait_s is None:
                return refused
            if worst is None or wait_s > (worst.retry_after_s or 0):
                worst = refused
        return worst

    def _wait_s(self, hold: Hold, now: float) -> float | None:
        """0: there is room. None: there never will be."""
        limit = hold.limit
        if hold.amount > limit.most:
            return None
        if not limit.span_s:
            room = limit.most - self._held.get(limit.key, 0)
            return 0 if hold.amount <= room else HELD_RETRY_S
        window = self._windows.get((limit.key, limit.span_s))
        return 0 if window is None else window.wait_s(now, hold.amount, limit.most)

    def _used(self, limit: Limit, now: float) -> int:
        if not limit.span_s:
            return self._held.get(limit.key, 0)
        window = self._windows.get((limit.key, limit.span_s))
        return 0 if window is None else window.total_at(now)

    def _give_back(self, hold: Hold) -> None:
        key = hold.limit.key
        left = self._held.pop(key, 0) - hold.amount
        if left > 0:
            self._held[key] = left

    def _window(self, limit: Limit) -> "_Window":
        window = self._windows.get((limit.key, limit.span_s))
        if window is None:
            if len(self._windows) >= self._sweep_at:
                self._sweep()
            window = self._windows[limit.key, limit.span_s] = _Window(limit)
        return window

    def _sweep(self) -> None:
        """Drops what counts nothing; twice as many keys as are left bring the next sweep."""
        now = self._steady()
        self._windows = {of: window for of, window in self._windows.items() if window.total_at(now)}
        self._sweep_at = max(_SWEEP_FROM, 2 * len(self._windows))


class _Window:
    """A span that slides by buckets, oldest first; empty ones are not kept."""

    __slots__ = ("_amounts", "_keep_s", "_numbers", "_step_s", "_total")

    def __init__(self, limit: Limit) -> None:
        self._step_s = limit.step_s
        # A bucket's first moment may be its grant's last: one more, and the span is whole.
        self._keep_s = (limit.buckets + 1) * limit.step_s
        self._numbers: deque[int] = deque()
        self._amounts: deque[int] = deque()
        self._total = 0

    def add(self, now: float, amount: int) -> None:
        self._total += amount
        number = int(now // self._step_s)
        if self._numbers and self._numbers[-1] == number:
            self._amounts[-1] += amount
        else:
            self._numbers.append(number)
            self._amounts.append(amount)

    def settle(self, at: float, now: float, *, held: int, used: int) -> None:
        """What was not used is given back where it was held, if that still counts.

        What was used beyond it counts from now on, room or not.
        """
        self._drop_old(now)
        if used > held:
            self.add(now, used - held)
            return
        number = int(at // self._step_s)
        index = bisect_left(self._numbers, number)
        if index < len(self._numbers) and self._numbers[index] == number:
            given_back = min(held - used, self._amounts[index])
            self._amounts[index] -= given_back
            self._total -= given_back

    def total_at(self, now: float) -> int:
        self._drop_old(now)
        return self._total

    def wait_s(self, now: float, amount: int, most: int) -> float:
        """0: there is room."""
        missing = self.total_at(now) + amount - most
        if missing <= 0:
            return 0
        for number, leaves in zip(self._numbers, self._amounts, strict=True):
            missing -= leaves
            if missing <= 0:
                return number * self._step_s + self._keep_s - now
        raise AssertionError("a window's total is the sum of its buckets")

    def contents(self, now: float) -> Iterator[tuple[float, int]]:
        """Ages in seconds, and what is that old."""
        self._drop_old(now)
        for number, amount in zip(self._numbers, self._amounts, strict=True):
            if amount:
                yield max(0.0, now - number * self._step_s), amount

    def _drop_old(self, now: float) -> None:
        oldest = int((now - self._keep_s) // self._step_s)
        while self._numbers and self._numbers[0] <= oldest:
            self._numbers.popleft()
            self._total -= self._amounts.popleft()
