"""Which server, and which next."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import islice
from typing import TypeGuard, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from outcrop.fleet.affinity import Affinity, Prefix
from outcrop.fleet.config import RoutingConfig
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.health import worded
from outcrop.fleet.model_server import Calling
from outcrop.fleet.pool import Group, Pool, Seat
from outcrop.fleet.slots import Slots, Standing
from outcrop.fleet.trace import Trace, TracedAttempt, TracedServer
from outcrop.fleet.waiting_room import NoSlotError, NoSlotReason, Rank, Servers, WaitingRoom

T = TypeVar("T")

_log = logging.getLogger(__name__)

# A request that fails on so many servers would fail on the next.
_MOST_TRIED = 10
# Of those that wait to be asked again, so many are looked at to say why a Region is passed over.
_LOOKED_AT = 32
# Nobody's pace differs by less than matters to a caller.
_QUICK_S = 0.25
# Answers after which a server's pace is believed.
_ANSWERS_TO_JUDGE = 10


class Request(Struct, kw_only=True):
    """What the router is told of a request besides its pools, and what it tells of it."""

    account_id: str = ""
    rank: Rank | None = None
    """Whom it may overtake; None: an on-demand request that waits as long as servers let it."""
    pools: Callable[[], Sequence[Pool]] | None = None
    """Asked for them again when the fleet has changed while it waits; None: it is refused then."""
    prefix: Prefix | None = None
    skipped: list[str] = field(default_factory=list[str])
    """Who was passed over, and why: `gpu-1: timed out`."""
    trace: Trace | None = None


class Attempt:
    """One server's turn at a request. Closing it ends it and gives its slot back."""

    def __init__(self, seat: Seat, rules: RoutingConfig, trace: Trace | None = None) -> None:
        self.candidate = seat.candidate
        self._seat = seat
        self._opened: AbstractAsyncContextManager[object] | None = None
        self._closed = False
        self._rules = rules
        self._time = asyncio.get_running_loop().time
        self._since = self._time()
        seat.state.in_flight += 1
        self._traced = None if trace is None else self._follow(trace)

    def _follow(self, trace: Trace) -> TracedAttempt:
        candidate = self.candidate
        traced = trace.attempt(candidate.server, candidate.served_as)
        self.candidate = replace(candidate, server=TracedServer(candidate.server, traced.headers))
        return traced

    async def open(self, call: Calling) -> AsyncIterator[bytes]:
        """To be called once: the server's answer, from its first byte on, until `aclose`."""
        opened = self.candidate.server.open(call)
        chunks = await opened.__aenter__()
        self._opened = opened
        return chunks

    async def aclose(self) -> None:
        """A second time changes nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._opened is not None:
                await self._opened.__aexit__(None, None, None)
        finally:
            self._seat.state.give_back()
            if self._traced is not None:
                self._traced.ended()

    def ended_with(self, error: BaseException) -> None:
        """Before it is closed, so that its slot is not given on as if nothing had happened."""
        self._trace_failure(error)
        if isinstance(error, ServerFailureError):
            self.failed(error)
        elif isinstance(error, asyncio.CancelledError):
            self._given_up()

    def answered(self) -> None:
        """To be called when the first of the answer is here."""
        now, seat = self._time(), self._seat
        well = seat.state.health.well
        seat.state.health.answered(self._since)
        if not well:
            seat.state.come_back()
        seat.latency.tell(now - self._since, now)
        seat.peers.tell(now - self._since, now)
        if self._is_slow():
            self._eject(now)

    def failed(self, failure: ServerFailureError) -> None:
        """Before the answer or in the middle of it."""
        self._trace_failure(failure)
        state, now = self._seat.state, self._time()
        ejected = state.health.ejected
        state.health.failed(failure, now, self._rules)
        if state.health.ejected and not ejected:
            self._tell_ejected()
        elif not state.health.well:
            state.look_again()

    def _trace_failure(self, error: BaseException) -> None:
        """Of who is followed; told before it is closed."""
        if self._traced is not None:
            self._traced.failed(error)

    def _given_up(self) -> None:
        """The caller left before the answer came: it would have taken longer still."""
        now, seat = self._time(), self._seat
        believed = seat.latency if seat.latency.known(now) else seat.peers
        if believed.known(now) and now - self._since > believed.typical_s:
            seat.latency.tell(now - self._since, now)
            if self._is_slow():
                self._eject(now)

    def _is_slow(self) -> bool:
        latency, peers = self._seat.latency, self._seat.peers
        return (
            latency.samples >= _ANSWERS_TO_JUDGE
            and latency.typical_s > _QUICK_S
            and latency.typical_s > self._rules.latency_outlier_factor * peers.typical_s
            and not self._seat.state.health.ejected
        )

    def _eject(self, now: float) -> None:
        seat = self._seat
        seat.state.health.eject(
            now, self._rules, f"{seat.latency.typical_s:.1f} s to the first byte"
        )
        seat.latency.forget()
        self._tell_ejected()

    def _tell_ejected(self) -> None:
        state = self._seat.state
        _log.warning("model server %s is ejected: %s", state.name, state.health.why)
        state.ejected()
        state.look_again()


class Router:
    def __init__(
        self, rules: RoutingConfig | None = None, waiting_room: WaitingRoom | None = None
    ) -> None:
        self._waiting_room = waiting_room or WaitingRoom()
        self.rules = rules or RoutingConfig()
        self._affinity = Affinity(self.rules.affinity_entries)
        self._servers: dict[tuple[Group, ...], _Waited] = {}

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return self._waiting_room.waiting

    def follow(self, rules: RoutingConfig) -> None:
        """From the next request on."""
        if rules != self.rules:
            self.rules = rules
            self._affinity = Affinity(rules.affinity_entries)

    def change(self) -> None:
        """Pools are others from now on. Who waits asks for them again."""
        self._servers.clear()
        self._waiting_room.change()

    async def first(
        self,
        pools: Sequence[Pool],
        ask: Callable[[Attempt], Awaitable[T]],
        request: Request | None = None,
    ) -> T:
        """What `ask` makes of the first server that it gets an answer from.

        `ask` raises ServerFailureError for another to be tried, and once it has returned no other
        is; its attempt is then the caller's to close. Raises the last failure.
        """
        request = Request() if request is None else request
        until = asyncio.get_running_loop().time() + self.rules.failover_deadline_s
        tried: list[Seat] = []
        while True:
            try:
                seat = self._free(pools, tried, request)
                if seat is None:
                    seat = await self._waited(pools, tried, request)
            except _ChangedError as changed:
                pools = _pools_now(request, changed)
                asked = {seat.state.name for seat in tried}
                tried = [x for pool in pools for x in pool.seats() if x.state.name in asked]
                continue
            tried.append(seat)
            attempt = Attempt(seat, self.rules, request.trace)
            try:
                answer = await ask(attempt)
            except BaseException as error:
                attempt.ended_with(error)
                await attempt.aclose()
                if not self._may_go_on(error, pools, tried, until):
                    raise
                request.skipped.append(f"{seat.state.name}: {worded(error)}")
                _log.warning("model server failed, trying the next: %s", error)
            else:
                if request.prefix is not None:
                    self._affinity.keep(request.prefix, seat.state.name)
                return answer

    def preferred(
        self, pools: Sequence[Pool], request: Request, tried: Sequence[Seat] = ()
    ) -> Seat | None:
        """Who would be asked now; None if everybody is busy, ejected or tried."""
        now = asyncio.get_running_loop().time()
        for at, pool in enumerate(pools):
            seat = pool.pick(now, tried)
            if seat is not None:
                if at and not tried:
                    request.skipped.extend(map(_passed_over(now), pools[:at]))
                return self._with_cache(pool, seat, request, tried)
        return None

    def _free(self, pools: Sequence[Pool], tried: Sequence[Seat], request: Request) -> Seat | None:
        """A server with its slot taken, if one may be asked at once."""
        seat = self.preferred(pools, request, tried)
        return None if seat is None or not seat.state.slots.take() else seat

    def _may_go_on(
        self, error: BaseException, pools: Sequence[Pool], tried: Sequence[Seat], until: float
    ) -> TypeGuard[ServerFailureError]:
        return (
            isinstance(error, ServerFailureError)
            and error.another_may_answer
            and len(tried) < _MOST_TRIED
            and asyncio.get_running_loop().time() < until
            and any(seat not in tried for pool in pools for seat in pool.seats())
        )

    def _with_cache(self, pool: Pool, seat: Seat, request: Request, tried: Sequence[Seat]) -> Seat:
        """The server that has the conversation's cache, unless it is tried, sick or loaded."""
        if request.prefix is None or not request.prefix.goes_on_from:
            return seat
        name = self._affinity.server(request.prefix)
        holder = None if name is None else pool.seat(name)
        if holder is None or holder is seat or holder in tried:
            return seat
        now = asyncio.get_running_loop().time()
        loaded = holder.load > self.rules.affinity_load_factor * seat.load
        return holder if not loaded and holder.state.admits(now) else seat

    async def _waited(self, pools: Sequence[Pool], tried: Sequence[Seat], request: Request) -> Seat:
        """A slot of one that is sound and has no room; else, of the least bad."""
        waited = self._waited_for(pools, tried)
        seat = waited.least_bad()
        if seat is not None:
            return seat
        if any(group.past for pool in pools for group in pool.groups):
            raise _ChangedError(_busy(waited.seats[0], NoSlotError(NoSlotReason.CHANGED, 1.0)))
        rank = request.rank or _patient(request.account_id, waited.patience_s)
        try:
            slots = await self._waiting_room.wait(waited.servers, rank)
        except NoSlotError as error:
            failure = _busy(waited.seats[0], error)
            if error.reason is NoSlotReason.CHANGED:
                raise _ChangedError(failure) from error
            raise failure from error
        return waited.seat(slots)

    def _waited_for(self, pools: Sequence[Pool], tried: Sequence[Seat]) -> "_Waited":
        groups = tuple(group for pool in pools for group in pool.groups)
        if tried:
            return _Waited([x for group in groups for x in group.seats if x not in tried])
        waited = self._servers.get(groups)
        if waited is None:
            waited = _Waited([seat for group in groups for seat in group.seats])
            self._servers[groups] = waited
        return waited


