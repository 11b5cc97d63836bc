"""A scripted model server on a real socket: answers, refuses, stalls, breaks off, talks rubbish."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from tests.fakes.connections import FakeServer, Request, read_request


class Answers(Struct, frozen=True):
    """Sends `chunks`, then the end of the answer."""

    chunks: Sequence[bytes]


class AnswersStatus(Struct, frozen=True):
    status: int
    body: bytes = b"{}"
    headers: Mapping[str, str] = {}


class StallsBeforeTheFirstByte(Struct, frozen=True):
    """Takes the request and says nothing."""


class StallsAfter(Struct, frozen=True):
    """Sends `chunks` and then nothing more, with the answer still open."""

    chunks: Sequence[bytes]


class BreaksOffAfter(Struct, frozen=True):
    """Sends `chunks` and drops the connection in the middle of the answer."""

    chunks: Sequence[bytes]


class AnswersInTwo(Struct, frozen=True):
    """Sends `first`, and the rest when the test says `go`."""

    first: bytes
    rest: bytes


class Trickles(Struct, frozen=True):
    """Sends `chunk` again and again, with a pause each time, and never ends."""

    chunk: bytes
    pause_s: float


class Pours(Struct, frozen=True):
    """Sends `chunk` again and again, as fast as it is read."""

    chunk: bytes


class Says(Struct, frozen=True):
    """Sends these very bytes, head and all, and hangs up."""

    raw: bytes


Script = (
    Answers
    | AnswersStatus
    | StallsBeforeTheFirstByte
    | StallsAfter
    | BreaksOffAfter
    | AnswersInTwo
    | Trickles
    | Pours
    | Says
)


class FakeModelServer(FakeServer):
    """Plays one script for every request."""

    base = "/v1"

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls=tls)
        self.script = script
        """May be another one for the next request."""
        self.requests: list[Request] = []
        self.connections = 0
        self.sent_bytes = 0
        """What left for good of an answer without an end: the rest waits for who reads it."""
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.left = asyncio.Event()
        """Set when a client closes its connection while its answer is not at its end."""

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while (request := await read_request(reader)) is not None:
            self.requests.append(request)
            self.asked.set()
            await self._play(reader, writer)

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match self.script:
            case Answers(chunks=chunks):
                await _send(writer, chunks)
                writer.write(b"0\r\n\r\n")
            case AnswersStatus(status=status, body=body, headers=headers):
                extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                head = f"HTTP/1.1 {status} So\r\n{extra}content-length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
            case StallsBeforeTheFirstByte():
                await self._wait_until_left(reader)
            case StallsAfter(chunks=chunks):
                await _send(writer, chunks)
                await self._wait_until_left(reader)
            case BreaksOffAfter(chunks=chunks):
                await _send(writer, chunks)
                raise ConnectionError
            case AnswersInTwo() | Trickles() | Pours() | Says():
                await self._play_on(writer, self.script)
        await writer.drain()

    async def _play_on(
        self, writer: asyncio.StreamWriter, script: AnswersInTwo | Trickles | Pours | Says
    ) -> None:
        match script:
            case AnswersInTwo(first=first, rest=rest):
                await _send(writer, [first])
                await self.go.wait()
                await _send_chunk(writer, rest)
                writer.write(b"0\r\n\r\n")
            case Trickles(chunk=chunk, pause_s=pause_s):
                await self._repeat(writer, chunk, pause_s)
            case Pours(chunk=chunk):
                await self._repeat(writer, chunk, 0)
            case Says(raw=raw):
                writer.write(raw)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
                raise ConnectionError

    async def _repeat(self, writer: asyncio.StreamWriter, chunk: bytes, pause_s: float) -> None:
        await _send(writer, [])
        try:
            while not writer.is_closing():
                await _send_chunk(writer, chunk)
                self.sent_bytes += len(chunk)
                await asyncio.sleep(pause_s)
        finally:
            self.left.set()
        raise ConnectionError

    async def _wait_until_left(self, reader: asyncio.StreamReader) -> None:
        await reader.read()
        self.left.set()
        raise ConnectionError


async def _send(writer: asyncio.StreamWriter, chunks: Sequence[bytes]) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    for chunk in chunks:
        await _send_chunk(writer, chunk)


async def _send_chunk(writer: asyncio.StreamWriter, chunk: bytes) -> None:
    writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
    await writer.drain()


def url_that_refuses() -> str:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def sse(*payloads: Any) -> bytes:
    """Server-sent events as model servers write them, closed by `[DONE]`."""
    lines = [f"data: {json.dumps(payload)}\n\n" for payload in payloads]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


def delta(text: str | None = None, *, finish_reason: str | None = None, **more: Any) -> Any:
    """One chunk of a chat completion."""
    content = {} if text is None else {"content": text}
    return {"choices": [{"index": 0, "delta": content, "finish_reason": finish_reason, **more}]}


def usage(input_tokens: int, output_tokens: int, *, cached: int = 0) -> Any:
    """The last chunk: counts and no choices."""
    return {
        "choices": [],
        "usage": {
            "prompt_tokens": input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    }


@contextmanager
def in_thread(script: Script) -> Generator[FakeModelServer]:
    """A scripted server in a thread of its own; the test may give it another script."""
    ready, over = threading.Event(), threading.Event()
    fake = FakeModelServer(script)

    async def serve() -> None:
        async with fake:
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield fake
    finally:
        over.set()
        thread.join()
