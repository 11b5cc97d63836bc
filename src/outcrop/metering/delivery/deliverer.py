"""From journals to where accounts want their logs: again until it is there, under one key."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from msgspec import Struct, field

from outcrop.metering.config import InvocationLoggingConfig
from outcrop.metering.delivery.destinations import Destinations, destinations
from outcrop.metering.delivery.records import Delivered, Place, delivered
from outcrop.metering.delivery.tally import Tally
from outcrop.metering.delivery.undelivered import UndeliveredError
from outcrop.metering.journal import Segment, files_in, locked, remove
from outcrop.store.usage import Usage
from outcrop.store.usage_records import whole_frames
from outcrop.wire.timestamps import Clock

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""After a failure, for what goes to the same place."""
STOP_S = 2.0
"""What a stop gives to the last delivery; the next start goes on with it."""
LOOK_EVERY_S = 0.5

_log = logging.getLogger(__name__)


class Sleep(Protocol):
    async def __call__(self, seconds: float, /) -> None: ...


class _Waiting(Struct):
    """One place that failed."""

    until: float
    """Event-loop time."""
    wait_s: float


class _Pending(Struct):
    """One file: which places are still to be given their part."""

    places: set[Place] | None = None
    """None: it has not been read yet."""
    done: set[tuple[Place, str]] = field(default_factory=set[tuple[Place, str]])


class Deliverer:
    """A file is a batch: what it makes, and under which keys, is given by it alone.

    Whoever locks one delivers it: of its own worker, of another, or of one that is no more.
    """

    def __init__(
        self,
        folder: Path,
        to: Destinations,
        tally: Tally,
        *,
        config: InvocationLoggingConfig,
        clock: Clock,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._to = to
        self._tally = tally
        self._look_every_s = min(LOOK_EVERY_S, config.batch_s)
        self._keep = timedelta(days=config.keep_undelivered_days)
        self._clock = clock
        self._taken: dict[Path, Segment] = {}
        self._pending: dict[str, _Pending] = {}
        self._waiting: dict[Place, _Waiting] = {}
        self._lock = asyncio.Lock()
        self._time = asyncio.get_running_loop().time

    async def run(self, sleep: Sleep = asyncio.sleep) -> None:
        """For as long as the worker lives."""
        while True:
            await sleep(self._look_every_s)
            try:
                await self.once()
            except Exception:  # noqa: BLE001 - the next round may do better; nothing is lost meanwhile
                _log.exception("invocation logs could not be delivered")

    async def once(self) -> None:
        """Delivers all that there is, as far as its places take it."""
        async with self._lock:
            for path in files_in(self._folder):
                if path not in self._taken and (segment := locked(path)) is not None:
                    self._taken[path] = segment
            for segment in list(self._taken.values()):
                if await self._delivered(segment) or self._too_old(segment):
                    self._forget(segment)
            await self._tally.store()

    def close(self) -> None:
        """What is not delivered is there for whoever looks next."""
        for segment in self._taken.values():
            os.close(segment.fd)
        self._taken.clear()

    async def _delivered(self, segment: Segment) -> bool:
        """Whether all of it is where it belongs."""
        pending = self._pending.setdefault(segment.journal_id, _Pending())
        if pending.places is not None and all(map(self._waits, pending.places)):
            return False
        try:
            batch = await asyncio.to_thread(_read, segment)
        except (ValueError, TypeError):
            _log.exception("a journal of invocation logs cannot be read")
            segment.path.rename(segment.path.with_suffix(".unreadable"))
            return True
        pending.places = set()
        for one in batch:
            if (one.place, one.key) not in pending.done:
                if await self._put(one):
                    pending.done.add((one.place, one.key))
                else:
                    pending.places.add(one.place)
        return not pending.places

    async def _put(self, one: Delivered) -> bool:
        if self._waits(one.place):
            return False
        try:
            await self._to.put(one)
        except UndeliveredError as error:
            self._tally.note(one, arrived=False)
            self._failed(one.place, error)
            return False
        self._tally.note(one, arrived=True)
        if self._waiting.pop(one.place, None):
            _log.warning("invocation logs are delivered again", extra={"place": one.place.name})
        return True

    def _too_old(self, segment: Segment) -> bool:
        file = os.fstat(segment.fd)
        if self._clock() - datetime.fromtimestamp(file.st_mtime, UTC) < self._keep:
            return False
        _log.error("invocation logs are given up", extra={"bytes": file.st_size})
        return True

    def _waits(self, place: Place) -> bool:
        waiting = self._waiting.get(place)
        return waiting is not None and waiting.until > self._time()

    def _failed(self, place: Place, error: UndeliveredError) -> None:
        before = self._waiting.get(place)
        wait_s = min(before.wait_s * 2, LONGEST_WAIT_S) if before else FIRST_WAIT_S
        self._waiting[place] = _Waiting(self._time() + wait_s, wait_s)
        _log.warning("invocation logs wait: %s", error, extra={"place": place.name})

    def _forget(self, segment: Segment) -> None:
        self._pending.pop(segment.journal_id, None)
        del self._taken[segment.path]
        try:
            remove(segment.path)
        finally:
            os.close(segment.fd)  # and with it the lock: somebody may try again


class Delivering(Struct, frozen=True):
    deliverer: Deliverer
    to: Destinations


@asynccontextmanager
async def open_deliverer(
    folder: Path,
    config: InvocationLoggingConfig,
    *,
    usage: Usage,
    environ: Mapping[str, str],
    clock: Clock,
) -> AsyncGenerator[Delivering]:
    """When the block ends, what has come into the folder is delivered, if that does not take long.

    Raises InvalidLoggingConfigError.
    """
    to = destinations(config, environ, clock=clock)
    tally = Tally(usage, clock=clock)
    deliverer = Deliverer(folder, to, tally, config=config, clock=clock)
    try:
        yield Delivering(deliverer, to)
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await deliverer.once()
        await tally.store()
        deliverer.close()
        await to.aclose()


def _read(segment: Segment) -> list[Delivered]:
    """In a thread: a batch is packed and signed elsewhere while others are answered."""
    data = os.pread(segment.fd, segment.durable, 0)
    # The end may never have been written to.
    return list(delivered(data[: whole_frames(data)], segment.journal_id))
