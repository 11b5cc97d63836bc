"""The edge: from an ASGI scope to an `HttpRequest`, and from an `HttpResponse` to the socket.

What is too large or too slow is refused here, before it reaches the App; what a client no longer
waits for is cancelled here.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from outcrop.server.config import LimitsConfig
from outcrop.server.exchange import ClientGoneError, Exchange, Receive, Scope, Send
from outcrop.server.refusals import error_response, new_request_id
from outcrop.wire.errors import (
    AwsError,
    InternalServerException,
    RequestEntityTooLargeException,
    RequestHeaderFieldsTooLargeException,
    RequestTimeoutException,
    RequestUriTooLongException,
    ServiceUnavailableException,
)
from outcrop.wire.http import Body, HttpRequest, HttpResponse

# A client that is still sending reads a refusal only when it is done: so much is thrown away first.
LINGER_BYTES = 64 * 1024 * 1024
LINGER_S = 5.0

_log = logging.getLogger(__name__)


class Answers(Protocol):
    async def handle(self, request: HttpRequest) -> HttpResponse: ...


class Edge:
    """The ASGI application, for http scopes."""

    def __init__(
        self,
        app: Answers,
        *,
        limits: LimitsConfig,
        tasks: asyncio.TaskGroup,
        abort: Callable[[tuple[str, str]], None],
    ) -> None:
        """`abort` cuts a client's connection: half an answer must not pass for a whole one."""
        self._app = app
        self._limits = limits
        self._tasks = tasks
        self._abort = abort
        self._exchanges: set[Exchange] = set()
        self._buffered_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._tasks)
        self._exchanges.add(exchange)
        try:
            await self._serve(exchange)
        except ClientGoneError:
            pass
        except asyncio.CancelledError:
            await self._leave(exchange)
        except Exception:  # noqa: BLE001 - the last place that can tell the client something
            _log.exception("an exchange failed", extra={"path": scope["path"]})
            await self._fail(exchange)
        finally:
            self._exchanges.discard(exchange)
            self._buffered_bytes -= exchange.buffered_bytes
            exchange.unwatch()

    def cut(self) -> list[asyncio.Task[None]]:
        """Cancels what is still being answered; a stream's `__call__` then raises, unended."""
        return [exchange.cancel() for exchange in self._exchanges]

    async def _serve(self, exchange: Exchange) -> None:
        try:
            request = await self._request(exchange)
        except AwsError as refusal:
            await _refuse(exchange, refusal)
            await _let_finish(exchange)
            return
        response = await self._app.handle(request)
        body = response.body
        if isinstance(body, bytes):
            await exchange.send_whole(response.status, response.headers, body)
        else:
            await self._stream(exchange, response, body)

    async def _request(self, exchange: Exchange) -> HttpRequest:
        scope = exchange.scope
        raw_path: bytes = scope["raw_path"]
        query: bytes = scope["query_string"]
        limits = self._limits
        if len(raw_path) + len(query) > limits.max_uri_bytes:
            raise RequestUriTooLongException(
                f"Request URI is longer than {limits.max_uri_bytes} bytes"
            )
        headers = _headers(scope["headers"], limits.max_header_bytes)
        return HttpRequest(
            method=scope["method"],
            raw_path=raw_path.decode("latin-1"),
            query_string=query.decode("latin-1"),
            headers=headers,
            body=await self._body(exchange, headers) if _has_body(scope, headers) else b"",
        )

    async def _body(self, exchange: Exchange, headers: Mapping[str, str]) -> bytes:
        declared = headers.get("content-length")
        expected = int(declared) if declared else None
        if expected is not None:
            self._admit(expected)
        seconds = self._limits.receive_body_timeout_s
        try:
            async with asyncio.timeout(seconds):
                body = await self._read(exchange, expected)
        except TimeoutError:
            raise RequestTimeoutException(
                f"The request body did not arrive within {seconds:g} seconds"
            ) from None
        exchange.watch_late()
        return body

    async def _read(self, exchange: Exchange, expected: int | None) -> bytes:
        chunks: list[bytes] = []
        more = True
        while more and exchange.buffered_bytes != expected:
            chunk, more = await exchange.receive_chunk()
            chunks.append(chunk)
            exchange.buffered_bytes += len(chunk)
            self._buffered_bytes += len(chunk)
            self._admit(exchange.buffered_bytes)
        return b"".join(chunks)

    def _admit(self, body_bytes: int) -> None:
        limits = self._limits
        if body_bytes > limits.max_body_bytes:
            raise RequestEntityTooLargeException(
                f"Request body is larger than {limits.max_body_bytes} bytes"
            )
        if self._buffered_bytes > limits.max_buffered_bytes:
            raise ServiceUnavailableException(
                "Too many large requests at once, please wait before trying again."
            )

    async def _stream(self, exchange: Exchange, response: HttpResponse, body: Body) -> None:
        exchange.watch()
        try:
            await exchange.send_start(response.status, response.headers)
            async for chunk in body:
                await self._send_chunk(exchange, chunk)
            await exchange.send_end()
        finally:
            await body.aclose()

    async def _send_chunk(self, exchange: Exchange, chunk: bytes) -> None:
        try:
            async with asyncio.timeout(self._limits.send_timeout_s):
                await exchange.send_chunk(chunk)
        except TimeoutError:
            self._abort(exchange.scope["client"])
            raise ClientGoneError from None

    async def _leave(self, exchange: Exchange) -> None:
        """Cancelled: because the client left, or because the server stops."""
        if exchange.started and not exchange.client_gone:
            raise asyncio.CancelledError
        if not exchange.client_gone:
            await _refuse(exchange, ServiceUnavailableException("The server is shutting down."))

    async def _fail(self, exchange: Exchange) -> None:
        if exchange.started:
            self._abort(exchange.scope["client"])
        else:
            await _refuse(exchange, InternalServerException("Internal server error"))


def _headers(fields: list[tuple[bytes, bytes]], max_bytes: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    size = 0
    for raw_name, raw_value in fields:
        size += len(raw_name) + len(raw_value)
        name = raw_name.decode("latin-1")
        value = raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    if size > max_bytes:
        raise RequestHeaderFieldsTooLargeException(
            f"Request headers are larger than {max_bytes} bytes"
        )
    return headers


def _has_body(scope: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    length = headers.get("content-length")
    if length is not None:
        return length != "0"
    # HTTP/2 needs no header to announce a body: only asking tells.
    return "transfer-encoding" in headers or scope["http_version"] == "2"


async def _refuse(exchange: Exchange, refusal: AwsError) -> None:
    response = error_response(refusal, new_request_id())
    assert isinstance(response.body, bytes)
    await exchange.send_whole(response.status, response.headers, response.body)


async def _let_finish(exchange: Exchange) -> None:
    """Throws away what a refused client is still sending: it may read the answer only after."""
    names = {name for name, _ in exchange.scope["headers"]}
    if b"expect" in names or names.isdisjoint({b"content-length", b"transfer-encoding"}):
        return
    size, more = 0, True
    with suppress(TimeoutError, ClientGoneError):
        async with asyncio.timeout(LINGER_S):
            while more and size < LINGER_BYTES:
                chunk, more = await exchange.receive_chunk()
                size += len(chunk)
