"""Where calls wait for a slot of any of several servers: bounded, fair, and not in vain."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from enum import StrEnum

from msgspec import Struct

from outcrop.fleet.fair_queue import FairQueue
from outcrop.fleet.pace import Pace
from outcrop.fleet.slots import Slots

# Who is refused before anything is known of the pace, or for long, is told to come back after this.
_LEAST_RETRY_AFTER_S = 1.0
_MOST_RETRY_AFTER_S = 60.0
# Farther apart, sums of weights would lose the small ones.
_LEAST_WEIGHT, _MOST_WEIGHT = 0.001, 1_000.0
# Lines are kept for the next who waits for the same servers; with so many, empty ones are not.
_KEPT_LINES = 64
# How many slots there are changes now and then, and only a first guess of the pace asks for it.
_COUNTED_AGAIN_S = 1.0


class Rank(Struct, frozen=True, kw_only=True):
    """What decides when a call is served."""

    standing: int
    """As in `Standing`: the smaller is always served first."""
    account_id: str
    """Within one standing, accounts take turns."""
    weight: float = 1.0
    """Of the account's turns, from 0.001 to 1,000: 2.0 has two where 1.0 has one."""
    deadline: float
    """By the event loop's time: who waits until then waits no longer."""

    def __post_init__(self) -> None:
        if not _LEAST_WEIGHT <= self.weight <= _MOST_WEIGHT:
            raise ValueError(f"not a weight: {self.weight}")


class NoSlotReason(StrEnum):
    FULL = "too many calls wait already"
    EVICTED = "its place in the queue went to another call"
    TOO_SLOW = "the wait would be longer than the call may wait"
    TOO_LATE = "no slot became free in time"
    CHANGED = "the servers it waited for are not the same any more"


class NoSlotError(Exception):
    """A call is given no slot."""

    def __init__(self, reason: NoSlotReason, retry_after_s: float) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.retry_after_s = retry_after_s
        """When the same call may have better luck: by the pace of late."""


class Servers:
    """Those that a call waits for: one of these for all calls that wait for the same."""

    __slots__ = ("accepts", "slots")

    def __init__(
        self, slots: Iterable[Slots], accepts: Callable[[Slots], bool] | None = None
    ) -> None:
        """`accepts`: whether one of them should be asked now; None: always."""
        self.slots = tuple(slots)
        self.accepts = accepts or _always


class WaitingRoom:
    """All of a fleet who wait, each until it is served, evicted or too late.

    Waiting costs O(log accounts), however many servers there are; the first ever who waits for
    just these servers looks at each once. Giving back a slot looks at each line of its server:
    there is one for each standing and each `Servers`, not for each call. When all places are
    taken, a newcomer costs a look at each account that waits.
    """

    def __init__(
        self, *, most_waiting: int = 1_000, most_of_one_standing: int | None = None
    ) -> None:
        """`most_of_one_standing`: None, as many as may wait in all."""
        self._places = _Places(most_waiting, most_of_one_standing or most_waiting)
        self._lines: dict[tuple[int, Servers], _Line] = {}

    @property
    def waiting(self) -> int:
        return len(self._places)

    async def wait(self, servers: Servers, rank: Rank) -> Slots:
        """One of the servers, with a slot of it taken. For when none that is accepted is free.

        Raises NoSlotError: at once when the queue is full of calls that are no worse, or the
        deadline cannot be met; later when a better call takes the place, the deadline has
        passed, or the servers are not the same any more.
        """
        waiter = self._queued(self._line(rank.standing, servers), rank)
        return await self._served(waiter)

    def change(self) -> None:
        """There are other servers now: all who wait are refused, in their order."""
        lines, self._lines = self._lines, {}
        for line in sorted(lines.values(), key=lambda line: line.standing):
            line.send_away()
            line.dissolve()

    def _line(self, standing: int, servers: Servers) -> "_Line":
        line = self._lines.get((standing, servers))
        if line is None:
            self._tidy()
            line = self._lines[standing, servers] = _Line(standing, servers, self._places)
        return line

    def _tidy(self) -> None:
        if len(self._lines) < _KEPT_LINES:
            return
        for key, line in tuple(self._lines.items()):
            if not line:
                line.dissolve()
                del self._lines[key]

    def _queued(self, line: "_Line", rank: Rank) -> "_Waiter":
        loop = asyncio.get_running_loop()
        now = loop.time()
        estimate_s = line.estimate_s(rank, now)
        if rank.deadline <= now or now + estimate_s > rank.deadline:
            retry_after_s = _retry_after_s(now + estimate_s - rank.deadline)
            raise NoSlotError(NoSlotReason.TOO_SLOW, retry_after_s)
        if self._places.taken(rank.standing):
            victim = self._places.worse_than(rank)
            if victim is None:
                raise NoSlotError(NoSlotReason.FULL, _retry_after_s(estimate_s))
            victim.refuse(NoSlotReason.EVICTED)
        waiter = _Waiter(rank, line, loop.create_future())
        line.add(waiter, now)
        return waiter

    async def _served(self, waiter: "_Waiter") -> Slots:
        loop = asyncio.get_running_loop()
        timer = loop.call_at(waiter.rank.deadline, waiter.refuse, NoSlotReason.TOO_LATE)
        try:
            return await waiter.slots
        except BaseException:
            waiter.give_up()
            raise
        finally:
            timer.cancel()


