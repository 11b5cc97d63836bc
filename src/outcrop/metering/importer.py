"""From journals into the store: this worker's own, and those of workers that are no more."""

import asyncio
import logging
import os
from datetime import date, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from msgspec import Struct

from outcrop.metering.config import MeteringConfig
from outcrop.metering.journal import Journal, Seconds, Segment, move, orphans, remove
from outcrop.store.errors import StoreError
from outcrop.store.usage import Usage
from outcrop.store.usage_records import found_in
from outcrop.wire.timestamps import Clock

EVERY_S = 0.5
"""So old is what the store does not know yet, and as long again at most."""
FORGET_EVERY = 1_200
"""Rounds between two looks at records that are too old."""
CHUNK_BYTES = 256 * 1024
"""Some thousand records: a few milliseconds of the event loop."""

_UNWRITTEN = bytes(4)
"""No frame is of this length."""

_log = logging.getLogger(__name__)


class Sleep(Protocol):
    async def __call__(self, seconds: float, /) -> None: ...


class LogSpool(Struct, frozen=True):
    """Where files go on to in which something was said that is to be delivered, and how often."""

    folder: Path
    """On the same disk."""
    batch_s: float


class Importer:
    def __init__(  # noqa: PLR0913 - each by its name
        self,
        journal: Journal[Any],
        folder: Path,
        usage: Usage,
        *,
        config: MeteringConfig,
        log: LogSpool,
        clock: Clock,
        seconds: Seconds = perf_counter,
    ) -> None:
        log.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.config = config
        self._journal = journal
        self._folder = folder
        self._usage = usage
        self._log = log
        self._clock = clock
        self._seconds = seconds
        self._seal_at: float | None = None
        self._positions: dict[str, int] = {}
        self._lock = asyncio.Lock()
        self._forgot_on: date | None = None

    async def run(self, sleep: Sleep = asyncio.sleep) -> None:
        """For as long as the worker lives."""
        rounds = 0
        every_s = min(EVERY_S, self._log.batch_s)
        while True:
            self._journal.look_for_room()
            began = self._seconds()
            if self._seal_at is not None and began >= self._seal_at:
                self.seal()
            try:
                await self.once()
                if rounds % FORGET_EVERY == 0:
                    await self.forget()
            except StoreError as error:
                _log.warning("usage waits in the journal: %s", error)
            except Exception:  # noqa: BLE001 - the next round may do better; nothing is lost meanwhile
                _log.exception("usage could not be brought into the store")
            self._look_for_what_was_said(began - every_s)
            rounds += 1
            await sleep(every_s)

    def seal(self) -> None:
        """What was said until now goes to its log with the next round."""
        self._seal_at = None
        self._journal.seal()

    async def once(self) -> None:
        """Brings everything that is on disk by now into the store."""
        async with self._lock:
            for segment in list(self._journal.segments):
                await self._import(segment)
                if segment.sealed and self._positions[segment.journal_id] >= segment.durable:
                    self._take_away(segment)
                    self._journal.segments.remove(segment)
                    await self._forget(segment)
            for segment in orphans(self._folder, self._journal.segments):
                await self._import_orphan(segment)

    async def forget(self) -> None:
        """What is older than it is kept: records, and once a day sums of minutes and hours."""
        now, config = self._clock(), self.config
        await self._usage.forget_records(now - timedelta(days=config.keep_records_days))
        if self._forgot_on != now.date():
            await self._usage.forget_sums(
                minutes_before=now - timedelta(days=config.keep_minutes_days),
                hours_before=now - timedelta(days=config.keep_hours_days),
            )
            self._forgot_on = now.date()

    async def _import_orphan(self, segment: Segment) -> None:
        try:
            await self._import(segment)
        except BaseException:
            os.close(segment.fd)  # and with it the lock: somebody may try again
            raise
        position = self._positions[segment.journal_id]
        if _is_written(segment, position):
            aside = segment.path.with_suffix(".torn")
            aside.touch(mode=0o600)
            aside.write_bytes(os.pread(segment.fd, segment.durable, 0))
            _log.warning("the end of a journal cannot be read: from byte %s of %s", position, aside)
        segment.durable = position
        self._take_away(segment)
        await self._forget(segment)

    async def _import(self, segment: Segment) -> None:
        """Up to its end, or to a frame that was not wholly written: nobody was told of that."""
        journal_id, until = segment.journal_id, segment.durable
        position = self._positions.get(journal_id)
        if position is None:
            position = await self._usage.position(journal_id)
            segment.has_more = position > 0  # for all that is known
        while position < until:
            end, frames = await self._read(segment, position, until)
            if end == position:
                break
            most = self.config.most_series
            if not frames or await self._usage.add(
                journal_id, position, frames, until=end, most_series=most
            ):
                position = end
            else:
                position = await self._usage.position(journal_id)
        self._positions[journal_id] = position

    async def _read(self, segment: Segment, begin: int, until: int) -> tuple[int, bytes]:
        """How far, and the usage to there: as much as is brought into the store at once."""
        size, position, usage = CHUNK_BYTES, begin, bytearray()
        while position < until and len(usage) < CHUNK_BYTES:
            data = os.pread(segment.fd, min(size, until - position), position)
            found = found_in(data)
            if not found.whole:
                if len(data) == until - position or data.startswith(_UNWRITTEN):
                    break
                size *= 2  # a single long one
                continue
            usage += found.usage
            position += found.whole
            if found.has_more:
                segment.has_more = True
                await asyncio.sleep(0)  # much of it need not be usage
        return position, bytes(usage)

    def _look_for_what_was_said(self, since: float) -> None:
        """In the file that is written to; none of it was there at `since`."""
        if self._seal_at is None and any(
            segment.has_more and not segment.sealed for segment in self._journal.segments
        ):
            self._seal_at = since + self._log.batch_s

    def _take_away(self, segment: Segment) -> None:
        """All of its usage is in the store; what was said goes to the log."""
        if segment.has_more:
            move(segment, self._log.folder)
        else:
            remove(segment.path, segment.fd)

    async def _forget(self, segment: Segment) -> None:
        self._positions.pop(segment.journal_id, None)
        await self._usage.forget_journal(segment.journal_id)


def _is_written(segment: Segment, position: int) -> bool:
    """Whether there is anything but zeros from there on."""
    while data := os.pread(segment.fd, CHUNK_BYTES, position):
        if data.count(0) < len(data):
            return True
        position += len(data)
    return False
