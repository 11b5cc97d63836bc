"""The journal of one worker: frames appended to files, on disk before anybody is told so.

What arrives while the disk is busy, and while the event loop has other things to do, shares the
next write. A thread does the writing: one wake-up for a batch, none for a frame.
"""

import asyncio
import fcntl
import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import TypeAlias
from uuid import uuid4

from msgspec import Struct

Frame: TypeAlias = Callable[[], bytes]
"""Makes its bytes when it is written: a batch of them in one go takes a third of the time."""

SEGMENT_BYTES = 16 << 20
"""A file that has grown so long is followed by another."""
SPARE_BYTES = 4 << 20
"""With less room on the disk no invocation is begun that would have to be recorded."""
SUFFIX = ".journal"
GATHER_S = 0.001
"""So long a busy loop puts a write off: one costs as much CPU as twenty records."""
IDLE_TURN_S = 0.000_05
"""A turn of the loop that took no longer had nothing to do."""

_log = logging.getLogger(__name__)


class JournalError(Exception):
    """What was appended is not on disk."""


class Segment(Struct, kw_only=True):
    """One file of a journal, locked for as long as this process has it."""

    path: Path
    fd: int
    durable: int = 0
    """So many bytes are whole and on disk."""
    sealed: bool = False
    """Whether nothing more will be appended."""

    @property
    def journal_id(self) -> str:
        return self.path.stem


class Journal:
    """Opened inside the event loop that appends to it."""

    def __init__(
        self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, spare_bytes: int = SPARE_BYTES
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._spare_bytes = spare_bytes
        self._loop = asyncio.get_running_loop()
        self._batches = SimpleQueue[bytes | None]()
        self._pending: list[_Pending] = []
        self._told: Sequence[asyncio.Future[None]] = ()
        self._committing = False
        self._gathers_since = 0.0
        self._turned_at = 0.0
        self._idle = asyncio.Event()
        self._idle.set()
        self._write_failed = False
        self._full = False
        self._sealing = False
        self.segments: list[Segment] = []
        """Oldest first; whoever has read a sealed one to its end drops it."""
        self._thread = threading.Thread(target=self._write, name="journal-writer", daemon=True)
        self._thread.start()

    async def append(self, frame: Frame) -> None:
        """Returns when the frame is on disk. Raises JournalError when it is not."""
        told = self._loop.create_future()
        self._add(_Pending(frame, told))
        await told

    def append_unawaited(self, frame: Frame) -> None:
        """For those that have nobody to tell."""
        self._add(_Pending(frame, None))

    @property
    def failing(self) -> bool:
        """Whether the last attempt to write failed, or the disk is as good as full."""
        return self._write_failed or self._full

    def look_for_room(self) -> None:
        """Called now and then: a full disk is seen before an answer depends on it."""
        with suppress(OSError):
            disk = os.statvfs(self._folder)
            room = disk.f_bavail * disk.f_frsize
            self._note(self._write_failed, full=room < self._spare_bytes, why="no space is left")
        if self._write_failed:
            self.append_unawaited(bytes)  # it may work again

    def seal(self) -> None:
        """What comes from now on, or a moment later, goes into another file."""
        if self._committing:
            self._sealing = True
        elif self.segments:
            self.segments[-1].sealed = True

    def drop(self, segment: Segment) -> None:
        """Takes a sealed segment's file away: all of it is in the store."""
        self.segments.remove(segment)
        remove(segment.path, segment.fd)

    async def settled(self) -> None:
        """Waits for what was appended before."""
        await self._idle.wait()

    async def aclose(self) -> None:
        """The files stay, for whoever reads them next."""
        await self.settled()
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join)
        for segment in self.segments:
            os.close(segment.fd)

    def _add(self, pending: "_Pending") -> None:
        self._pending.append(pending)
        if not self._committing:
            self._committing = True
            self._idle.clear()
            self._begin_to_gather()

    def _begin_to_gather(self) -> None:
        self._gathers_since = self._turned_at = perf_counter()
        self._loop.call_soon(self._gather)

    def _gather(self) -> None:
        """Turn by turn, until the loop would rest: whoever waits then waits for the disk alone."""
        now = perf_counter()
        idle = now - self._turned_at < IDLE_TURN_S
        if idle or now - self._gathers_since > GATHER_S:
            self._commit()
        else:
            self._turned_at = now
            self._loop.call_soon(self._gather)

    def _commit(self) -> None:
        batch, self._pending = self._pending, []
        self._told = [pending.told for pending in batch if pending.told is not None]
        self._batches.put(b"".join([pending.bytes() for pending in batch]))

    def _committed(self, error: OSError | None) -> None:
        for told in self._told:
            if told.done():
                continue
            if error is None:
                told.set_result(None)
            else:
                told.set_exception(JournalError(str(error)))
        self._note(error is not None, full=self._full, why=str(error))
        if self._pending:
            self._begin_to_gather()
        else:
            self._committing = False
            self._idle.set()

    def _note(self, write_failed: bool, *, full: bool, why: str) -> None:  # noqa: FBT001
        before = self.failing
        self._write_failed, self._full = write_failed, full
        if self.failing and not before:
            _log.error("a journal cannot be written: %s", why, extra={"folder": str(self._folder)})
        elif before and not self.failing:
            _log.warning("a journal is written again", extra={"folder": str(self._folder)})

    # In the thread.

    def _write(self) -> None:
        while (data := self._batches.get()) is not None:
            error = None
            try:
                self._append(data)
            except OSError as raised:
                error = raised
            # A loop that has been closed waits for nothing.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._committed, error)

    def _append(self, data: bytes) -> None:
        segment = self.segments[-1] if self.segments else None
        if segment is None or segment.sealed:
            segment = new_segment(self._folder)
            self.segments.append(segment)
        try:
            _write_all(segment.fd, data, segment.durable)
        except OSError:
            # Nobody knows what is on disk beyond; cut off, or at least never read by us.
            segment.sealed = True
            os.ftruncate(segment.fd, segment.durable)
            raise
        segment.durable += len(data)
        segment.sealed = self._sealing or segment.durable >= self._segment_bytes
        self._sealing = False


