"""The texts of files, read in a child process that is killed when nobody waits for them."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec

from outcrop.runtime.document_child import File, Found, found

_COMMAND: Final = (sys.executable, "-m", "outcrop.runtime.document_child")

# Common files take a tenth of a second.
_CPU_S = 20

# Files that are text already: to decode one is quicker than to start a process.
_PLAIN: Final = frozenset({"csv", "md", "txt"})

_FOUND = msgspec.msgpack.Decoder(list[Found])


class DocumentReader:
    def __init__(self, *, at_once: int | None = None, cpu_s: int = _CPU_S) -> None:
        """`at_once`: children; without a number as many as there are processors."""
        self._room = asyncio.Semaphore(at_once or os.cpu_count() or 1)
        self._command = (*_COMMAND, str(cpu_s))

    async def texts(self, files: Sequence[File]) -> Sequence[Found]:
        """One for each file, in their order."""
        if all(file.kind in _PLAIN for file in files):
            return await asyncio.to_thread(lambda: [found(file) for file in files])
        async with self._room, self._child() as child:
            answer, _ = await child.communicate(msgspec.msgpack.encode(files))
        if child.returncode == 0:
            return _FOUND.decode(answer)
        return [Found(no_text=_too_much(files)) for _ in files]

    @asynccontextmanager
    async def _child(self) -> AsyncGenerator[Process]:
        # A session of its own: Ctrl-C reaches the server alone.
        child = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True
        )
        try:
            yield child
        finally:
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    child.kill()
                await child.wait()


def _too_much(files: Sequence[File]) -> str:
    kinds = sorted({file.kind.upper() for file in files if file.kind not in _PLAIN})
    return f"The {' or '.join(kinds)} specified takes too long or too much memory to read"
