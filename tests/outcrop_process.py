"""A real `outcrop serve` in a process of its own, on a free port, while a test needs it."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from configparser import ConfigParser
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tests.secrets_in_play import leaks_of, note_environment, note_state
from tests.waiting import eventually

REPOSITORY = Path(__file__).parent.parent
PYTHON = os.environ.get("OUTCROP_PYTHON", sys.executable)
"""Whose Outcrop the tests ask: that of another environment, where its Python is named."""
SERVE = (PYTHON, "-m", "outcrop", "serve")
SEALING = {"OUTCROP_SEALING_KEYS": "b3V0Y3JvcCdzIHRlc3RzIHNlYWwgd2l0aCB0aGlzISE="}
"""For servers that share a database and no state folder."""
START_S = 20.0
_OUTPUTS = re.compile(r"""\b(?:cloudwatch_folder|folder|file)\s*=\s*["'](/[^"']+)["']""")
"""In a configuration: where else than in its state folder a server writes."""
STOP_S = 12.0


@dataclass(frozen=True)
class Credentials:
    access_key_id: str
    secret_access_key: str
    account_id: str


@dataclass(frozen=True)
class OutcropProcess:
    url: str
    state: Path
    process: subprocess.Popen[bytes]
    log: Path
    """What the server wrote to stderr."""

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port
        return port

    @property
    def credentials(self) -> Credentials:
        parser = ConfigParser(interpolation=None)
        parser.read(self.state / "credentials")
        section = parser["default"]
        return Credentials(
            section["aws_access_key_id"],
            section["aws_secret_access_key"],
            section["aws_account_id"],
        )

    def environment(self) -> dict[str, str]:
        """What `outcrop env` exports."""
        printed = subprocess.run(
            [PYTHON, "-m", "outcrop", "env", "--state", self.state],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        exported = [shlex.split(line)[1].partition("=") for line in printed.splitlines()]
        return {name: value for name, _, value in exported}

    def kill(self) -> None:
        """As `kill -9`: no farewell, nothing is closed."""
        self.process.kill()
        self.process.wait(STOP_S)

    def stop(self) -> int:
        """As an operator stops it; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


@contextmanager
def outcrop_process(
    state: Path,
    *,
    config: str = "",
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = SERVE,
) -> Generator[OutcropProcess]:
    """Serves `state` (a folder, which may be that of an earlier server) until the block ends.

    `config` is the text of a configuration file; `environment` is added to that of the tests.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    endpoint, log, settings = state / "endpoint.json", state / "stderr.log", state / "config.toml"
    endpoint.unlink(missing_ok=True)
    settings.write_text(config)
    note_environment(environment or {})
    where = ("--listen", "127.0.0.1:0", "--state", state, "--config", settings)
    with log.open("ab") as stderr, (state / "stdout.log").open("ab") as stdout:
        process = subprocess.Popen(
            [*command, *where, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environment or {})},
        )
    try:
        _await(endpoint, process, log)
        url = msgspec.json.decode(endpoint.read_bytes())["url"]
        yield OutcropProcess(url, state, process, log)
    finally:
        _end(process)
        _check_no_secret(state, config)


def _check_no_secret(state: Path, config: str) -> None:
    """Of every server that a test runs: nothing that it wrote holds a secret of anybody."""
    note_state(state)
    outputs = [Path(path) for path in _OUTPUTS.findall(config)]
    written = [path for top in (state, *outputs) for path in (top, *top.rglob("*"))]
    told = leaks_of(written)
    assert not told, f"in {state}: {', '.join(told)}"


def _await(endpoint: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    """The server notes where it serves once it does."""
    eventually(lambda: endpoint.exists() or process.poll() is not None, START_S)
    assert endpoint.exists(), f"outcrop serve did not start:\n{log.read_text()}"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_S)
