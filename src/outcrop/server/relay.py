"""Bytes from one connection to another and back, no faster than either takes them."""

import asyncio
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager

from outcrop.server.config import LimitsConfig
from outcrop.server.farewell import Farewell
from outcrop.server.source_address import peer_address


class Relay:
    """A client's connection, of which the first bytes are read, to a server that understands it."""

    def __init__(
        self,
        client: asyncio.Transport,
        first: bytes,
        *,
        limits: LimitsConfig,
        closed: Callable[["Relay"], None],
    ) -> None:
        self._client = client
        self._farewell = Farewell(client, limits.send_timeout_s)
        self.peer = peer_address(client.get_extra_info("peername"))
        self._idle_timeout_s = limits.http2_idle_timeout_s
        self._answering = 0
        self._idle_since = asyncio.get_running_loop().time()
        self._first = first
        self._closed = closed
        self._ended = asyncio.Event()
        self._near = _End(self._client_lost)
        client.pause_reading()
        client.set_protocol(self._near)

    async def run(self, server: socket.socket) -> None:
        """Until both connections are closed; `server` is connected."""
        far = _End(self._ended.set)
        far.other = self._client  # at once: the server may speak first
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_unix_connection(lambda: far, sock=server)
        self._near.other = transport
        transport.write(self._first)
        if self._client.is_closing():
            transport.close()
        else:
            self._client.resume_reading()
        await self._ended.wait()

    @contextmanager
    def answering(self) -> Generator[None]:
        """While the server answers a request of this client, it is not idle."""
        self._answering += 1
        try:
            yield
        finally:
            self._answering -= 1
            self._idle_since = asyncio.get_running_loop().time()

    def check(self, now_s: float) -> None:
        """Called now and then. Answers to the server's pings alone keep no connection open."""
        if self._client.is_closing():
            self._farewell.check(now_s)
        elif not self._answering and now_s - self._idle_since > self._idle_timeout_s:
            self._client.close()

    def stop(self) -> None:
        """It is the server's business to tell the client that it stops."""

    def cut(self) -> None:
        self._client.abort()

    def _client_lost(self) -> None:
        self._closed(self)


class _End(asyncio.Protocol):
    """One of the two connections; what it receives goes out at the other."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        self.other: asyncio.Transport | None = None

    def data_received(self, data: bytes) -> None:
        assert self.other
        self.other.write(data)

    def pause_writing(self) -> None:
        if self.other:
            self.other.pause_reading()

    def resume_writing(self) -> None:
        if self.other:
            self.other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        if self.other:
            self.other.close()
        self._lost()
