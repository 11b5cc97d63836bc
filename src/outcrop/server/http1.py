"""HTTP/1.1 on one connection: answers in the order of the requests, until one side has enough."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import cast

from outcrop.server.edge import ClientGoneError, Edge, stopping
from outcrop.server.farewell import Farewell
from outcrop.server.http1_reader import Arriving, Asked, Http1Reader
from outcrop.server.http1_text import CONTINUE, END_OF_CHUNKS, chunk_of, head_text
from outcrop.server.refusals import error_response, new_request_id
from outcrop.wire.errors import AwsError, InternalServerException
from outcrop.wire.http import Body, HttpRequest, HttpResponse

# Requests that a client may have sent ahead of their answers before it is read no further.
PIPELINED = 8

# Of what a stream has ready and the kernel does not take yet.
WRITE_BUFFER_BYTES = 64 * 1024

# How long a refused client may go on sending before its connection is closed.
LINGER_S = 5.0

_log = logging.getLogger(__name__)


class Http1Connection(asyncio.Protocol):
    def __init__(
        self, edge: Edge, peer: str, *, closed: Callable[["Http1Connection"], None]
    ) -> None:
        self._edge = edge
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._reader = Http1Reader(edge, peer=peer, asked=self._take, go_on=self._continue)
        self._asked: deque[Asked] = deque()
        self._news: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._writable = True
        self._answering = False
        self._streaming = False
        self._gone = False
        self._stopping = False
        self._waits_since = self._loop.time()
        self._seen_arriving: Arriving = "head"

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._farewell = Farewell(self._transport, self._edge.limits.send_timeout_s)
        self._task = self._edge.tasks.create_task(self._live())

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        if self._reader.arriving == "nothing":
            self._tell()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        self._gone = True
        if self._answering:
            self._task.cancel()
        self._tell()
        self._closed(self)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # What the server tells.

    def check(self, now_s: float) -> None:
        """Called now and then: whether the client has been waited for long enough."""
        if self._answering or self._asked:
            return
        limits, arriving = self._edge.limits, self._reader.arriving
        if arriving != self._seen_arriving:
            self._seen_arriving, self._waits_since = arriving, now_s
        waited_s = now_s - self._waits_since
        if self._transport.is_closing():
            self._farewell.check(now_s)
        elif arriving == "head":
            if waited_s > limits.receive_header_timeout_s:
                self._transport.close()
        elif arriving == "body" and waited_s > limits.receive_body_timeout_s:
            self._reader.refuse(self._edge.body_too_slow())
            self._reader.arriving = "nothing"

    def stop(self) -> None:
        """Answers what has begun to arrive, and nothing more."""
        self._stopping = True
        self._tell()

    def cut(self) -> None:
        self._task.cancel()

    # What the reader tells.

    def _take(self, asked: Asked) -> None:
        self._asked.append(asked)
        if len(self._asked) > PIPELINED:
            self._transport.pause_reading()
        self._tell()

    def _continue(self) -> None:
        if not self._answering:
            self._transport.write(CONTINUE)

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # The life of the connection.

    async def _live(self) -> None:
        try:
            while await self._has_next():
                asked = self._asked.popleft()
                self._answering = True
                await self._answer(asked)
                self._answering = False
                self._waits_since = self._loop.time()
                if self._stopping or not asked.keep_alive:
                    break
                if len(self._asked) == PIPELINED:
                    self._transport.resume_reading()
            await self._let_finish()
        except ClientGoneError:
            self._transport.abort()
        except asyncio.CancelledError:
            self._end_at_once()
        except Exception:  # noqa: BLE001 - one connection must not end the others
            _log.exception("a connection failed")
            self._transport.abort()
        finally:
            self._forget()
            self._transport.close()

    async def _has_next(self) -> bool:
        while not self._asked:
            if self._gone or self._reader.arriving == "nothing":
                return False
            if self._stopping and self._reader.idle:
                return False
            self._news = self._loop.create_future()
            await self._news
        return not self._gone

    async def _answer(self, asked: Asked) -> None:
        request = asked.request
        if isinstance(request, AwsError):
            self._write_refusal(request)
            return
        try:
            response = await self._edge.handle(request)
        except Exception:  # noqa: BLE001 - the last place that can tell the client something
            _log.exception("the App failed")
            response = _failed()
        finally:
            self._edge.buffered_bytes -= len(request.body)
        if isinstance(response.body, bytes):
            self._write_whole(asked, request.method, response, response.body)
            if not self._writable:
                await self._drained()
        else:
            await self._stream(asked, response, response.body)

    def _write_whole(self, asked: Asked, method: str, response: HttpResponse, body: bytes) -> None:
        head = self._head(response, asked, f"content-length: {len(body)}\r\n")
        self._transport.write(head if method == "HEAD" else head + body)

    def _head(self, response: HttpResponse, asked: Asked, framing: str) -> bytes:
        if not asked.keep_alive or self._stopping:
            framing += "connection: close\r\n"
        date = self._edge.date(self._loop.time())
        return head_text(response.status, response.headers, date=date, framing=framing)

    def _write_refusal(self, refusal: AwsError) -> None:
        response = error_response(refusal, new_request_id())
        assert isinstance(response.body, bytes)
        asked = Asked(refusal, keep_alive=False, chunked=True)
        self._write_whole(asked, "", response, response.body)

    async def _stream(self, asked: Asked, response: HttpResponse, body: Body) -> None:
        self._streaming = True
        try:
            framing = "transfer-encoding: chunked\r\n" if asked.chunked else ""
            self._transport.write(self._head(response, asked, framing))
            async for data in body:
                if data:
                    self._transport.write(chunk_of(data) if asked.chunked else data)
                if not self._writable:
                    await self._drained()
            self._transport.write(END_OF_CHUNKS if asked.chunked else b"")
        except ClientGoneError:
            raise
        except Exception as error:
            # Cut short, so that what was sent does not pass for all of it.
            _log.exception("a stream failed")
            raise ClientGoneError from error
        finally:
            await body.aclose()
        self._streaming = False

    async def _drained(self) -> None:
        self._room = self._loop.create_future()
        try:
            async with asyncio.timeout(self._edge.limits.send_timeout_s):
                await self._room
        except TimeoutError:
            raise ClientGoneError from None

    async def _let_finish(self) -> None:
        """A refused client that is still sending may read its answer only when it is done."""
        try:
            async with asyncio.timeout(LINGER_S):
                while self._reader.arriving == "refused" and not self._gone:
                    self._news = self._loop.create_future()
                    await self._news
        except TimeoutError:
            pass

    def _end_at_once(self) -> None:
        """Cancelled: the client is gone, or the server will not wait any longer."""
        if self._streaming:
            self._transport.abort()
        elif self._answering and not self._gone:
            self._write_refusal(stopping())

    def _forget(self) -> None:
        self._reader.forget_body()
        for asked in self._asked:
            if isinstance(asked.request, HttpRequest):
                self._edge.buffered_bytes -= len(asked.request.body)
        self._asked.clear()


def _failed() -> HttpResponse:
    return error_response(InternalServerException("Internal server error"), new_request_id())
