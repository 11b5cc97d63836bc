"""Requests that arrive over HTTP/2, as ASGI tells of them, and their answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from outcrop.server.edge import SERVER, ClientGoneError, Edge, stopping
from outcrop.server.refusals import error_response, new_request_id
from outcrop.wire.errors import AwsError, InternalServerException, MalformedHttpRequestException
from outcrop.wire.http import Body, HttpRequest, HttpResponse

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

# An answer that takes longer than this is worth watching its client for; a shorter one is not. A
# client's leaving stops the model within a tenth of a second.
PATIENCE_S = 0.05

# What a refused client is let send, so that it comes to read its answer.
LINGER_BYTES = 64 * 1024 * 1024
LINGER_S = 5.0

_SERVER_FIELD = (b"server", SERVER.encode())

_log = logging.getLogger(__name__)


class Http2Exchange:
    """One request and its answer. Made in the task that answers."""

    def __init__(self, edge: Edge, peer: str, scope: Scope, receive: Receive, send: Send) -> None:
        answering = asyncio.current_task()
        assert answering
        self.task = answering
        self._edge = edge
        self._peer = peer
        self._scope = scope
        self._receive = receive
        self._send = send
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None
        self._buffered_bytes = 0
        self._started = False
        self._client_gone = False

    async def run(self) -> None:
        """Raises when the answer was begun and cannot be ended: the connection must be cut then."""
        try:
            await self._answer()
        except asyncio.CancelledError:
            await self._leave()
        except ClientGoneError:
            if self._started:
                raise
        except Exception:
            _log.exception("a request failed", extra={"path": self._scope["path"]})
            if self._started:
                raise
            await self._refuse(InternalServerException("Internal server error"))
        finally:
            self._edge.buffered_bytes -= self._buffered_bytes
            self._unwatch()

    async def _answer(self) -> None:
        try:
            request = await self._request()
        except AwsError as refusal:
            await self._refuse(refusal)
            await self._let_finish()
            return
        response = await self._edge.handle(request)
        body = response.body
        if isinstance(body, bytes):
            await self._send_whole(response, body)
        else:
            await self._stream(response, body)

    async def _request(self) -> HttpRequest:
        scope = self._scope
        raw_path: bytes = scope["raw_path"]
        query: bytes = scope["query_string"]
        headers, header_bytes = _headers(scope["headers"])
        self._edge.admit_head(uri_bytes=len(raw_path) + len(query), header_bytes=header_bytes)
        if "," in (headers.get("host") or ","):
            # RFC 9113, 8.3.1, asks for an authority; two of them were joined by a comma.
            raise MalformedHttpRequestException("The request must have one authority")
        return HttpRequest(
            method=scope["method"],
            raw_path=raw_path.decode("latin-1"),
            query_string=query.decode("latin-1"),
            headers=headers,
            body=await self._body(headers),
            source_address=self._edge.source_of(self._peer, headers),
        )

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        expected = _declared(headers.get("content-length"))
        if expected is not None:
            self._edge.admit_body(expected)
        try:
            async with asyncio.timeout(self._edge.limits.receive_body_timeout_s):
                body = await self._read(expected)
        except TimeoutError:
            raise self._edge.body_too_slow() from None
        self._timer = self.task.get_loop().call_later(PATIENCE_S, self._watch_client)
        return body

    async def _read(self, expected: int | None) -> bytes:
        chunks: list[bytes] = []
        more = True
        while more and self._buffered_bytes != expected:
            chunk, more = await self._receive_chunk()
            chunks.append(chunk)
            self._buffered_bytes += len(chunk)
            self._edge.buffered_bytes += len(chunk)
            self._edge.admit_body(self._buffered_bytes)
        return b"".join(chunks)

    async def _receive_chunk(self) -> tuple[bytes, bool]:
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        return message["body"], message["more_body"]

    async def _stream(self, response: HttpResponse, body: Body) -> None:
        self._watch_client()
        try:
            await self._send_start(response)
            async for data in body:
                await self._send_chunk(data)
            # A finished answer is told as a departure is: that must not cancel what closes it.
            self._unwatch()
            await self._send({"type": "http.response.body", "body": b""})
        finally:
            await body.aclose()

    async def _send_whole(self, response: HttpResponse, body: bytes) -> None:
        self._unwatch()
        await self._send_start(response)
        shown = b"" if self._scope["method"] == "HEAD" else body
        await self._send({"type": "http.response.body", "body": shown})

    async def _send_start(self, response: HttpResponse) -> None:
        fields = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in response.headers.items()
        ]
        fields.append(_SERVER_FIELD)
        await self._send(
            {"type": "http.response.start", "status": response.status, "headers": fields}
        )
        self._started = True

    async def _send_chunk(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(self._edge.limits.send_timeout_s):
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except TimeoutError:
            raise ClientGoneError from None

    async def _refuse(self, refusal: AwsError) -> None:
        response = error_response(refusal, new_request_id())
        assert isinstance(response.body, bytes)
        await self._send_whole(response, response.body)

    async def _let_finish(self) -> None:
        size, more = 0, True
        with suppress(TimeoutError, ClientGoneError):
            async with asyncio.timeout(LINGER_S):
                while more and size < LINGER_BYTES:
                    chunk, more = await self._receive_chunk()
                    size += len(chunk)

    async def _leave(self) -> None:
        """Cancelled: the client has left, or the server will not wait any longer."""
        if self._client_gone:
            return
        if self._started:
            raise ClientGoneError
        await self._refuse(stopping())

    def _watch_client(self) -> None:
        """From now on the client's leaving cancels the answer."""
        if self._watch is None:
            self._watch = self._edge.tasks.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._client_gone = True
        self.task.cancel()

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()


def _headers(fields: list[tuple[bytes, bytes]]) -> tuple[dict[str, str], int]:
    headers: dict[str, str] = {}
    size = 0
    for raw_name, raw_value in fields:
        size += len(raw_name) + len(raw_value)
        name = raw_name.decode("latin-1")
        value = raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers, size


def _declared(content_length: str | None) -> int | None:
    if not content_length:
        return None
    if not (content_length.isascii() and content_length.isdigit()):
        # `2,2` is what two of them are joined to.
        raise MalformedHttpRequestException("The request's content-length is no number")
    return int(content_length)
