"""What Prometheus scrapes: one page for all workers, on a listener of its own, without signatures.

The first worker answers, and asks each other one by handing it a socket to answer to.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
from msgspec import Struct

from outcrop.metering.prometheus import CONTENT_TYPE, exposition
from outcrop.metering.snapshot import Meter, Snapshot, merged, since
from outcrop.server.edge import Edge
from outcrop.server.http_server import HttpServer
from outcrop.server.scrape_links import Scrape
from outcrop.server.tls import ListenerTls
from outcrop.wire.http import HttpRequest, HttpResponse
from outcrop.wire.timestamps import Clock

# A worker that takes longer is stuck. Prometheus itself waits for ten seconds.
OTHERS_S = 5.0

_RECEIVED_BYTES = 65_536
_QUESTION = b"?"

_log = logging.getLogger(__name__)


@asynccontextmanager
async def scraped(
    part: Scrape, meter: Meter, edge: Edge, *, tls: ListenerTls, clock: Clock
) -> AsyncGenerator[None]:
    """Answers until the block ends, within the limits of `edge`, which is the API's."""
    if part.listener is not None:
        page = Page(meter, [Other(link) for link in part.others], lives=part.lives)
        of_its_own = Edge(page, limits=edge.limits, tasks=edge.tasks, clock=clock)
        server = HttpServer(of_its_own, part.listener, tls)
        yield
        await server.stop()
    elif part.asked is not None:
        telling = edge.tasks.create_task(tell(part.asked, meter, part.lives))
        yield
        telling.cancel()


class Page:
    """Answers of the metrics' own listener."""

    def __init__(self, meter: Meter, others: Sequence["Other"], *, lives: int) -> None:
        self._meter = meter
        self._others = others
        self._lives = lives
        self._known = (0,) * (1 + len(others))
        self._before: Snapshot | None = None
        self._one_at_a_time = asyncio.Lock()

    async def handle(self, request: HttpRequest) -> HttpResponse:
        if request.raw_path != "/metrics":
            return _plain(404, "what can be scraped is at /metrics")
        if request.method != "GET":
            return _plain(405, "GET /metrics")
        try:
            async with self._one_at_a_time, asyncio.timeout(OTHERS_S):
                body = exposition(await self._read())
        except (OSError, TimeoutError):
            # Without one of them, counters would seem to go back.
            _log.warning("metrics: a worker did not tell what it has measured")
            return _plain(503, "a worker did not answer")
        return HttpResponse(status=200, headers={"Content-Type": CONTENT_TYPE}, body=body)

    async def _read(self) -> Snapshot:
        """Of all workers. Raises OSError if one has ended.

        What a lost worker had counted is lost. For counters not to fall by that alone, which would
        be taken for thousands of new requests, all begin anew, as after a restart.
        """
        own = Told(self._lives, await self._meter.read())
        told = [own, *[await other.read() for other in self._others]]
        now, lives = merged([one.snapshot for one in told]), tuple(one.lives for one in told)
        if lives != self._known:
            self._known, self._before = lives, _as_it_is(now)
        return now if self._before is None else since(now, self._before)


def _as_it_is(snapshot: Snapshot) -> Snapshot:
    """What is this worker's own in it goes on counting."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot), type=Snapshot)


class Told(Struct, array_like=True):
    """One worker's answer."""

    lives: int
    snapshot: Snapshot


class Other:
    """Another worker, as the first one sees it."""

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        self._link = link

    async def read(self) -> Told:
        """Raises OSError if it has ended, or is stuck."""
        here, there = socket.socketpair()
        with here:
            here.setblocking(False)
            with there:
                socket.send_fds(self._link, [_QUESTION], [there.fileno()])
            told = await _all_of(here)
        try:
            return msgspec.msgpack.decode(told, type=Told)
        except msgspec.DecodeError as error:
            raise ConnectionResetError("it ended before it had told all") from error


async def _all_of(link: socket.socket) -> bytes:
    received = bytearray()
    while data := await asyncio.get_running_loop().sock_recv(link, _RECEIVED_BYTES):
        received += data
    return bytes(received)


async def tell(asked: socket.socket, meter: Meter, lives: int) -> None:
    """Answers whoever is the first worker, until it is cancelled."""
    asked.setblocking(False)
    while True:
        await _readable(asked)
        _, links, _, _ = socket.recv_fds(asked, len(_QUESTION), 1)
        for link in links:
            # Who asked may have gone.
            with socket.socket(fileno=link) as there, suppress(OSError):
                there.setblocking(False)
                told = msgspec.msgpack.encode(Told(lives, await meter.read()))
                await asyncio.get_running_loop().sock_sendall(there, told)


async def _readable(link: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(link.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(link.fileno())


def _plain(status: int, text: str) -> HttpResponse:
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    return HttpResponse(status=status, headers=headers, body=f"{text}\n".encode())
