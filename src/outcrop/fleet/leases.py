"""Slots that workers share: each leases some of a server's, and they move to where they are wanted.

A lease is held in Valkey as a concurrent request would be, so all workers together never hold more
than a server's `max_concurrency`, and a worker that dies gives its leases back. A call takes a slot
of those its worker has leased, and asks nobody.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import perf_counter
from typing import Protocol, TypeAlias

from msgspec import Struct

from outcrop.counters.limit import Counters, Grant, Hold, Limit
from outcrop.counters.shared import SharedFacts
from outcrop.fleet.slots import Slots
from outcrop.wire.errors import ServiceUnavailableException

Seconds: TypeAlias = Callable[[], float]
"""Of a clock that only goes on."""

# How often a worker looks for what others wish, and asks again for what it was refused.
_LOOK_S = 0.1
_GATHER_S = 0.002
# How long a wish is believed: whoever still waits says so again before.
_WISH_S = 1.0
_WISH_AGAIN_S = 0.4
# What was in use so lately is kept.
_KEPT_S = 0.5
# A worker that Valkey has not heard of for 3 s is dead, and others have its leases: sooner.
_LEASES_END_S = 2.5
# After Valkey has lost its memory, every worker has said by then what it holds.
_ALL_TOLD_S = 1.5


class SharedCounters(Counters, Protocol):
    """Counters that several workers share, and what a worker knows of the others."""

    @property
    def facts(self) -> SharedFacts: ...

    @property
    def worker(self) -> str:
        """Its name, unlike any other's."""
        ...

    @property
    def workers(self) -> int:
        """How many there were when they were counted last."""
        ...

    @property
    def joined_at(self) -> float | None:
        """Since when, by the event loop, what this worker holds is known there; None: it is not."""
        ...

    @property
    def heard_at(self) -> float:
        """When, by the event loop, there was an answer last."""
        ...


class Sharing(Protocol):
    """How the slots of a server are divided among workers."""

    def follow(self, servers: Mapping[str, tuple[Slots, int]]) -> None:
        """From here on it is these, by name: each with its slots here, and how many in all."""
        ...


