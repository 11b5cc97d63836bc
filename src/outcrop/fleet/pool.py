"""The servers among which a request chooses freely: who may be asked now, found without a search.

A server that cannot be asked is set aside when it is met, and put back when it has changed, or when
its time has come. So a choice costs the same among ten servers and among a thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from random import random

from msgspec import Struct

from outcrop.fleet.capabilities import Capabilities
from outcrop.fleet.model_server import Answering
from outcrop.fleet.server_state import Latency, ServerState


class Candidate(Struct, frozen=True):
    """A server that may answer, and what to ask it for."""

    server: Answering
    dialect: str
    served_as: str
    region: str | None
    capabilities: Capabilities = Capabilities()


class Kind(Struct, frozen=True):
    """What decides whether a server can do what is asked."""

    dialect: str
    capabilities: Capabilities


class Seat(Struct, frozen=True, eq=False):
    """A candidate in one group."""

    candidate: Candidate
    state: ServerState
    latency: Latency
    peers: Latency
    """Of the whole group."""

    @property
    def load(self) -> float:
        """Requests it would have, by its weight."""
        return (self.state.in_flight + 1) / self.state.weight

    def is_better_than(self, other: Seat, now: float) -> bool:
        """By load, and by pace where both are known.

        One on trial is: it is asked one thing at a time, and comes back by nothing else.
        """
        if not self.state.health.well or not other.state.health.well:
            return other.state.health.well
        mine, others = self.load, other.load
        if self.latency.known(now) and other.latency.known(now):
            return mine * self.latency.typical_s < others * other.latency.typical_s
        return mine < others


class Group:
    """The servers of a pool that are of one kind."""

    __slots__ = ("_aside", "_by_name", "_numbers", "_ready", "_returning", "kind", "past", "seats")

    def __init__(self, kind: Kind, candidates: Iterable[Candidate]) -> None:
        peers = Latency()
        self.kind = kind
        self.past = False
        """Whether the fleet has changed since: who is not served at once asks it again."""
        self.seats = tuple(_seat(candidate, peers) for candidate in candidates)
        self._by_name = {seat.state.name: seat for seat in self.seats}
        self._ready = list(self.seats)
        self._aside: set[ServerState] = set()
        self._returning: list[tuple[float, int, ServerState]] = []
        self._numbers = count()

    def __len__(self) -> int:
        """How many are believed to be ready."""
        return len(self._ready)

    def draw(self, now: float, but_for: Collection[Seat]) -> Seat | None:
        """Any one that may be asked now."""
        if self._returning:
            self._take_back(now)
        ready = self._ready
        while ready:
            at = int(random() * len(ready)) if len(ready) > 1 else 0  # noqa: S311 - it spreads load
            seat = ready[at]
            if not seat.state.admits(now):
                self._set_aside(at, now)
            elif seat in but_for:
                return self._search(now, but_for)
            else:
                return seat
        return None

    def seat(self, name: str) -> Seat | None:
        return self._by_name.get(name)

    def look_again(self, now: float) -> None:
        """Those whose time has come count as ready."""
        self._take_back(now)

    def put_back(self, state: ServerState) -> None:
        if state in self._aside:
            self._aside.discard(state)
            self._ready.append(self._by_name[state.name])

    def _search(self, now: float, but_for: Collection[Seat]) -> Seat | None:
        """Only after a failure, or in a group of a few, are those who are drawn not wanted."""
        ready = self._ready
        start = int(random() * len(ready))  # noqa: S311 - likewise
        turned = (ready[(start + step) % len(ready)] for step in range(len(ready)))
        return next((x for x in turned if x not in but_for and x.state.admits(now)), None)

    def _set_aside(self, at: int, now: float) -> None:
        state = self._ready[at].state
        self._ready[at] = self._ready[-1]
        self._ready.pop()
        self._aside.add(state)
        state.set_aside(self)
        until = state.health.until
        if now < until < float("inf"):
            heappush(self._returning, (until, next(self._numbers), state))

    def _take_back(self, now: float) -> None:
        while self._returning and self._returning[0][0] <= now:
            self.put_back(heappop(self._returning)[2])


class Pool(Struct, frozen=True, eq=False):
    """Those that are equally near. Never empty."""

    groups: tuple[Group, ...]
    region: str | None = None
    """Where they are; None: in several Regions."""

    @classmethod
    def of(cls, candidates: Iterable[Candidate], region: str | None = None) -> Pool:
        by_kind: dict[Kind, list[Candidate]] = {}
        for candidate in candidates:
            kind = Kind(candidate.dialect, candidate.capabilities)
            by_kind.setdefault(kind, []).append(candidate)
        return cls(tuple(Group(kind, found) for kind, found in by_kind.items()), region)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        return tuple(seat.candidate for seat in self.seats())

    def seats(self) -> Iterator[Seat]:
        for group in self.groups:
            yield from group.seats

    def seat(self, name: str) -> Seat | None:
        """The server of that name."""
        return next(filter(None, (group.seat(name) for group in self.groups)), None)

    def only(self, able: Callable[[Kind], bool]) -> Pool | None:
        """Those of the kinds that are able; None if there are none."""
        groups = tuple(group for group in self.groups if able(group.kind))
        if len(groups) == len(self.groups):
            return self
        return Pool(groups, self.region) if groups else None

    def pick(self, now: float, tried: Sequence[Seat]) -> Seat | None:
        """The better of two that are drawn; None if nobody may be asked now."""
        first = self._draw(now, tried)
        if first is None or (len(self.groups) == 1 and len(self.groups[0].seats) == 1):
            return first
        second = self._draw(now, (*tried, first))
        if second is None or not second.is_better_than(first, now):
            return first
        return second

    def _draw(self, now: float, but_for: Sequence[Seat]) -> Seat | None:
        if len(self.groups) == 1:
            return self.groups[0].draw(now, but_for)
        for group in self.groups:
            group.look_again(now)
        at = random() * sum(map(len, self.groups))  # noqa: S311 - it spreads load
        for group in self.groups:
            at -= len(group)
            if at < 0 and (seat := group.draw(now, but_for)) is not None:
                return seat
        return next(filter(None, (group.draw(now, but_for) for group in self.groups)), None)


def _seat(candidate: Candidate, peers: Latency) -> Seat:
    state = candidate.server.state
    return Seat(candidate, state, state.latency(candidate.served_as), peers)
