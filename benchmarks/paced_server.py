"""A model server of OpenAI's shape that takes its time: each answer a random one around a mean.

As a program, `python -m benchmarks.paced_server SECONDS` prints its port and serves until it ends.
"""

import asyncio
import random
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import uvloop

from benchmarks.scripted_server import STREAMED, Connection
from tests.outcrop_process import REPOSITORY

# Answers of real models differ in length; equal ones would end in step.
_SPREAD = 0.4


class PacedConnection(Connection):
    def __init__(self, mean_s: float) -> None:
        super().__init__()
        self._mean_s = mean_s
        self._timer: asyncio.TimerHandle | None = None

    def answer(self, _body: bytes) -> None:
        took_s = self._mean_s * random.uniform(1 - _SPREAD, 1 + _SPREAD)
        self._timer = asyncio.get_running_loop().call_later(took_s, self.transport.write, STREAMED)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()


@contextmanager
def paced_server(mean_s: float) -> Generator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.paced_server", str(mean_s)],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert process.stdout
    try:
        with process.stdout as told:
            yield int(told.readline())
    finally:
        process.terminate()
        process.wait()


async def serve(mean_s: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: PacedConnection(mean_s), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(float(sys.argv[1])))
