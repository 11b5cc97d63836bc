"""From journals into the store: this worker's own, and those of workers that are no more."""

import asyncio
import logging
import os
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Protocol

from outcrop.metering.config import MeteringConfig
from outcrop.metering.journal import Journal, Segment, orphans, remove
from outcrop.store.errors import StoreError
from outcrop.store.usage import Usage
from outcrop.store.usage_records import whole_frames
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


class Importer:
    def __init__(
        self,
        journal: Journal[Any],
        folder: Path,
        usage: Usage,
        *,
        config: MeteringConfig,
        clock: Clock,
    ) -> None:
        self.config = config
        self._journal = journal
        self._folder = folder
        self._usage = usage
        self._clock = clock
        self._positions: dict[str, int] = {}
        self._lock = asyncio.Lock()
        self._forgot_on: date | None = None

    async def run(self, sleep: Sleep = asyncio.sleep) -> None:
        """For as long as the worker lives."""
        rounds = 0
        while True:
            self._journal.look_for_room()
            try:
                await self.once()
                if rounds % FORGET_EVERY == 0:
                    await self.forget()
            except StoreError as error:
                _log.warning("usage waits in the journal: %s", error)
            except Exception:  # noqa: BLE001 - the next round may do better; nothing is lost meanwhile
                _log.exception("usage could not be brought into the store")
            rounds += 1
            await sleep(EVERY_S)

    async def once(self) -> None:
        """Brings everything that is on disk by now into the store."""
        async with self._lock:
            for segment in list(self._journal.segments):
                await self._import(segment)
                if segment.sealed and self._positions[segment.journal_id] >= segment.durable:
                    self._journal.drop(segment)
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
            aside = segment.path.rename(segment.path.with_suffix(".torn"))
            _log.warning("the end of a journal cannot be read: from byte %s of %s", position, aside)
        remove(segment.path, segment.fd)
        await self._forget(segment)

    async def _import(self, segment: Segment) -> None:
        """Up to its end, or to a frame that was not wholly written: nobody was told of that."""
        journal_id, until = segment.journal_id, segment.durable
        position = self._positions.get(journal_id)
        if position is None:
            position = await self._usage.position(journal_id)
        size = CHUNK_BYTES
        while position < until:
            data = os.pread(segment.fd, min(size, until - position), position)
            whole = whole_frames(data)
            if not whole:
                if len(data) == until - position or data.startswith(_UNWRITTEN):
                    break
                size *= 2  # a single long one
                continue
            most = self.config.most_series
            if await self._usage.add(journal_id, position, data[:whole], most_series=most):
                position += whole
            else:
                position = await self._usage.position(journal_id)
        self._positions[journal_id] = position

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
