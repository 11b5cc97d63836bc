"""How many calls one model server is given at once, and who is given the next."""

import sys
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from outcrop.fleet.fair_queue import VirtualTime


class Standing(IntEnum):
    """Whom a slot is for first: a smaller one is always served before a greater."""

    PROVISIONED = 0
    """Provisioned throughput, within its units."""
    PRIORITY = 1
    DEFAULT = 2
    FLEX = 3


class Line(Protocol):
    """Those of one standing who wait for one of the same servers."""

    @property
    def standing(self) -> int: ...

    @property
    def weight(self) -> float:
        """Of the accounts that wait in it."""
        ...

    def __len__(self) -> int: ...

    def accepts(self, slots: "Slots", /) -> bool:
        """Whether the server should be asked now."""
        ...

    def resized(self) -> None:
        """One of its servers has another number of slots now; what is free is offered next."""
        ...

    def serve(self, slots: "Slots") -> bool:
        """The first leaves the line, with the slot; False when it has gone away unnoticed."""
        ...


class Slots:
    """The slots of one server. Nobody waits for one that it might take.

    Several lines may wait here. Of equal standing, they take turns by the weight of the accounts
    in them, so that it does not matter for how many other servers an account waits besides.
    """

    __slots__ = ("_lines", "_most", "_turns", "freed", "in_use", "peak", "short", "still_ours")

    def __init__(self, most: int | None) -> None:
        """`most`: how many may be in use at once; None: no limit, and nobody ever waits."""
        self.in_use = 0
        """Above `most` for a while when that has become smaller."""
        self.peak = 0
        """The most in use at once since somebody set it back."""
        self.freed: Callable[[], object] = _nobody_looks
        """Called when one may have become free that nobody waits for."""
        self.short: Callable[[], object] | None = None
        """Called when somebody has begun to wait, where there may be more slots elsewhere."""
        self.still_ours: Callable[[], bool] | None = None
        """Asked before each is used, where it may come to belong to somebody else unheard."""
        self._most = _number(most)
        self._lines: list[Line] = []
        self._turns: dict[int, VirtualTime[Line]] = {}

    @property
    def most(self) -> int | None:
        return None if self._most == sys.maxsize else self._most

    @property
    def free(self) -> bool:
        """Whether `take` would succeed."""
        return self.in_use < self._most and (self.still_ours is None or self.still_ours())

    @property
    def waited_for(self) -> bool:
        return any(map(len, self._lines))

    def take(self) -> bool:
        """False when all are in use.

        Nobody is overtaken: a slot that somebody waits for is never free.
        """
        if self.in_use >= self._most or not (self.still_ours is None or self.still_ours()):
            return False
        self._use()
        return True

    def give_back(self) -> None:
        """It goes to the first who waits, in this step."""
        if self.in_use < 1:
            raise RuntimeError("more slots given back than taken")
        self.in_use -= 1
        self.offer()

    def resize(self, most: int | None) -> None:
        """Calls in progress keep their slots; where there are too many, none is given."""
        self._most = _number(most)
        for line in self._lines:
            line.resized()
        self.offer()

    def offer(self) -> None:
        """What is free goes to those who wait, as far as they accept it."""
        if self._lines:
            self._hand_on()
        if self.in_use < self._most:
            self.freed()

    def join(self, line: Line) -> None:
        """The line is told of slots from now on."""
        self._lines.append(line)

    def leave(self, line: Line) -> None:
        self._lines.remove(line)
        if line.standing in self._turns:
            self._turns[line.standing].forget(line)

    def _hand_on(self) -> None:
        while self.free and (line := self._next_line()) is not None:
            turns = self._turns.setdefault(line.standing, VirtualTime())
            weight = line.weight
            if line.serve(self):
                turns.serve(line, weight)
                self._use()

    def _use(self) -> None:
        self.in_use += 1
        self.peak = max(self.peak, self.in_use)

    def _next_line(self) -> Line | None:
        first: Line | None = None
        first_turn = (sys.maxsize, 0.0)
        for line in self._lines:
            if len(line) and line.standing <= first_turn[0] and line.accepts(self):
                turn = (line.standing, self._start(line))
                if turn < first_turn:
                    first, first_turn = line, turn
        return first

    def _start(self, line: Line) -> float:
        turns = self._turns.get(line.standing)
        return 0.0 if turns is None else turns.start(line)


def _number(most: int | None) -> int:
    return sys.maxsize if most is None else most


def _nobody_looks() -> None:
    pass