def _pools_now(request: Request, changed: "_ChangedError") -> Sequence[Pool]:
    """Raises what the request is refused with, if nobody is left to be asked."""
    pools = request.pools() if request.pools else ()
    if not pools:
        raise changed.failure from changed
    return pools


class _Waited:
    """The servers of some pools, as those who wait see them."""

    def __init__(self, seats: Sequence[Seat]) -> None:
        self.seats = seats
        self.servers = Servers((seat.state.slots for seat in seats), self._accepts)
        self.patience_s = max((seat.state.patience_s for seat in seats), default=0.0)
        self._by_slots = {seat.state.slots: seat for seat in seats}

    def seat(self, slots: Slots) -> Seat:
        return self._by_slots[slots]

    def least_bad(self) -> Seat | None:
        """Where none is sound: the one to be tried all the same, with its slot taken."""
        if self._any_well():
            return None
        seats = sorted(self.seats, key=lambda seat: seat.state.health.left_alone_until)
        return next((seat for seat in seats if seat.state.slots.take()), None)

    def _accepts(self, slots: Slots) -> bool:
        health = self._by_slots[slots].state.health
        if health.well:
            return True
        now = asyncio.get_running_loop().time()
        return health.admits(now, slots.in_use) or not self._any_well()

    def _any_well(self) -> bool:
        return any(seat.state.health.well for seat in self.seats)


class _ChangedError(Exception):
    """The fleet has changed while a request waited."""

    def __init__(self, failure: ServerFailureError) -> None:
        super().__init__(str(failure))
        self.failure = failure
        """What the request is refused with, if it does not go on."""


def _patient(account_id: str, patience_s: float) -> Rank:
    deadline = asyncio.get_running_loop().time() + patience_s
    return Rank(standing=Standing.DEFAULT, account_id=account_id, deadline=deadline)


def _busy(seat: Seat, error: NoSlotError) -> ServerFailureError:
    return ServerFailureError(
        seat.state.name,
        FailureKind.BUSY,
        f"max_concurrency calls are in progress: {error}",
        retry_after_s=error.retry_after_s,
    )


def _passed_over(now: float) -> Callable[[Pool], str]:
    def worded_for(pool: Pool) -> str:
        looked_at = islice(pool.seats(), _LOOKED_AT)
        busy = any(seat.state.health.admits(now, 0) for seat in looked_at)
        return f"{pool.region}: {'no room' if busy else 'no healthy server'}"

    return worded_for
