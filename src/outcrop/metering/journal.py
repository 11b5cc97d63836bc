"""The journal of one worker: entries appended to files, on disk before anybody is told so.

What arrives while the disk is busy, or within a moment while more is to come, shares a write. A
file is locked while it is written to. Who reads it need not know who writes: of one that is locked
he reads what is whole, and one that he can lock himself he reads to its end and takes away.
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
from typing import Generic, TypeAlias, TypeVar
from uuid import uuid4

from msgspec import Struct

EntryT = TypeVar("EntryT")
_Pending: TypeAlias = tuple[EntryT, asyncio.Future[None] | None]
Seconds: TypeAlias = Callable[[], float]
"""Of a clock that only goes on."""

SEGMENT_BYTES = 8 << 20
"""A file that has grown so long is followed by another."""
LONGEST_QUICK_BYTES = 256 << 10
"""More than that takes its time on any disk: a thread writes it."""
SPARE_BYTES = 4 << 20
"""With less room on the disk no invocation is begun that would have to be recorded."""
SUFFIX = ".journal"
GATHER_S = 0.002
"""So long a write is put off while more is to come: one costs as much CPU as twenty records."""
QUICK_S = 0.000_25
"""A disk that takes no longer is waited for; a thread writes to one that does."""
SHORTEST_SLOW_S, LONGEST_SLOW_S = 1.0, 60.0
"""So long a disk that was slow is left to the thread before the loop tries it again."""

_log = logging.getLogger(__name__)


class JournalError(Exception):
    """What was appended is not on disk."""


class Segment(Struct, kw_only=True):
    """One file of a journal, locked for as long as this process has it."""

    path: Path
    fd: int
    durable: int = 0
    """So many bytes are whole and on disk."""

    @property
    def journal_id(self) -> str:
        return self.path.stem


class Journal(Generic[EntryT]):
    """Opened inside the event loop that appends to it."""

    def __init__(
        self,
        folder: Path,
        pack: Callable[[Sequence[EntryT]], bytes],
        *,
        written: Callable[[Sequence[EntryT]], None] | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        spare_bytes: int = SPARE_BYTES,
        seconds: Seconds = perf_counter,
    ) -> None:
        """`pack` makes frames of what is written together, a third as dear as one by one.

        `written` hears of what is on disk before those who wait for it do.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._pack = pack
        self._written = written
        self._segment_bytes = segment_bytes
        self._spare_bytes = spare_bytes
        self._seconds = seconds
        self._disk = _Disk(seconds)
        self._loop = asyncio.get_running_loop()
        self._batches = SimpleQueue[bytes | None]()
        self._pending: list[_Pending[EntryT]] = []
        self._writing: Sequence[_Pending[EntryT]] = ()
        self._expected = 0
        self._timer: asyncio.TimerHandle | None = None
        self._thread_writes = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._write_failed = False
        self._full = False
        self._sealing = False
        self._segment: Segment | None = None
        self._by_thread = threading.Thread(target=self._write, name="journal-writer", daemon=True)
        self._by_thread.start()

    def expect(self) -> None:
        """One more entry is to come: what is appended before may wait a moment for it."""
        self._expected += 1

    def append(self, entry: EntryT) -> "asyncio.Future[None]":
        """Done when the entry is on disk; raises JournalError when it is not."""
        told = self._loop.create_future()
        self._add((entry, told))
        return told

    def append_unawaited(self, entry: EntryT) -> None:
        """For those that have nobody to tell."""
        self._add((entry, None))

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
        if self._write_failed and not self._thread_writes:
            self._commit()  # with nothing to write, perhaps: it may work again

    def seal(self) -> None:
        """What comes from now on, or a moment later, goes into another file."""
        if self._thread_writes:
            self._sealing = True
        else:
            self._let_go()

    async def settled(self) -> None:
        """Waits for what was appended before."""
        await self._idle.wait()

    async def aclose(self) -> None:
        """The files stay, for whoever reads them next."""
        await self.settled()
        self._batches.put(None)
        await asyncio.to_thread(self._by_thread.join)
        self._let_go()

    def _add(self, pending: _Pending[EntryT]) -> None:
        if not self._pending:
            self._idle.clear()
        self._pending.append(pending)
        if self._expected:
            self._expected -= 1
        if self._thread_writes:
            return
        if not self._expected:
            self._commit()
        elif self._timer is None:
            self._timer = self._loop.call_later(GATHER_S, self._commit)

    def _commit(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._writing, self._pending = self._pending, []
        data = self._packed()
        # To make a file takes longer than a write.
        is_open = self._segment is not None
        if is_open and len(data) <= LONGEST_QUICK_BYTES and self._disk.is_quick():
            began = self._seconds()
            error = self._attempt(data)
            self._disk.took(self._seconds() - began)
            self._committed(error)
        else:
            self._idle.clear()
            self._thread_writes = True
            self._batches.put(data)

    def _packed(self) -> bytes:
        try:
            return self._pack([entry for entry, _ in self._writing])
        except Exception:  # noqa: BLE001 - told to the one whose entry it is
            alone = [(pending, self._packed_alone(*pending)) for pending in self._writing]
            self._writing = [pending for pending, frames in alone if frames is not None]
            return b"".join([frames for _, frames in alone if frames is not None])

    def _packed_alone(self, entry: EntryT, told: "asyncio.Future[None] | None") -> bytes | None:
        """None if it cannot be made: that is its own caller's failure, not the batch's."""
        try:
            return self._pack([entry])
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            if told is None:
                _log.exception("an invocation could not be recorded")
            elif not told.done():
                told.set_exception(error)
            return None

    def _committed(self, error: OSError | None) -> None:
        if error is None and self._written is not None:
            self._tell(self._written)
        for _, told in self._writing:
            if told is None or told.done():
                continue
            if error is None:
                told.set_result(None)
            else:
                told.set_exception(JournalError(str(error)))
        self._note(error is not None, full=self._full, why=str(error))
        segment = self._segment
        if segment is not None and (
            self._sealing or error is not None or segment.durable >= self._segment_bytes
        ):
            self._let_go()
        self._thread_writes = False
        if self._pending:
            self._commit()
        else:
            self._idle.set()

    def _let_go(self) -> None:
        """Nothing more is written to the file, if there is one: it is for who locks it next."""
        self._sealing = False
        if self._segment is not None:
            segment, self._segment = self._segment, None
            # After an error nobody knows what is on disk beyond: cut off, if that is possible.
            with suppress(OSError):
                os.ftruncate(segment.fd, segment.durable)
            os.close(segment.fd)

    def _tell(self, written: Callable[[Sequence[EntryT]], None]) -> None:
        try:
            written([entry for entry, _ in self._writing])
        except Exception:  # noqa: BLE001 - what is on disk is on disk
            _log.exception("it could not be told that a journal was written")

    def _note(self, write_failed: bool, *, full: bool, why: str) -> None:  # noqa: FBT001
        before = self.failing
        self._write_failed, self._full = write_failed, full
        if self.failing and not before:
            _log.error("a journal cannot be written: %s", why, extra={"folder": str(self._folder)})
        elif before and not self.failing:
            _log.warning("a journal is written again", extra={"folder": str(self._folder)})

    def _write(self) -> None:
        """What the thread does."""
        while (data := self._batches.get()) is not None:
            error = self._attempt(data)
            # A loop that has been closed waits for nothing.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._committed, error)

    # In the thread or in the loop; never in both, as one write is begun after another.

    def _attempt(self, data: bytes) -> OSError | None:
        try:
            self._append(data)
        except OSError as error:
            return error
        return None

    def _append(self, data: bytes) -> None:
        if self._segment is None:
            self._segment = new_segment(self._folder, self._segment_bytes)
        _write_all(self._segment.fd, data, self._segment.durable)
        self._segment.durable += len(data)


class _Disk:
    """How soon it says that something is written: whether it is worth while to wake a thread."""

    def __init__(self, seconds: Seconds) -> None:
        self._seconds = seconds
        self._average_s = QUICK_S
        self._slow_until = 0.0
        self._slow_for_s = SHORTEST_SLOW_S

    def is_quick(self) -> bool:
        """Sooner than a thread could be woken, as far as is known; a slow one is tried again."""
        return self._seconds() >= self._slow_until

    def took(self, seconds: float) -> None:
        """Of a write that the loop waited for."""
        self._average_s += (seconds - self._average_s) / 32
        if self._average_s > QUICK_S:
            self._slow_until = self._seconds() + self._slow_for_s
            self._slow_for_s = min(2 * self._slow_for_s, LONGEST_SLOW_S)
            self._average_s = QUICK_S
        elif self._average_s < QUICK_S / 2:
            self._slow_for_s = SHORTEST_SLOW_S


def new_segment(folder: Path, length_bytes: int = 0) -> Segment:
    """A file is locked before it has the name under which others look for it.

    Whatever is written to it is on disk when the write returns: one system call, not two. It has
    its length from the beginning, without taking room: one that grows with each write has the file
    system's own journal written each time, too, which takes half as long again.
    """
    path = folder / f"{uuid4().hex}{SUFFIX}"
    unnamed = path.with_suffix(".new")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_DSYNC
    fd = os.open(unnamed, flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(OSError):
            os.ftruncate(fd, length_bytes)  # where that may not be so long, it grows
        unnamed.rename(path)
        sync_folder(folder)
    except OSError:
        os.close(fd)
        unnamed.unlink(missing_ok=True)
        raise
    return Segment(path=path, fd=fd)


def locked(path: Path) -> Segment | None:
    """None while somebody writes to it, or has locked it to read it; or it is gone.

    `durable` is its whole length: what was not written to, at the end, is zeros.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    status = os.fstat(fd)
    if status.st_nlink == 0:  # somebody else has taken it away meanwhile
        os.close(fd)
        return None
    return Segment(path=path, fd=fd, durable=status.st_size)


def files_in(folder: Path) -> list[Path]:
    """Of all journals, whoever has them."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def move(segment: Segment, folder: Path) -> None:
    """What is whole of a locked one goes to another folder, for whoever looks there."""
    os.ftruncate(segment.fd, segment.durable)
    segment.path.rename(folder / segment.path.name)
    sync_folder(folder)
    sync_folder(segment.path.parent)


def remove(path: Path) -> None:
    """To be called with the lock: whoever has it next sees that the file is gone."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


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
