"""Bytes from one connection to another and back, no faster than either takes them."""

import asyncio
import socket
from collections.abc import Callable

from outcrop.server.farewell import Farewell
from outcrop.server.source_address import peer_address


class Relay:
    """A client's connection, of which the first bytes are read, to a server that understands it."""

    def __init__(
        self,
        client: asyncio.Transport,
        first: bytes,
        *,
        send_timeout_s: float,
        closed: Callable[["Relay"], None],
    ) -> None:
        self._client = client
        self._farewell = Farewell(client, send_timeout_s)
        self.peer = peer_address(client.get_extra_info("peername"))
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

    def check(self, now_s: float) -> None:
        """How long a client may be idle is the server's business; not so how it says farewell."""
        if self._client.is_closing():
            self._farewell.check(now_s)

    def stop(self) -> None:
        """So is telling the client that the server stops."""

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