class _Waiter:
    """A call that waits: what it is given, or refused, is in `slots`."""

    __slots__ = ("line", "rank", "slots")

    def __init__(self, rank: Rank, line: "_Line", slots: asyncio.Future[Slots]) -> None:
        self.rank = rank
        self.line = line
        self.slots = slots

    def refuse(self, reason: NoSlotReason) -> None:
        now = self.slots.get_loop().time()
        self.line.remove(self, now)
        if not self.slots.done():
            retry_after_s = _retry_after_s(self.line.estimate_s(self.rank, now))
            self.slots.set_exception(NoSlotError(reason, retry_after_s))

    def give_up(self) -> None:
        """The caller has gone. Given a slot in the same step, it was not told: the next gets it."""
        if self.slots.cancel() or self.slots.cancelled():
            self.line.remove(self, self.slots.get_loop().time())
        elif self.slots.exception() is None:
            self.slots.result().give_back()


class _Line:
    """Those of one standing who wait for one of the same servers."""

    def __init__(self, standing: int, servers: Servers, places: "_Places") -> None:
        self.standing = standing
        self.accepts = servers.accepts
        self._servers = servers
        self._places = places
        self._queue: FairQueue[_Waiter] = FairQueue()
        self._pace = Pace()
        self._number = 0
        self._count_at = 0.0
        self._time = asyncio.get_running_loop().time
        for slots in servers.slots:
            slots.join(self)
        self.resized()

    @property
    def weight(self) -> float:
        return self._queue.weight

    def __len__(self) -> int:
        return len(self._queue)

    def estimate_s(self, rank: Rank, now: float) -> float:
        """How long a newcomer would wait. When the next slot is free, nobody knows."""
        position = self._queue.position(rank.account_id, rank.weight)
        return self._pace.estimate_s(position, now) if position > 1 else 0.0

    def add(self, waiter: _Waiter, now: float) -> None:
        if not self._queue:
            self._pace.begins(now, slots=self._slots(now))
        self._queue.add(waiter, waiter.rank.account_id, waiter.rank.weight)
        self._places.add(waiter)
        # One is enough: whoever gets more slots for it looks who else is waited for.
        short = self._servers.slots[0].short
        if short is not None:
            short()

    def remove(self, waiter: _Waiter, now: float) -> None:
        """It may have left already."""
        if self._places.remove(waiter):
            self._queue.remove(waiter, waiter.rank.account_id)
            self._stop_if_empty(now)

    def resized(self) -> None:
        now = self._time()
        if any(slots.most != 0 for slots in self._servers.slots):
            self._pace.goes_on(now)
        else:
            self._pace.halts(now)

    def serve(self, slots: Slots) -> bool:
        waiter = self._queue.first()
        now = waiter.slots.get_loop().time()
        if waiter.slots.done():
            self.remove(waiter, now)
            return False
        self._queue.pop()
        self._places.remove(waiter)
        self._pace.moves(now)
        self._stop_if_empty(now)
        waiter.slots.set_result(slots)
        return True

    def send_away(self) -> None:
        while self._queue:
            self._queue.first().refuse(NoSlotReason.CHANGED)

    def dissolve(self) -> None:
        for slots in self._servers.slots:
            slots.leave(self)

    def _slots(self, now: float) -> int:
        if now >= self._count_at:
            self._count_at = now + _COUNTED_AGAIN_S
            self._number = sum(slots.most or 0 for slots in self._servers.slots)
        return self._number

    def _stop_if_empty(self, now: float) -> None:
        if not self._queue:
            self._pace.ends(now)


class _Places:
    """Who waits anywhere, by standing and account, and who makes room when all is full."""

    def __init__(self, most: int, most_of_one_standing: int) -> None:
        self._most = most
        self._most_of_one_standing = most_of_one_standing
        self._standings: dict[int, dict[str, OrderedDict[_Waiter, None]]] = {}
        self._numbers: dict[int, int] = {}

    def __len__(self) -> int:
        return sum(self._numbers.values())

    def taken(self, standing: int) -> bool:
        """Whether a newcomer has to take the place of somebody."""
        return len(self) >= self._most or self._is_full(standing)

    def worse_than(self, rank: Rank) -> _Waiter | None:
        """Who makes room: the newest of the account that has most places for its weight.

        Of the worst standing, if that is worse than the newcomer's; else of the newcomer's own,
        if the other account keeps no fewer than the newcomer's comes to have: one account's flood
        does not keep others out.
        """
        standing = max((s for s, number in self._numbers.items() if number), default=-1)
        if self._is_full(rank.standing) or standing < rank.standing:
            standing = rank.standing
        accounts = self._standings.get(standing, {})
        if not accounts:
            return None
        crowd = max(accounts.values(), key=_crowding)
        newest = next(reversed(crowd))
        if standing == rank.standing:
            own = len(accounts.get(rank.account_id, ())) + 1
            if (len(crowd) - 1) / newest.rank.weight < own / rank.weight:
                return None
        return newest

    def add(self, waiter: _Waiter) -> None:
        rank = waiter.rank
        accounts = self._standings.setdefault(rank.standing, {})
        accounts.setdefault(rank.account_id, OrderedDict())[waiter] = None
        self._numbers[rank.standing] = self._numbers.get(rank.standing, 0) + 1

    def remove(self, waiter: _Waiter) -> bool:
        """False if it has none."""
        rank = waiter.rank
        accounts = self._standings[rank.standing]
        crowd = accounts.get(rank.account_id)
        if crowd is None or waiter not in crowd:
            return False
        del crowd[waiter]
        if not crowd:
            del accounts[rank.account_id]
        self._numbers[rank.standing] -= 1
        return True

    def _is_full(self, standing: int) -> bool:
        return self._numbers.get(standing, 0) >= self._most_of_one_standing


def _always(_: Slots) -> bool:
    return True


def _crowding(crowd: OrderedDict[_Waiter, None]) -> float:
    return len(crowd) / next(reversed(crowd)).rank.weight


def _retry_after_s(estimate_s: float) -> float:
    return min(max(estimate_s, _LEAST_RETRY_AFTER_S), _MOST_RETRY_AFTER_S)
