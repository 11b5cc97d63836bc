"""From journals into the store: of workers that write to them, and of those that are no more."""

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from outcrop.metering.config import MeteringConfig
from outcrop.metering.journal import Segment, files_in, locked, move, remove
from outcrop.store.errors import StoreError
from outcrop.store.usage import Usage
from outcrop.store.usage_records import found_in
from outcrop.wire.timestamps import Clock

EVERY_S = 0.5
"""So old is what the store does not know yet, and as long again at most."""
OTHERS_S = 0.01
"""Between two looks whether another importer is done."""
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

    @property
    def look_every_s(self) -> float:
        """How often journals are looked at."""
        return min(EVERY_S, self.batch_s)


class Importer:
    """Of one at a time the folder is read, whichever process it belongs to."""

    def __init__(
        self, folder: Path, usage: Usage, *, config: MeteringConfig, log: LogSpool, clock: Clock
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.config = config
        self._folder = folder
        self._usage = usage
        self._log = log
        self._clock = clock
        self._has_more: dict[str, bool] = {}
        self._lock = asyncio.Lock()
        self._forgot_on: date | None = None

    async def run(self, sleep: Sleep = asyncio.sleep) -> None:
        """For as long as the process lives."""
        rounds = 0
        while True:
            try:
                await self.once()
                if rounds % FORGET_EVERY == 0:
                    await self.forget()
            except StoreError as error:
                _log.warning("usage waits in the journal: %s", error)
            except Exception:  # noqa: BLE001 - the next round may do better; nothing is lost meanwhile
                _log.exception("usage could not be brought into the store")
            rounds += 1
            await sleep(self._log.look_every_s)

    async def once(self) -> None:
        """Brings everything that is on disk by now into the store."""
        async with self._alone():
            paths = files_in(self._folder)
            self._has_more = {
                p.stem: self._has_more[p.stem] for p in paths if p.stem in self._has_more
            }
            for path in paths:
                segment = locked(path)
                if segment is None:
                    await self._import_some(path)
                else:
                    await self._import_all(segment)

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

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None]:
        """Whoever reads a journal takes up where the store is, and takes it away."""
        async with self._lock:
            fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                while not _has_locked(fd):  # noqa: ASYNC110 - another process tells nobody
                    await asyncio.sleep(OTHERS_S)
                yield
            finally:
                os.close(fd)

    async def _import_some(self, path: Path) -> None:
        """Of a file to which its worker writes: what is whole."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            await self._import(Segment(path=path, fd=fd, durable=os.fstat(fd).st_size))
        finally:
            os.close(fd)

    async def _import_all(self, segment: Segment) -> None:
        """Of a file that nobody writes to any more; then it is taken away."""
        try:
            position = await self._import(segment)
            self._set_aside_if_torn(segment, position)
            # A write that failed may have been read before it was cut off.
            segment.durable = min(position, segment.durable)
            if self._has_more.pop(segment.journal_id):
                move(segment, self._log.folder)  # all of its usage is in the store
            else:
                remove(segment.path)
        finally:
            os.close(segment.fd)  # and with it the lock: somebody may try again
        await self._usage.forget_journal(segment.journal_id)

    def _set_aside_if_torn(self, segment: Segment, position: int) -> None:
        if _is_written(segment, position):
            aside = segment.path.with_suffix(".torn")
            aside.touch(mode=0o600)
            aside.write_bytes(os.pread(segment.fd, segment.durable, 0))
            _log.warning("the end of a journal cannot be read: from byte %s of %s", position, aside)

    async def _import(self, segment: Segment) -> int:
        """Up to its end, or to a frame that is not wholly written: nobody was told of that."""
        journal_id, until = segment.journal_id, segment.durable
        position = await self._usage.position(journal_id)
        # What somebody else has read may have been anything.
        self._has_more.setdefault(journal_id, position > 0)
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
        return position

    async def _read(self, segment: Segment, begin: int, until: int) -> tuple[int, bytes]:
        """How far, and the usage to there: as much as is brought into the store at once."""
        size, position, usage = CHUNK_BYTES, begin, bytearray()
        while position < until and len(usage) < CHUNK_BYTES:
            data = os.pread(segment.fd, min(size, until - position), position)
            found = found_in(data)
            if not found.whole:
                # A shorter one ends here: who wrote to it may have cut it since it was opened.
                is_last = len(data) < size or position + size == until
                if is_last or data.startswith(_UNWRITTEN):
                    break
                size *= 2  # a single long one
                continue
            usage += found.usage
            position += found.whole
            if found.has_more:
                self._has_more[segment.journal_id] = True
                await asyncio.sleep(0)  # much of it need not be usage
        return position, bytes(usage)


def _has_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_written(segment: Segment, position: int) -> bool:
    """Whether there is anything but zeros from there on."""
    while data := os.pread(segment.fd, CHUNK_BYTES, position):
        if data.count(0) < len(data):
            return True
        position += len(data)
    return False
