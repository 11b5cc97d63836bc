"""HTTP/1.1 towards one server: kept-alive connections, answers read only as fast as they are used.

Parsing is llhttp's (through httptools), sockets are asyncio's. What this adds is what a model
server needs: one POST, a streamed answer, and a connection that is dropped the moment nobody wants
the rest.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Self, cast
from urllib.parse import urlsplit

import httptools
from msgspec import Struct

# An answer whose head is longer is not one of a model server.
_HEAD_BYTES = 64 * 1024
# Read ahead of whoever reads the answer; beyond it the server has to wait.
_BUFFER_BYTES = 64 * 1024
# More idle connections than this are not kept.
_IDLE_CONNECTIONS = 512


class CannotConnectError(Exception):
    """No connection came about: the server has seen nothing of the request."""


class BrokenAnswerError(Exception):
    """The answer ended too early or is no HTTP."""


class Patience(Struct, frozen=True, kw_only=True):
    """How long to wait, each for one thing; what runs out raises TimeoutError."""

    connect_s: float
    first_byte_s: float
    between_chunks_s: float


class Address(Struct, frozen=True, kw_only=True):
    """Where a server listens: a TCP port, with or without TLS, or a unix socket."""

    host: str = ""
    port: int = 0
    tls: bool = False
    unix_socket: str | None = None
    base_path: str = ""

    @classmethod
    def parse(cls, url: str) -> Self:
        """`http://host:8000/v1` or `https://host/v1`; raises ValueError for anything else."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"not a URL of a model server: {url!r}")
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return cls(host=parts.hostname, port=port, tls=tls, base_path=parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """The Host header: without a port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in {0, 443 if self.tls else 80} else f"{host}:{self.port}"


class HttpClient:
    def __init__(self, address: Address, *, headers: dict[str, str], patience: Patience) -> None:
        self._address = address
        self._patience = patience
        self._idle: list[_Connection] = []
        lines = {"host": self._address.authority, **headers}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())

    @asynccontextmanager
    async def post(self, path: str, body: bytes) -> AsyncGenerator["Answer"]:
        """Entering succeeds when the head of the answer is here; leaving early hangs up."""
        connection = await self._asked(self._request(path, body))
        try:
            yield Answer(connection, self._patience)
        finally:
            self._give_back(connection)

    async def aclose(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _request(self, path: str, body: bytes) -> bytes:
        line = f"POST {self._address.base_path}{path} HTTP/1.1\r\n"
        return f"{line}{self._head}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body

    async def _asked(self, request: bytes) -> "_Connection":
        """A connection on which the head of the answer has arrived."""
        while (connection := self._idle_connection()) is not None:
            if await self._heard(connection, request):
                return connection
        connection = await self._connect()
        if not await self._heard(connection, request):
            raise BrokenAnswerError("hung up without an answer")
        return connection

    async def _heard(self, connection: "_Connection", request: bytes) -> bool:
        """False when the server hung up without a word, as it may on an idle connection."""
        try:
            connection.ask(request)
            await connection.wait_for_head(self._patience.first_byte_s)
        except BaseException:
            connection.abort()
            raise
        return not connection.silent

    def _idle_connection(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    async def _connect(self) -> "_Connection":
        try:
            async with asyncio.timeout(self._patience.connect_s):
                return await _connect(self._address)
        except (OSError, TimeoutError) as error:
            raise CannotConnectError(str(error) or "no connection in time") from error

    def _give_back(self, connection: "_Connection") -> None:
        if connection.reusable and len(self._idle) < _IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.abort()


class Answer:
    """Status, and the body as it arrives."""

    def __init__(self, connection: "_Connection", patience: Patience) -> None:
        self.status = connection.status
        self._connection = connection
        self._patience = patience
        self._patience_s = patience.first_byte_s

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._connection.next_chunk(self._patience_s)
        self._patience_s = self._patience.between_chunks_s
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def read(self, at_most: int) -> bytes:
        """The body, cut at `at_most` bytes."""
        body = b""
        async for chunk in self:
            body += chunk
            if len(body) >= at_most:
                break
        return body[:at_most]


class _Connection(asyncio.Protocol):
    """One socket: a request, its answer, the next request."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._lost = False
        self._paused = False
        self._forget()

    def _forget(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._head_bytes = 0
        self._head_done = False
        self._framed = False
        self._keeps_alive = False
        self._done = False
        self._error: str | None = None
        self.status = 0

    @property
    def open(self) -> bool:
        return not (self._lost or self._transport.is_closing())

    @property
    def silent(self) -> bool:
        """Closed before a byte of an answer."""
        return self._lost and not self._head_bytes

    @property
    def reusable(self) -> bool:
        return self._done and not self._chunks and self.open and self._keeps_alive

    def ask(self, request: bytes) -> None:
        self._forget()
        self._transport.write(request)

    async def wait_for_head(self, patience_s: float) -> None:
        while not (self._head_done or self._lost):
            await self._wait(patience_s)
        if not self._head_done and not self.silent:
            raise BrokenAnswerError(self._error or "hung up before its answer")

    async def next_chunk(self, patience_s: float) -> bytes | None:
        """What has arrived since the last call, or None at the end of the answer."""
        while not self._chunks:
            if self._done:
                return None
            if self._lost:
                raise BrokenAnswerError(self._error or "hung up in its answer")
            await self._wait(patience_s)
        return self._take()

    def abort(self) -> None:
        self._transport.abort()

    def close(self) -> None:
        self._transport.close()

    def _take(self) -> bytes:
        chunk = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused and not self._lost:
            self._paused = False
            self._transport.resume_reading()
        return chunk

    async def _wait(self, patience_s: float) -> None:
        # One future and one timer, only when there is nothing to hand out: the hot path of streams.
        self._waiter = waiter = self._loop.create_future()
        timer = self._loop.call_later(patience_s, _run_out, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += 0 if self._head_done else len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"no HTTP: {error}")
        if self._head_bytes > _HEAD_BYTES and not self._head_done:
            self._fail("an endless head")
        if self._buffered > _BUFFER_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        # Without a length and without chunks, the end of the connection is the end of the answer.
        if self._head_done and not self._framed:
            self._done = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if exc is not None:
            self._error = self._error or str(exc)
        self._wake()

    def _fail(self, error: str) -> None:
        self._error = error
        self._lost = True
        self._transport.abort()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._done:
            self._fail("spoke unasked")

    def on_header(self, name: bytes, value: bytes) -> None:  # noqa: ARG002 - the parser calls it so
        self._framed |= name.lower() in {b"content-length", b"transfer-encoding"}

    def on_headers_complete(self) -> None:
        if self._done:
            return
        self.status = self._parser.get_status_code()
        # 100 Continue and its like come before the answer.
        self._head_done = self.status >= 200

    def on_body(self, body: bytes) -> None:
        if self._done:
            return
        self._chunks.append(body)
        self._buffered += len(body)

    def on_message_complete(self) -> None:
        self._done = self._head_done
        self._keeps_alive = self._parser.should_keep_alive()


def _run_out(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


async def _connect(address: Address) -> _Connection:
    loop = asyncio.get_running_loop()
    protocol: Callable[[], _Connection] = _Connection
    if address.unix_socket is not None:
        _, connection = await loop.create_unix_connection(protocol, address.unix_socket)
        return connection
    tls = True if address.tls else None
    _, connection = await loop.create_connection(protocol, address.host, address.port, ssl=tls)
    return connection