class _Pending(Struct, frozen=True):
    frame: Frame
    told: asyncio.Future[None] | None

    def bytes(self) -> bytes:
        """Empty if it cannot be made: that is its own caller's failure, not the batch's."""
        try:
            return self.frame()
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            if self.told is None:
                _log.exception("an invocation could not be recorded")
            elif not self.told.done():
                self.told.set_exception(error)
            return b""


def new_segment(folder: Path) -> Segment:
    """A file is locked before it has the name under which others look for it.

    Whatever is written to it is on disk when the write returns: one system call, not two.
    """
    path = folder / f"{uuid4().hex}{SUFFIX}"
    unnamed = path.with_suffix(".new")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_DSYNC
    fd = os.open(unnamed, flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(path)
        sync_folder(folder)
    except OSError:
        os.close(fd)
        unnamed.unlink(missing_ok=True)
        raise
    return Segment(path=path, fd=fd)


def orphans(folder: Path, own: Sequence[Segment]) -> list[Segment]:
    """Journals whose worker is no more, locked from here on; `durable` is their whole length."""
    known = {segment.path for segment in own}
    found: list[Segment] = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path in known:
            continue
        with suppress(FileNotFoundError):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                continue
            if os.fstat(fd).st_nlink == 0:  # somebody else has taken it away meanwhile
                os.close(fd)
                continue
            size = os.fstat(fd).st_size
            found.append(Segment(path=path, fd=fd, durable=size, sealed=True))
    return found


def remove(path: Path, fd: int) -> None:
    """The name first: whoever waits for the lock sees that it is gone."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)
    os.close(fd)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, position)
        view, position = view[written:], position + written
