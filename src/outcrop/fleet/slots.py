"""How many calls one model server is given at once, and who is given the next."""

import sys
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

    def serve(self, slots: "Slots") -> bool:
        """The first leaves the line, with the slot; False when it has gone away unnoticed."""
        ...


class Slots:
    """The slots of one server. Nobody waits for one that it might take.

    Several lines may wait here. Of equal standing, they take turns by the weight of the accounts
    in them, so that it does not matter for how many other servers an account waits besides.
    """

    __slots__ = ("_held_back", "_lines", "_most", "_turns", "in_use")

    def __init__(self, most: int | None) -> None:
        """`most`: how many may be in use at once; None: no limit, and nobody ever waits."""
        self.in_use = 0
        """Above `most` for a while when that has become smaller."""
        self._most = _number(most)
        self._held_back = 0
        self._lines: list[Line] = []
        self._turns: dict[int, VirtualTime[Line]] = {}

    @property
    def most(self) -> int | None:
        return None if self._most == sys.maxsize else self._most

    @property
    def free(self) -> bool:
        """Whether `take` would succeed, for any standing."""
        return self.in_use < self._most - self._held_back

    def take(self, standing: int = Standing.DEFAULT) -> bool:
        """False when all are in use, or those that are not are held back from this standing.

        Nobody is overtaken: a slot that somebody waits for is never free.
        """
        if not self._has_room_for(standing):
            return False
        self.in_use += 1
        return True

    def give_back(self) -> None:
        """It goes to the first who waits, in this step."""
        if self.in_use < 1:
            raise RuntimeError("more slots given back than taken")
        self.in_use -= 1
        if self._lines:
            self._hand_on()

    def resize(self, most: int | None) -> None:
        """Calls in progress keep their slots; where there are too many, none is given."""
        self._most = _number(most)
        self._hand_on()

    def hold_back(self, number: int) -> None:
        """The last free slots, so many of them, are for PROVISIONED alone.

        However many it has in use: a few are enough for it to find one free when it comes, and
        others have all that it leaves idle but these.
        """
        self._held_back = number
        self._hand_on()

    def join(self, line: Line) -> None:
        """The line is told of slots from now on."""
        self._lines.append(line)

    def leave(self, line: Line) -> None:
        self._lines.remove(line)
        if line.standing in self._turns:
            self._turns[line.standing].forget(line)

    def _has_room_for(self, standing: int) -> bool:
        return self.in_use < (self._most - self._held_back if standing else self._most)

    def _hand_on(self) -> None:
        while (line := self._next_line()) is not None:
            turns = self._turns.setdefault(line.standing, VirtualTime())
            weight = line.weight
            if line.serve(self):
                turns.serve(line, weight)
                self.take(line.standing)

    def _next_line(self) -> Line | None:
        first: Line | None = None
        first_turn = (sys.maxsize, 0.0)
        for line in self._lines:
            if len(line) and line.standing <= first_turn[0] and self._has_room_for(line.standing):
                turn = (line.standing, self._start(line))
                if turn < first_turn:
                    first, first_turn = line, turn
        return first

    def _start(self, line: Line) -> float:
        turns = self._turns.get(line.standing)
        return 0.0 if turns is None else turns.start(line)


def _number(most: int | None) -> int:
    return sys.maxsize if most is None else most
