"""What processes that share one state folder know about an embedded model."""

import fcntl
import os
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from outcrop.fleet.embedded_child import last_words

# What the kernel takes for the path of a unix socket, less its closing NUL: 103 on macOS, 107 on
# Linux.
_SOCKET_PATH_BYTES = 103


class EmbeddedStatus(Struct, frozen=True, kw_only=True):
    """As seen from any process, by way of the state folder."""

    state: Literal["not running", "starting", "ready", "failing"]
    pid: int | None = None
    detail: str = ""


class Published(Struct, frozen=True, kw_only=True):
    """What the owner of the child tells the other processes."""

    socket: str = ""
    api_key: str = ""
    pid: int | None = None
    failure: str = ""


class EmbeddedFolder:
    def __init__(self, state: Path, name: str = "embedded") -> None:
        self._path = state / name
        self.lock = self._path / "lock"
        self.board = self._path / "published.json"
        self.log = self._path / "worker.log"

    def create(self) -> None:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def socket(self) -> Generator[str]:
        """A path to listen on: here if the kernel takes so long a path, else in a short folder."""
        path = self._path / "embedded.sock"
        with ExitStack() as held:
            if len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
                short = held.enter_context(tempfile.TemporaryDirectory(prefix="outcrop-"))
                path = Path(short) / "embedded.sock"
            # A child that was killed leaves its socket behind; nobody can listen on it again.
            path.unlink(missing_ok=True)
            yield str(path)


def embedded_status(state: Path, name: str = "embedded") -> EmbeddedStatus:
    """For `outcrop doctor`, which is another process."""
    folder = EmbeddedFolder(state, name)
    said = last_words(folder.log)
    if not Lock(folder.lock).is_held_by_another():
        return EmbeddedStatus(state="not running", detail=said)
    published = Board(folder.board).read()
    if published.failure:
        return EmbeddedStatus(state="failing", detail=published.failure)
    state_name: Literal["ready", "starting"] = "ready" if published.socket else "starting"
    return EmbeddedStatus(state=state_name, pid=published.pid, detail=said)


class Lock:
    """Held by one process at a time, and by none that has died."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._held = False

    def take(self) -> bool:
        if not self._held:
            self._held = self._try()
        return self._held

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._held = None, False

    def is_held_by_another(self) -> bool:
        if not self._path.exists():
            return False
        taken = self._try()
        self.release()
        return not taken

    def _try(self) -> bool:
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class Board:
    """A small file that the owner of the child writes and everybody reads, often."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int] | None = None
        self._content = Published()

    def read(self) -> Published:
        try:
            stat = self._path.stat()
            version = (stat.st_ino, stat.st_mtime_ns)
            if version != self._version:
                self._content = msgspec.json.decode(self._path.read_bytes(), type=Published)
                self._version = version
        except FileNotFoundError:
            self._content, self._version = Published(), None
        return self._content

    def write(self, published: Published) -> None:
        beside = self._path.with_suffix(".new")
        beside.touch(mode=0o600)
        beside.write_bytes(msgspec.json.encode(published))
        beside.replace(self._path)

    def wipe(self) -> None:
        self._path.unlink(missing_ok=True)
