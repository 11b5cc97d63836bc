"""One socket to a server: a request, its answer read only as fast as it is used, the next request.

Parsing is llhttp's (through httptools), sockets are asyncio's.
"""

import asyncio
from typing import NoReturn, cast

import httptools

# An answer whose head is longer is not one of a model server.
_HEAD_BYTES = 64 * 1024
# Read ahead of whoever reads the answer; beyond it the server has to wait.
_BUFFER_BYTES = 64 * 1024


class BrokenAnswerError(Exception):
    """The answer ended too early or is no HTTP."""


class Connection(asyncio.Protocol):
    """Moments (`until`) are on the loop's clock; what is not there by then raises TimeoutError."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._lost = False
        self._paused = False
        self._requests = 0
        self.asked_at = 0.0
        self.idle_since = 0.0
        self._chunks: list[bytes] = []
        self.on_body = self._chunks.append
        """What the parser calls most, and all that is to be done with it."""
        # Looks once what there is to call. Reads one answer after the other.
        self._parser = httptools.HttpResponseParser(self)
        self._forget()

    def _forget(self) -> None:
        self._chunks.clear()
        self._buffered = 0
        self._head_bytes = 0
        self._head_done = False
        self._framed = False
        self._keeps_alive = False
        self._done = False
        self._error: str | None = None
        self.status = 0
        self.headers: dict[bytes, bytes] = {}

    @property
    def open(self) -> bool:
        return not (self._lost or self._transport.is_closing())

    @property
    def gone_before_answering(self) -> bool:
        """Closed as an idle connection may be at any moment: the request was not looked at."""
        if self._requests > 1 and self.status == 408 and not self._keeps_alive:
            # "You have been idle too long", under way when the request went out.
            return True
        return self._lost and not self._head_bytes

    @property
    def why_gone(self) -> str:
        return self._error or "hung up without an answer"

    @property
    def reusable(self) -> bool:
        """After a whole answer to a request that the server took whole."""
        read = self._done and not self._chunks
        return (
            read and self.open and self._keeps_alive and not self._transport.get_write_buffer_size()
        )

    def ask(self, request: bytes) -> None:
        self._forget()
        self._requests += 1
        self.asked_at = self._loop.time()
        self._transport.write(request)

    async def wait_for_head(self, until: float) -> None:
        while not (self._head_done or self._lost):
            await self._change(until)
        if not (self._head_done or self.gone_before_answering):
            raise BrokenAnswerError(self._error or "hung up before its answer")

    async def next_chunk(self, until: float) -> bytes | None:
        """What has arrived since the last call, or None at the end of the answer."""
        while not self._chunks:
            if self._done:
                return None
            if self._lost:
                raise BrokenAnswerError(self._error or "hung up in its answer")
            await self._change(until)
        return self._take()

    def abort(self) -> None:
        # What it failed with holds those who waited for it, and they this.
        self._waiter = None
        self._transport.abort()

    def _take(self) -> bytes:
        chunk = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused and self.open:
            self._paused = False
            self._transport.resume_reading()
        return chunk

    # Waiting: the hot path of streams. One future each time; the timer of an earlier wait stays
    # where it is and, should it ring, looks again: most waits end long before.

    def _change(self, until: float) -> asyncio.Future[None]:
        self._until = until
        if self._timer is None or until < self._timer.when():
            self._set_timer(until)
        self._waiter = self._loop.create_future()
        return self._waiter

    def _set_timer(self, when: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_at(when, self._ring)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._until:
            self._set_timer(self._until)
        else:
            self._waiter.set_exception(TimeoutError())

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
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"no HTTP: {error}")
        if self._head_bytes > _HEAD_BYTES and not self._head_done:
            self._fail("an endless head")
        self._buffered += len(data)
        if self._buffered > _BUFFER_BYTES and self._chunks and not self._paused and self.open:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        # Without a length and without chunks, the end of the connection is the end of the answer.
        if self._head_done and not self._framed:
            self._done = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._stop_timer()
        if exc is not None:
            self._error = self._error or str(exc)
        self._wake()

    def _refuse(self, error: str) -> NoReturn:
        """Of the parser's calls alone: it reads no further."""
        self._fail(error)
        raise BrokenAnswerError(error)

    def _fail(self, error: str) -> None:
        self._error = self._error or error
        self._lost = True
        self._transport.abort()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._done:
            self._refuse("spoke unasked")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            # 100 Continue and its like come before the answer.
            self.headers.clear()
            return
        self._head_done = True
        self._keeps_alive = self._parser.should_keep_alive()
        coding = self.headers.get(b"transfer-encoding")
        self._framed = coding is not None or b"content-length" in self.headers
        encoding = self.headers.get(b"content-encoding")
        if encoding is not None and encoding.strip().lower() not in _PLAIN:
            # None was offered; a model's events cannot be told from packed bytes.
            self._refuse("an encoded answer, where none was asked for")
        if coding is not None and coding.strip().lower() not in {b"", b"chunked"}:
            self._refuse("an unknown transfer encoding")

    def on_message_complete(self) -> None:
        self._done = self._head_done


_PLAIN = {b"", b"identity"}
