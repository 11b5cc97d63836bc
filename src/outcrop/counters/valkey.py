"""Counting in Valkey, together with every other worker that counts there."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from outcrop.counters.config import InvalidValkeyConfigError, ValkeyConfig
from outcrop.counters.limit import Grant, Hold, Limit, Refused
from outcrop.counters.local import Settled
from outcrop.counters.local_share import LocalShare
from outcrop.counters.shared import Fact, SharedFacts
from outcrop.counters.steady import Steady
from outcrop.counters.valkey_link import ValkeyLink, ValkeyLostError, is_refusal
from outcrop.wire.errors import ServiceUnavailableException
from outcrop.wire.timestamps import Clock

BEAT_S = 0.5  # a worker that missed six is dead; also how soon a fact is known everywhere
GATHER_S = 0.005  # what is settled within it is written together
RETRY_S = 0.25  # how often a lost Valkey is tried
_BATCH = 256
_BATCHES_IN_FLIGHT = 8
_TRIES = 3

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_valkey(
    config: ValkeyConfig,
    environ: Mapping[str, str],
    *,
    workers: int,
    clock: Clock,
    tasks: asyncio.TaskGroup,
) -> AsyncGenerator["ValkeyCounters"]:
    """A Valkey out of reach is lost from the beginning, and `workers` then share the limits.

    Raises InvalidValkeyConfigError when it refuses us.
    """
    link = ValkeyLink(config, environ, clock)
    local = config.when_lost == "local_share"
    counters = ValkeyCounters(link, workers=workers, local_share=local, clock=clock, tasks=tasks)
    try:
        await _join_first(counters)
        keeping = tasks.create_task(counters.keep())
        try:
            yield counters
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
            await counters.leave()
    finally:
        await link.close()


async def _join_first(counters: "ValkeyCounters") -> None:
    try:
        await counters.join()
    except ValkeyLostError as error:
        if is_refusal(error):
            raise InvalidValkeyConfigError(f"Valkey: {error}") from error
        counters.lose(error)


class _Asked(NamedTuple):
    number: int
    holds: tuple[Hold, ...]
    answer: asyncio.Future[Grant | Refused]


class _Written(NamedTuple):
    """A batch of what is to be counted, kept until Valkey has said that it is."""

    sequence: int
    settled: Sequence[tuple[Grant, Mapping[str, int]]]
    used: Sequence[Settled]
    facts: Sequence[Fact]


class ValkeyCounters:
    """Holds of one step of the event loop go in one call; what is settled follows behind.

    Valkey keeps for each worker what it has open; the worker keeps it too. When they lose each
    other, `join` makes both the same: what only Valkey has is given back (nobody got the
    answer), what only the worker has is counted again.
    """

    def __init__(
        self,
        link: ValkeyLink,
        *,
        workers: int,
        local_share: bool,
        clock: Clock,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._link = link
        self._workers = workers
        self._local_share = local_share
        self._clock = clock
        self._steady = Steady(clock)
        self._tasks = tasks
        self._numbers = 0
        self._open: dict[int, Grant] = {}
        self._joins = 0
        self._joined_at = 0.0

        self._asked: list[_Asked] = []
        self._batches = 0
        self._fence = 0  # batches up to this one are given up
        self._in_flight = 0
        self._gathering = False

        self._settled: list[tuple[Grant, Mapping[str, int]]] = []
        self._used_meanwhile: Sequence[Settled] = ()
        self._writing: _Written | None = None
        self._sequence = 0
        self._work = asyncio.Event()
        self.facts = SharedFacts(clock, tell=self._work.set)
        self._beat_at = 0.0

        self._lost = True  # until it is joined
        self._said_lost = False
        self._share: LocalShare | None = None
        self._may_hold = asyncio.Event()
        self._may_hold.set()

    @property
    def worker(self) -> str:
        return self._link.worker

    @property
    def workers(self) -> int:
        return self._workers

    @property
    def joined_at(self) -> float | None:
        return None if self._lost or self._link.forgotten else self._joined_at

    @property
    def heard_at(self) -> float:
        return self._link.heard_at

    async def hold(self, holds: Sequence[Hold]) -> Grant | Refused:
        for _ in range(_TRIES):
            await self._may_hold.wait()
            if self._lost:
                return await self._hold_alone(holds)
            with suppress(ValkeyLostError):
                return await self._ask(holds)
        raise _unavailable()

    def settle(self, grant: Grant, amounts: Mapping[str, int]) -> None:
        if self._open.pop(grant.number, None) is None:
            return
        # While it joins, Valkey is being told of the grant as open.
        alone = self._share if self._may_hold.is_set() else None
        if alone is None or not alone.settle(grant.number, amounts):
            self._settled.append((grant, amounts))
            self._work.set()

    async def used(self, limits: Sequence[Limit]) -> Sequence[int]:
        if not self._lost:
            asked = [(limit.key, limit.span_s) for limit in limits]
            try:
                return list(await self._link.call("used", asked))
            except ValkeyLostError as error:
                self.lose(error)
        if self._share is None:
            raise _unavailable()
        return await self._share.used(limits)

    async def join(self) -> None:
        """Makes Valkey and this worker agree on what is open. Raises ValkeyLostError."""
        was_lost = self._lost
        self._link.forgotten = False
        if was_lost:
            self._may_hold.clear()
        try:
            self._workers = await self._link.call("join", self._all_open(fenced=was_lost))
        except ValkeyLostError:
            self._link.forgotten = True
            raise
        finally:
            self._may_hold.set()
        self._joined_at = asyncio.get_running_loop().time()
        if was_lost:
            self._find()

    async def keep(self) -> None:
        """Writes what is settled, shows that this worker lives, and looks for a lost Valkey."""
        while True:
            await self._until_work()
            try:
                await self._step()
            except ValkeyLostError as error:
                self.lose(error)

    async def leave(self) -> None:
        """What is not settled by now is given back."""
        with suppress(ValkeyLostError):
            while self._unwritten() and not self._lost:
                await self._write()
            await self._link.call("leave", None)

    def lose(self, error: ValkeyLostError) -> None:
        """From here on Valkey is not asked, until it is joined again. Said once."""
        if self._said_lost:
            return
        self._lost = self._said_lost = True
        self._fence = self._batches
        if self._local_share:
            self._share = LocalShare(self._clock, workers=self._workers)
        _log.warning(
            "Valkey is lost",
            extra={
                "valkey": self._link.server,
                "error": str(error),
                "when_lost": "local_share" if self._local_share else "refuse",
                "workers": self._workers,
            },
        )
        asked, self._asked = self._asked, []
        _fail(asked, error)
        self._work.set()

    def _find(self) -> None:
        self._lost = False
        if self._share is not None:
            self._used_meanwhile = (*self._used_meanwhile, *self._share.close())
            self._share = None
        if self._said_lost:
            self._said_lost = False
            _log.warning("Valkey is back", extra={"valkey": self._link.server})
        self._work.set()

    # What is asked.

    async def _hold_alone(self, holds: Sequence[Hold]) -> Grant | Refused:
        if self._share is None:
            raise _unavailable()
        self._numbers += 1
        refused = await self._share.hold(self._numbers, holds)
        return refused or self._opened(self._numbers, tuple(holds))

    async def _ask(self, holds: Sequence[Hold]) -> Grant | Refused:
        answer: asyncio.Future[Grant | Refused] = asyncio.get_running_loop().create_future()
        self._numbers += 1
        self._asked.append(_Asked(self._numbers, tuple(holds), answer))
        self._send_soon()
        try:
            return await answer
        except asyncio.CancelledError:
            # Answered, and gone before it could be heard.
            if answer.done() and not answer.cancelled() and not answer.exception():
                granted = answer.result()
                if isinstance(granted, Grant):
                    self.settle(granted, {})
            raise

    def _send_soon(self) -> None:
        if self._asked and not self._gathering and self._in_flight < _BATCHES_IN_FLIGHT:
            self._gathering = True
            self._in_flight += 1
            self._tasks.create_task(self._send())

    async def _send(self) -> None:
        self._gathering = False
        asked, self._asked = self._asked[:_BATCH], self._asked[_BATCH:]
        try:
            if asked:
                await self._send_batch(asked)
        finally:
            self._in_flight -= 1
            self._send_soon()

    async def _send_batch(self, asked: Sequence[_Asked]) -> None:
        self._batches += 1
        batch = self._batches
        wanted = [(a.number, [_as_asked(hold) for hold in a.holds]) for a in asked]
        try:
            answers = await self._link.call("hold", (batch, wanted))
        except ValkeyLostError as error:
            self.lose(error)
            _fail(asked, error)
            return
        if batch <= self._fence or answers is False:
            _fail(asked, ValkeyLostError("the answer came when it was given up"))
            return
        for one, answer in zip(asked, answers, strict=True):
            self._tell(one, answer)

    def _tell(self, asked: _Asked, answer: int | tuple[int, int]) -> None:
        if isinstance(answer, int):
            grant = self._opened(asked.number, asked.holds)
            if asked.answer.done():  # whoever asked has gone
                self.settle(grant, {})
            else:
                asked.answer.set_result(grant)
        elif not asked.answer.done():
            which, wait_ms = answer
            wait_s = None if wait_ms < 0 else wait_ms / 1000
            asked.answer.set_result(Refused(asked.holds[which - 1].limit, wait_s))

    def _opened(self, number: int, holds: tuple[Hold, ...]) -> Grant:
        grant = self._open[number] = Grant(number, holds, self._steady())
        return grant

    # What follows behind.

    async def _until_work(self) -> None:
        if self._lost:
            await asyncio.sleep(RETRY_S)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._beat_at):
                await self._work.wait()
            await asyncio.sleep(GATHER_S)

    async def _step(self) -> None:
        if self._lost or self._link.forgotten:
            await self.join()
        self._work.clear()
        if self._unwritten():
            await self._write()
        now = asyncio.get_running_loop().time()
        if now >= self._beat_at:
            self._beat_at = now + BEAT_S
            await self._beat()

    async def _beat(self) -> None:
        self._workers, facts = await self._link.call("beat", None)
        self.facts.learn(Fact(key, value, ttl_ms / 1000) for key, value, ttl_ms in facts)

    def _unwritten(self) -> bool:
        return bool(self._writing or self._settled or self._used_meanwhile or self.facts.untold)

    async def _write(self) -> None:
        """A batch that may or may not have been counted is sent as it was: it counts once."""
        if self._writing is None:
            self._sequence += 1
            settled, self._settled = self._settled[:_BATCH], self._settled[_BATCH:]
            used, self._used_meanwhile = self._used_meanwhile, ()
            self._writing = _Written(self._sequence, settled, used, self.facts.take_untold())
        await self._link.call("write", _as_written(self._writing))
        self._writing = None
        if self._settled:
            self._work.set()

    def _all_open(self, *, fenced: bool) -> object:
        self._joins += 1
        now = self._steady()
        unwritten = (grant for grant, _ in self._settled)
        still = [_as_open(grant, now) for grant in (*self._open.values(), *unwritten)]
        # Whether these are open depends on whether what was written of them has arrived.
        written = self._writing.settled if self._writing else ()
        perhaps = [_as_open(grant, now) for grant, _ in written]
        return self._joins, self._fence if fenced else -1, still, self._sequence, perhaps


def _as_asked(hold: Hold) -> tuple[str, int, int, int]:
    limit = hold.limit
    return limit.key, limit.span_s, limit.most, hold.amount


def _as_open(grant: Grant, now: float) -> tuple[int, list[tuple[str, int, int, int]]]:
    age_ms = int((now - grant.at_s) * 1000)
    holds = [(h.limit.key, h.limit.span_s, h.amount, age_ms) for h in grant.holds]
    return grant.number, holds


def _as_written(written: _Written) -> object:
    settled = [
        (
            grant.number,
            [(h.limit.key, h.limit.span_s, amounts.get(h.limit.key, 0)) for h in grant.holds],
        )
        for grant, amounts in written.settled
    ]
    used = [(u.key, u.span_s, u.amount, int(u.age_s * 1000)) for u in written.used]
    facts = [(fact.key, fact.value, int(fact.ttl_s * 1000)) for fact in written.facts]
    return written.sequence, settled, used, facts


def _fail(asked: Sequence[_Asked], error: ValkeyLostError) -> None:
    for one in asked:
        if not one.answer.done():
            one.answer.set_exception(error)


def _unavailable() -> ServiceUnavailableException:
    return ServiceUnavailableException("Bedrock is unable to process your request.")