class Split(Struct, frozen=True):
    """Without anybody in between: each worker has the same number, rounded down."""

    workers: int = 1

    def follow(self, servers: Mapping[str, tuple[Slots, int]]) -> None:
        for slots, most in servers.values():
            slots.resize(most // self.workers)


class Demand(Struct, frozen=True, kw_only=True):
    """One server's slots, as one worker sees them."""

    most: int
    """Of all workers."""
    leased: int
    in_use: int
    peak: int
    """In use lately, at once."""
    waiting: bool
    workers: int
    others: int
    """Workers, but for this one, that wish for more."""

    @property
    def fair(self) -> int:
        """A share among those who wish for some; while nobody does, among all.

        More workers than slots: nobody keeps one, they go round.
        """
        if not self.others:
            return self.most // self.workers
        sharers = self.others + 1
        return -(-self.most // sharers) if self.most >= sharers else 0

    @property
    def kept(self) -> int:
        """How many of those leased may be used from now on."""
        used = self.leased if self.waiting else self.peak + bool(self.peak)
        if self.others:
            return min(self.leased, self.fair, used)
        return min(self.leased, max(self.fair, used, 1))

    @property
    def asked(self) -> int:
        """How many more to ask for."""
        some = min(max(1, self.most // 4), self.most - self.leased)
        if self.others:
            return max(0, min(some, max(self.fair, 1) - self.leased)) if self.waiting else 0
        if self.waiting or (self.peak and self.in_use >= self.leased):
            return some
        return max(0, self.fair - self.leased)


class Leases:
    def __init__(
        self,
        counters: SharedCounters,
        *,
        workers: int,
        share_when_lost: bool,
        seconds: Seconds = perf_counter,
    ) -> None:
        """`workers`: how many there will be at least.

        `share_when_lost`: whether each has its fair share while nobody can be asked. Otherwise it
        has none then: the others may take it for dead. `seconds`: a clock that does not stand still
        within a turn of the event loop, as the loop's own does.
        """
        self._workers_here = workers
        self._counters = counters
        self._share_when_lost = share_when_lost
        self._shared: dict[Slots, _Shared] = {}
        self._short = asyncio.Event()
        self._unsure = False
        self._first_joined_at = self._joined_at = counters.joined_at
        self._seconds = seconds
        self._looked_at = seconds()
        self._peaks_until = 0.0

    def follow(self, servers: Mapping[str, tuple[Slots, int]]) -> None:
        before, self._shared = self._shared, {}
        for name, (slots, most) in servers.items():
            shared = before.pop(slots, None) or _Shared(name, slots)
            shared.most = most
            self._shared[slots] = shared
            slots.short = self._short.set
            slots.still_ours = self._still_ours
            slots.resize(min(len(shared.leases), most))
        for slots, shared in before.items():
            # Its calls in progress keep their leases.
            shared.most = 0
            slots.short = None
            self._shared[slots] = shared
        self._short.set()

    async def keep(self) -> None:
        """Until it is cancelled, leases go where they are wanted."""
        while True:
            await self.look()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._short.wait()
                # Many may begin to wait at once.
                await asyncio.sleep(_GATHER_S)
            self._short.clear()

    async def look(self) -> None:
        """Gives and takes once."""
        now = asyncio.get_running_loop().time()
        hung, self._looked_at = not self._still_ours(), self._seconds()
        unheard = now > self._counters.heard_at + _LEASES_END_S
        if hung or unheard:
            self._lapse()
        joined_at = self._counters.joined_at
        if unheard or joined_at is None:
            return
        if (self._unsure or joined_at != self._joined_at) and not await self._made_sure(joined_at):
            return
        wishes = self._wishes()
        demands = {one: one.demand(self._workers, wishes[one.name]) for one in self._all()}
        for shared, demand in demands.items():
            self._give(shared, demand)
        self._forget_peaks(now)
        if joined_at == self._first_joined_at or now >= joined_at + _ALL_TOLD_S:
            async with asyncio.TaskGroup() as taking:
                for shared, demand in demands.items():
                    taking.create_task(self._take(shared, demand, joined_at))

    def _still_ours(self) -> bool:
        """False in a worker that hung until now: before it has looked, calls come to their end."""
        return self._seconds() <= self._looked_at + _LEASES_END_S

    @property
    def _workers(self) -> int:
        return max(self._workers_here, self._counters.workers)

    def _all(self) -> "tuple[_Shared, ...]":
        return tuple(self._shared.values())

    def _lapse(self) -> None:
        """Nobody was asked for so long that others may have what was leased."""
        self._unsure = True
        for shared in self._all():
            if shared.most:
                most = shared.most // self._workers if self._share_when_lost else 0
                shared.slots.resize(most)

    async def _made_sure(self, joined_at: float) -> bool:
        """What others have leased while this worker seemed dead is theirs."""
        self._unsure = True
        all_shared = self._all()
        try:
            used = await self._counters.used([one.limit for one in all_shared])
        except ServiceUnavailableException:
            return False
        if self._counters.joined_at != joined_at:
            return False
        for shared, leased in zip(all_shared, used, strict=True):
            if shared.most:
                for _ in range(min(len(shared.leases), leased - shared.most)):
                    self._counters.settle(shared.leases.pop(), {})
                shared.slots.resize(min(len(shared.leases), shared.most))
        self._unsure, self._joined_at = False, joined_at
        return True

    def _wishes(self) -> Counter[str]:
        """How many others wish for more, by server."""
        keys = (key.split("/") for key in self._counters.facts.get_all("slots/"))
        return Counter(name for _, name, worker in keys if worker != self._counters.worker)

    def _forget_peaks(self, now: float) -> None:
        if now < self._peaks_until:
            return
        self._peaks_until = now + _KEPT_S
        for slots, shared in self._shared.items():
            shared.peak_before, slots.peak = slots.peak, slots.in_use

    def _give(self, shared: "_Shared", demand: Demand) -> None:
        """Fewer may be used first, and only then others are told that they may use them."""
        kept = demand.kept if shared.most else 0
        if shared.most and shared.slots.most != kept:
            shared.slots.resize(kept)
        while len(shared.leases) > max(kept, shared.slots.in_use):
            self._counters.settle(shared.leases.pop(), {})
        if not shared.most and not shared.leases:
            del self._shared[shared.slots]

    async def _take(self, shared: "_Shared", demand: Demand, joined_at: float) -> None:
        number = demand.asked if shared.most else 0
        now = asyncio.get_running_loop().time()
        if number < 1 or now < shared.ask_again_at:
            return
        one = Hold(shared.limit, 1)
        async with asyncio.TaskGroup() as asking:
            answers = [asking.create_task(self._lease(one)) for _ in range(number)]
        leases = [lease for answer in answers if (lease := answer.result()) is not None]
        if self._counters.joined_at != joined_at or self._shared.get(shared.slots) is not shared:
            # Granted by a Valkey that does not know what others hold, or for nobody any more.
            for lease in leases:
                self._counters.settle(lease, {})
            return
        shared.leases += leases
        if leases:
            shared.slots.resize(min(len(shared.leases), shared.most))
        if len(leases) < number:
            shared.ask_again_at = now + (_LOOK_S if demand.waiting else _KEPT_S)
            if demand.waiting:
                self._wish(shared, now)

    async def _lease(self, one: Hold) -> Grant | None:
        try:
            granted = await self._counters.hold([one])
        except ServiceUnavailableException:
            return None
        return granted if isinstance(granted, Grant) else None

    def _wish(self, shared: "_Shared", now: float) -> None:
        if now >= shared.wish_again_at:
            shared.wish_again_at = now + _WISH_AGAIN_S
            key = f"slots/{shared.name}/{self._counters.worker}"
            self._counters.facts.put(key, "", _WISH_S)


class _Shared:
    """One server, and what this worker has leased of it."""

    def __init__(self, name: str, slots: Slots) -> None:
        self.name = name
        self.slots = slots
        self.most = 0
        """0: it has left, and its leases are given back as its calls end."""
        self.leases: list[Grant] = []
        self.peak_before = 0
        """Of the time before the one that `slots.peak` is of."""
        self.ask_again_at = 0.0
        self.wish_again_at = 0.0

    @property
    def limit(self) -> Limit:
        return Limit(key=f"slots/{self.name}", most=self.most, span_s=0)

    def demand(self, workers: int, others: int) -> Demand:
        return Demand(
            most=self.most,
            leased=len(self.leases),
            in_use=self.slots.in_use,
            peak=max(self.slots.peak, self.peak_before),
            waiting=self.slots.waited_for,
            workers=workers,
            others=others,
        )
