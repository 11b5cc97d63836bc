"""The listening socket of one worker: who connects, which HTTP is spoken, and how all of it ends."""

import asyncio
import logging
import socket
from contextlib import suppress
from typing import Protocol, cast

from outcrop.server.edge import Edge
from outcrop.server.http1 import Http1Connection
from outcrop.server.http2 import Http2Server
from outcrop.server.relay import Relay

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
    def __init__(self, edge: Edge, listener: socket.socket) -> None:
        self._edge = edge
        self._listener = listener
        self._connections: set[Connection] = set()
        self._room = asyncio.Semaphore(edge.limits.max_connections)
        self._http2: Http2Server | None = None
        self._changed = asyncio.Event()
        listener.setblocking(False)
        self._accepting = edge.tasks.create_task(self._accept())
        self._checking = edge.tasks.create_task(self._check())

    async def stop(self) -> None:
        """Accepts no more, lets what runs come to its end for a while, then cuts it."""
        self._accepting.cancel()
        self._listener.close()
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
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.connect_accepted_socket(lambda: FirstBytes(self), client)
            except OSError as error:
                _log.warning("a connection was not accepted: %s", error)
                self._room.release()
                await asyncio.sleep(ACCEPT_AGAIN_S)
