"""One run of the child that serves the embedded model: started, ready, gone."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from outcrop.fleet.embedded_worker import WorkerSettings

COMMAND = (sys.executable, "-m", "outcrop.fleet.embedded_worker")

_READY_S = 120.0
_LEAVE_S = 3.0
_LAST_BYTES = 2000


class ChildFailedError(Exception):
    """It ended before it was ready; the text holds what it said last."""


class Child:
    """A child that is ready to be asked."""

    def __init__(self, process: Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    async def gone(self) -> str:
        """Returns when it has ended, with how."""
        return _obituary(await self._process.wait(), self._log)


@asynccontextmanager
async def running_child(
    settings: WorkerSettings, log: Path, command: Sequence[str] = COMMAND
) -> AsyncGenerator[Child]:
    """Entering succeeds when it is ready; leaving ends it promptly, whatever it is doing."""
    process = await _spawn(command, log)
    try:
        await _until_ready(process, settings, log)
        yield Child(process, log)
    finally:
        await _end(process)


def last_words(log: Path) -> str:
    """The end of what the last child wrote, on one line."""
    try:
        said = log.read_bytes()[-_LAST_BYTES:]
    except FileNotFoundError:
        return ""
    return " / ".join(said.decode(errors="replace").strip().splitlines())


async def _spawn(command: Sequence[str], log: Path) -> Process:
    with log.open("wb") as stderr:
        # A session of its own: Ctrl-C reaches the server alone, which then ends the child.
        return await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=stderr, start_new_session=True
        )


async def _until_ready(process: Process, settings: WorkerSettings, log: Path) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(settings) + b"\n")
    try:
        async with asyncio.timeout(_READY_S):
            line = await process.stdout.readline()
    except TimeoutError as error:
        raise ChildFailedError(f"not ready within {_READY_S:.0f} s") from error
    if line != b"ready\n":
        raise ChildFailedError(_obituary(await process.wait(), log))


async def _end(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(_LEAVE_S):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _obituary(status: int, log: Path) -> str:
    how = f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
    words = last_words(log)
    return f"{how}: {words}" if words else how
