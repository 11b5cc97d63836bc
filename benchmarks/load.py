"""Asks one HTTP/1.1 server the same questions over and over and counts the answers.

As a program: `python load.py HOST PORT CONNECTIONS SECONDS < requests`, where the requests, as they
go out on the wire, are a JSON list of base64 strings; prints a `Load` as JSON.
"""

import asyncio
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import msgspec
import uvloop
from msgspec import Struct

END_OF_CHUNKS = b"\r\n0\r\n\r\n"


class Load(Struct, frozen=True, kw_only=True):
    answers: int
    refusals: int
    """Of the answers, those with another status than 200."""
    seconds: float
    median_ms: float
    """From a request to the whole of its answer."""

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds


def loaded(
    port: int, request: bytes, connections: int, seconds: float, *, command: Sequence[str] = ()
) -> Load:
    """By this program in a process of its own; `command`: what it is run by."""
    program = (*command, sys.executable, "-m", "benchmarks.load", "127.0.0.1")
    ended = subprocess.run(
        [*program, str(port), str(connections), str(seconds)],
        input=msgspec.json.encode([request]),
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
        check=True,
    )
    load = msgspec.json.decode(ended.stdout, type=Load)
    assert load.answers, load
    assert load.refusals == 0, load
    return load


class Asker(asyncio.Protocol):
    """One connection: the next request goes out when the last answer is in."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._received = bytearray()
        self._expected = 0
        self._end = b""
        self.answers = 0
        self.refusals = 0
        self.took_s: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._ask()

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if not self._expected:
            head, blank, _ = received.partition(b"\r\n\r\n")
            if not blank:
                return
            lowered = head.lower()
            self._end = END_OF_CHUNKS if b"\r\ntransfer-encoding: chunked" in lowered else b""
            self._expected = len(head) + 4 + (0 if self._end else _content_length(lowered))
        if len(received) >= self._expected and received.endswith(self._end):
            self._count(received.startswith(b"HTTP/1.1 200"))

    def _count(self, ok: bool) -> None:  # noqa: FBT001 - what is counted
        self.answers += 1
        self.refusals += not ok
        self._received.clear()
        self._expected = 0
        self.took_s.append(time.perf_counter() - self._asked_s)
        self._ask()

    def _ask(self) -> None:
        self._asked_s = time.perf_counter()
        self.transport.write(next(self._requests))


def _content_length(lowered: bytes | bytearray) -> int:
    start = lowered.index(b"content-length:") + 15
    end = lowered.find(b"\r\n", start)
    return int(lowered[start : end if end > 0 else None])


async def ask(
    host: str, port: int, requests: Sequence[bytes], *, connections: int, seconds: float
) -> Load:
    loop = asyncio.get_running_loop()
    endless = itertools.cycle(requests)
    askers = [Asker(endless) for _ in range(connections)]
    started = time.perf_counter()
    for asker in askers:
        await loop.create_connection(lambda asker=asker: asker, host, port)  # type: ignore[misc]  # mypy does not infer a lambda's default
    await asyncio.sleep(seconds)
    result = Load(
        answers=sum(asker.answers for asker in askers),
        refusals=sum(asker.refusals for asker in askers),
        seconds=time.perf_counter() - started,
        median_ms=statistics.median(_times_s(askers)) * 1000,
    )
    for asker in askers:
        asker.transport.abort()
    return result


def _times_s(askers: Sequence[Asker]) -> list[float]:
    return [took for asker in askers for took in asker.took_s] or [0.0]


def main() -> None:
    host, port, connections, seconds = sys.argv[1:]
    requests = msgspec.json.decode(sys.stdin.buffer.read(), type=list[bytes])
    load = uvloop.run(
        ask(host, int(port), requests, connections=int(connections), seconds=float(seconds))
    )
    sys.stdout.buffer.write(msgspec.json.encode(load) + b"\n")


if __name__ == "__main__":
    main()
