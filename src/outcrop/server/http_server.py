"""The port as one worker sees it: who connects, which HTTP is spoken, and how all of it ends."""

import asyncio
import logging
import socket
import ssl
from contextlib import suppress
from typing import Protocol, cast

from outcrop.server.edge import Edge
from outcrop.server.http1 import Http1Connection
from outcrop.server.http2 import Http2Server
from outcrop.server.relay import Relay
from outcrop.server.source_address import peer_address
from outcrop.server.tls import ListenerTls

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# How often connections are looked at for clients that have been waited for long enough.
CHECK_S = 1.0

# What is left of the ten seconds of a stop for what is cut to close, and for refusals to go out.
CUT_S = 0.5

# After a refusal to accept: too many open files, for one.
ACCEPT_AGAIN_S = 0.1

_log = logging.getLogger(__name__)


class Connection(Protocol):
    def check(self, now_s: float) -> None: ...
    def stop(self) -> None: ...
    def cut(self) -> None: ...


class HttpServer:
    def __init__(self, edge: Edge, listener: socket.socket, tls: ListenerTls) -> None:
        self._edge = edge
        self._listener = listener
        self._tls = tls
        self._connections: set[Connection] = set()
        self._room = asyncio.Semaphore(edge.limits.max_connections)
        self._http2: Http2Server | None = None
        self._handshakes: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._stopping = False
        listener.setblocking(False)
        self._accepting = edge.tasks.create_task(self._accept())
        self._checking = edge.tasks.create_task(self._check())

    async def stop(self) -> None:
        """Accepts no more, lets what runs come to its end for a while, then cuts it."""
        self._stopping = True
        self._accepting.cancel()
        self._listener.close()
        for handshake in self._handshakes:
            handshake.cancel()
        for connection in tuple(self._connections):
            connection.stop()
        if self._http2 is not None:
            self._http2.stop()
        if not await self._empty_within(self._edge.limits.drain_timeout_s):
            await self._cut()
        self._checking.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            try:
                client, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                _log.warning("a connection was not accepted: %s", error)
                self._room.release()
                await asyncio.sleep(ACCEPT_AGAIN_S)
            else:
                # A task of its own: a stop cancels this one, and half a connection is never told.
                greeting = self._edge.tasks.create_task(self._greet(client))
                if self._tls.context is not None:
                    self._handshakes.add(greeting)
                    greeting.add_done_callback(self._handshakes.discard)

    async def _greet(self, client: socket.socket) -> None:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._connect(client)
        except ssl.SSLError as error:
            _log.info("a TLS handshake failed: %s", error.reason or error)
            self._room.release()
        except OSError as error:
            # Over TLS whoever only tries the port, as a load balancer does, has not greeted.
            level = logging.WARNING if self._tls.context is None else logging.DEBUG
            _log.log(level, "a connection was lost at once: %s", error)
            self._room.release()
        except asyncio.CancelledError:
            self._room.release()
            raise

    async def _connect(self, client: socket.socket) -> None:
        """Over TLS it returns after the handshake; FirstBytes is told nothing before."""
        loop, context = asyncio.get_running_loop(), self._tls.context
        if context is None:
            await loop.connect_accepted_socket(lambda: FirstBytes(self), client)
            return
        limits = self._edge.limits
        await loop.connect_accepted_socket(
            lambda: FirstBytes(self),
            client,
            ssl=context,
            ssl_handshake_timeout=limits.receive_header_timeout_s,
            ssl_shutdown_timeout=limits.send_timeout_s,
        )

    async def _check(self) -> None:
        loop = asyncio.get_running_loop()
        every_s = min(CHECK_S, self._edge.limits.shortest_s / 4)
        while True:
            await asyncio.sleep(every_s)
            now_s = loop.time()
            for connection in tuple(self._connections):
                connection.check(now_s)

    async def _cut(self) -> None:
        if self._http2 is not None and (cut := self._http2.cut()):
            await asyncio.wait(cut, timeout=CUT_S)
        for connection in tuple(self._connections):
            connection.cut()
        await self._empty_within(CUT_S)

    async def _empty_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._connections:
                    self._changed.clear()
                    await self._changed.wait()
        return not self._connections

    # What the connections ask and tell.

    @property
    def header_timeout_s(self) -> float:
        return self._edge.limits.receive_header_timeout_s

    def add(self, connection: Connection) -> None:
        self._connections.add(connection)
        if self._stopping:
            connection.stop()

    def remove(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._changed.set()
        self._room.release()

    def speaks_http1(self, first: "FirstBytes", transport: asyncio.Transport, data: bytes) -> None:
        self._connections.discard(first)
        peer = peer_address(transport.get_extra_info("peername"))
        connection = Http1Connection(self._edge, peer, closed=self.remove)
        self._connections.add(connection)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.data_received(data)

    def speaks_http2(self, first: "FirstBytes", transport: asyncio.Transport, data: bytes) -> None:
        self._connections.discard(first)
        relay = Relay(transport, data, limits=self._edge.limits, closed=self.remove)
        self._connections.add(relay)
        self._edge.tasks.create_task(self._relay(relay))

    async def _relay(self, relay: Relay) -> None:
        if self._http2 is None:
            self._http2 = Http2Server(self._edge)
        try:
            await self._http2.take(relay)
        except OSError:
            _log.exception("an HTTP/2 connection failed")
            relay.cut()


class FirstBytes(asyncio.Protocol):
    """A connection until it is known which HTTP it speaks."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._data = b""
        self._since = asyncio.get_running_loop().time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._server.add(self)

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._data += data
        if self._data.startswith(HTTP2_PREFACE):
            self._server.speaks_http2(self, self._transport, self._data)
        elif not HTTP2_PREFACE.startswith(self._data):
            self._server.speaks_http1(self, self._transport, self._data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        self._server.remove(self)

    def check(self, now_s: float) -> None:
        if now_s - self._since > self._server.header_timeout_s:
            self._transport.abort()

    def stop(self) -> None:
        """Nothing was asked: neither is anything to be sent."""
        self._transport.abort()

    def cut(self) -> None:
        self._transport.abort()
