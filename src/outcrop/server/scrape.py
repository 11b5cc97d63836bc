"""What Prometheus scrapes: one page for all workers, on a listener of its own, without signatures.

The first worker answers, and asks each other one through a pair of sockets.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec

from outcrop.metering.prometheus import CONTENT_TYPE, exposition
from outcrop.metering.snapshot import Meter, Snapshot, merged
from outcrop.server.edge import Edge
from outcrop.server.http_server import HttpServer
from outcrop.server.scrape_links import Scrape
from outcrop.server.tls import ListenerTls
from outcrop.wire.http import HttpRequest, HttpResponse
from outcrop.wire.timestamps import Clock

# A worker that takes longer is stuck. Prometheus itself waits for ten seconds.
OTHERS_S = 5.0

_HEAD = struct.Struct("!II")
"""Of a worker's answer: the number of the question, the length of what follows."""
_RECEIVED_BYTES = 65_536

_log = logging.getLogger(__name__)


@asynccontextmanager
async def scraped(
    part: Scrape, meter: Meter, edge: Edge, *, tls: ListenerTls, clock: Clock
) -> AsyncGenerator[None]:
    """Answers until the block ends, within the limits of `edge`, which is the API's."""
    if part.listener is not None:
        page = Page(meter, [Other(link) for link in part.others])
        of_its_own = Edge(page, limits=edge.limits, tasks=edge.tasks, clock=clock)
        server = HttpServer(of_its_own, part.listener, tls)
        yield
        await server.stop()
    elif part.asked is not None:
        telling = edge.tasks.create_task(tell(part.asked, meter))
        yield
        telling.cancel()


class Page:
    """Answers of the metrics' own listener."""

    def __init__(self, meter: Meter, others: Sequence["Other"]) -> None:
        self._meter = meter
        self._others = others
        self._one_at_a_time = asyncio.Lock()

    async def handle(self, request: HttpRequest) -> HttpResponse:
        if request.raw_path != "/metrics":
            return _plain(404, "what can be scraped is at /metrics")
        if request.method != "GET":
            return _plain(405, "GET /metrics")
        try:
            async with self._one_at_a_time, asyncio.timeout(OTHERS_S):
                snapshots = [await self._meter.read(), *[await x.read() for x in self._others]]
        except (OSError, TimeoutError):
            # Without one of them, counters would seem to go back.
            _log.warning("metrics: a worker did not tell what it has measured")
            return _plain(503, "a worker did not answer")
        body = exposition(merged(snapshots))
        return HttpResponse(status=200, headers={"Content-Type": CONTENT_TYPE}, body=body)


class Other:
    """Another worker, as the first one sees it."""

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        self._link = link
        self._number = 0
        self._received = bytearray()

    async def read(self) -> Snapshot:
        """Raises OSError if it has ended."""
        self._number = (self._number + 1) % 2**32
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._link, self._number.to_bytes(4))
        while True:
            number, length = _HEAD.unpack(await self._take(_HEAD.size))
            snapshot = await self._take(length)
            # Answers to earlier questions, which nobody waited for, come first.
            if number == self._number:
                return msgspec.msgpack.decode(snapshot, type=Snapshot)

    async def _take(self, length: int) -> bytes:
        received = self._received
        while len(received) < length:
            data = await asyncio.get_running_loop().sock_recv(self._link, _RECEIVED_BYTES)
            if not data:
                raise ConnectionResetError
            received += data
        taken = bytes(received[:length])
        del received[:length]
        return taken


async def tell(asked: socket.socket, meter: Meter) -> None:
    """Answers the first worker until it has ended."""
    asked.setblocking(False)
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while number := await loop.sock_recv(asked, 4):
            snapshot = msgspec.msgpack.encode(await meter.read())
            head = _HEAD.pack(int.from_bytes(number), len(snapshot))
            await loop.sock_sendall(asked, head + snapshot)


def _plain(status: int, text: str) -> HttpResponse:
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    return HttpResponse(status=status, headers=headers, body=f"{text}\n".encode())
