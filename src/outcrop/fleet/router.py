"""Which server, and which next."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from typing import TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from outcrop.fleet.affinity import Affinity, Prefix
from outcrop.fleet.config import RoutingConfig
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.health import worded
from outcrop.fleet.pool import Pool, Seat
from outcrop.fleet.slots import Standing
from outcrop.fleet.trace import Trace, TracedAttempt, TracedServer
from outcrop.fleet.waiting_room import NoSlotError, Rank, WaitingRoom

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
    prefix: Prefix | None = None
    skipped: list[str] = field(default_factory=list[str])
    """Who was passed over, and why: `gpu-1: timed out`."""
    trace: Trace | None = None

    @property
    def standing(self) -> int:
        return Standing.DEFAULT if self.rank is None else self.rank.standing


class Attempt:
    """One server's turn at a request. Closing `held` ends it and gives its slot back."""

    def __init__(self, seat: Seat, rules: RoutingConfig, trace: Trace | None = None) -> None:
        self.held = AsyncExitStack()
        self.candidate = seat.candidate
        self._seat = seat
        self._rules = rules
        self._time = asyncio.get_running_loop().time
        self._since = self._time()
        seat.state.in_flight += 1
        self.held.callback(seat.state.give_back)
        self._traced = None if trace is None else self._follow(trace)

    def _follow(self, trace: Trace) -> TracedAttempt:
        candidate = self.candidate
        traced = trace.attempt(candidate.server, candidate.served_as)
        self.candidate = replace(candidate, server=TracedServer(candidate.server, traced.headers))
        self.held.callback(traced.ended)
        return traced

    def answered(self) -> None:
        """To be called when the first of the answer is here."""
        now, seat = self._time(), self._seat
        seat.state.health.answered(self._since)
        if not seat.state.health.well:
            seat.state.come_back()
        seat.latency.tell(now - self._since, now)
        seat.peers.tell(now - self._since, now)
        if self._is_slow():
            self._eject(now)

    def failed(self, failure: ServerFailureError) -> None:
        """Before the answer or in the middle of it."""
        self.trace_failure(failure)
        state, now = self._seat.state, self._time()
        ejected = state.health.ejected
        state.health.failed(failure, now, self._rules)
        if state.health.ejected and not ejected:
            self._tell_ejected()

    def trace_failure(self, error: BaseException) -> None:
        """Of who is followed; told before `held` is closed."""
        if self._traced is not None:
            self._traced.failed(error)

    def given_up(self) -> None:
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


class Router:
    def __init__(
        self, rules: RoutingConfig | None = None, waiting_room: WaitingRoom | None = None
    ) -> None:
        self._waiting_room = waiting_room or WaitingRoom()
        self.rules = rules or RoutingConfig()
        self._affinity = Affinity(self.rules.affinity_entries)

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return self._waiting_room.waiting

    def follow(self, rules: RoutingConfig) -> None:
        """From the next request on."""
        if rules != self.rules:
            self.rules = rules
            self._affinity = Affinity(rules.affinity_entries)

    async def first(
        self,
        pools: Sequence[Pool],
        ask: Callable[[Attempt], Awaitable[T]],
        request: Request | None = None,
    ) -> T:
        """What `ask` makes of the first server that it gets an answer from.

        `ask` raises ServerFailureError for another to be tried, and once it has returned no other
        is; `held` of its attempt is then the caller's to close. Raises the last failure.
        """
        request = Request() if request is None else request
        until = asyncio.get_running_loop().time() + self.rules.failover_deadline_s
        tried: list[Seat] = []
        while True:
            attempt = await self._attempt(pools, tried, request)
            try:
                return await self._answer(attempt, ask, request)
            except ServerFailureError as failure:
                if not self._may_go_on(failure, pools, tried, until):
                    raise
                request.skipped.append(f"{attempt.candidate.server.name}: {worded(failure)}")
                _log.warning("model server failed, trying the next: %s", failure)

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

    async def _attempt(self, pools: Sequence[Pool], tried: list[Seat], request: Request) -> Attempt:
        seat = self.preferred(pools, request, tried)
        if seat is None or not seat.state.slots.take(request.standing):
            seat = await self._waited(pools, tried, request)
        tried.append(seat)
        return Attempt(seat, self.rules, request.trace)

    async def _answer(
        self, attempt: Attempt, ask: Callable[[Attempt], Awaitable[T]], request: Request
    ) -> T:
        try:
            answer = await ask(attempt)
        except BaseException as error:
            attempt.trace_failure(error)
            await attempt.held.aclose()
            if isinstance(error, ServerFailureError):
                attempt.failed(error)
            elif isinstance(error, asyncio.CancelledError):
                attempt.given_up()
            raise
        if request.prefix is not None:
            self._affinity.keep(request.prefix, attempt.candidate.server.name)
        return answer

    def _may_go_on(
        self,
        failure: ServerFailureError,
        pools: Sequence[Pool],
        tried: Sequence[Seat],
        until: float,
    ) -> bool:
        return (
            failure.another_may_answer
            and len(tried) < _MOST_TRIED
            and asyncio.get_running_loop().time() < until
            and any(seat not in tried for pool in pools for seat in pool.seats())
        )

    def _with_cache(self, pool: Pool, seat: Seat, request: Request, tried: Sequence[Seat]) -> Seat:
        """The server that has the conversation's cache, unless it is tried, sick or loaded."""
        name = None if request.prefix is None else self._affinity.server(request.prefix)
        holder = None if name is None else pool.seat(name)
        if holder is None or holder is seat or holder in tried:
            return seat
        now = asyncio.get_running_loop().time()
        loaded = holder.load > self.rules.affinity_load_factor * seat.load
        return holder if not loaded and holder.state.admits(now) else seat

    async def _waited(self, pools: Sequence[Pool], tried: Sequence[Seat], request: Request) -> Seat:
        """A slot of one that is sound and has no room; else, of the least bad."""
        now = asyncio.get_running_loop().time()
        left = [seat for pool in pools for seat in pool.seats() if seat not in tried]
        full = [x for x in left if x.state.health.admits(now, 0) and not x.state.slots.free]
        seats = full or [min(left, key=lambda seat: seat.state.health.left_alone_until)]
        patience_s = max(seat.state.patience_s for seat in seats)
        rank = request.rank or Rank(
            standing=Standing.DEFAULT,
            account_id=request.account_id,
            deadline=now + patience_s,
        )
        try:
            slots = await self._waiting_room.wait([seat.state.slots for seat in seats], rank)
        except NoSlotError as error:
            raise ServerFailureError(
                seats[0].state.name,
                FailureKind.BUSY,
                f"max_concurrency calls are in progress: {error}",
                retry_after_s=error.retry_after_s,
            ) from error
        return next(seat for seat in seats if seat.state.slots is slots)


def _passed_over(now: float) -> Callable[[Pool], str]:
    def worded_for(pool: Pool) -> str:
        looked_at = islice(pool.seats(), _LOOKED_AT)
        busy = any(seat.state.health.admits(now, 0) for seat in looked_at)
        return f"{pool.region}: {'no room' if busy else 'no healthy server'}"

    return worded_for
