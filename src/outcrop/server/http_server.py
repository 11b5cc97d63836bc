"""Granian in this process's event loop: HTTP/1.1 and HTTP/2 with prior knowledge on one socket.

Granian's own process manager is not used: it cannot tell an application that a stop has begun, and
binds so that two servers can share a port unnoticed. The classes below are private to Granian and
used as its manager uses them, hence the exact pin in pyproject.toml.
"""

import asyncio
import os
import socket
from functools import partial
from typing import Any, Protocol

from granian import _futures
from granian._granian import ASGIWorker, SocketHolder, WorkerSignal
from granian.http import HTTP1Settings, HTTP2Settings

from outcrop.server.config import LimitsConfig
from outcrop.server.edge import Edge
from outcrop.server.exchange import Receive, Scope, Send

BACKLOG = 1_024

# Above every limit of ours, so that the edge words the refusal: Granian's own has no body, no id.
MAX_HEADERS_BYTES = 512 * 1024

# What is left of the ten seconds of a stop, for what is cut to close and for refusals to go out.
CUT_S = 0.5


class AsgiProtocol(Protocol):
    receive: Receive
    send: Send


class Watcher(Protocol):
    """Granian's handle on one request."""

    scope: Scope
    proto: AsgiProtocol

    def done(self) -> None: ...


class HttpServer:
    """Accepts from the moment it is made; must be made inside the event loop."""

    def __init__(self, edge: Edge, listener: socket.socket, limits: LimitsConfig) -> None:
        self._edge = edge
        self._signal = WorkerSignal()
        self._drained = asyncio.Event()
        self._unfinished: list[Watcher] = []
        loop = asyncio.get_running_loop()
        self._signal.add_cb(partial(loop.call_soon_threadsafe, self._drained.set))
        new_scheduler: Any = _futures._new_cbscheduler  # noqa: SLF001 - see above  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType]
        scheduler = new_scheduler(loop, self._respond, impl_asyncio=True)
        _granian_worker(listener, limits).serve_mtr(scheduler, loop, self._signal)

    async def stop(self, drain_s: float) -> None:
        """Accepts no more, lets what runs come to its end for so long, then cuts it."""
        self._signal.set()
        if await self._drains_within(drain_s):
            return
        cut = self._edge.cut()
        if cut:
            await asyncio.wait(cut, timeout=CUT_S)
        await self._drains_within(CUT_S)

    async def _drains_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._drained.wait()
        except TimeoutError:
            return False
        return True

    async def _respond(self, watcher: Watcher) -> None:
        protocol = watcher.proto
        try:
            await self._edge(watcher.scope, protocol.receive, protocol.send)
        except asyncio.CancelledError:
            # To let go of it would end the stream in good order, as if nothing were missing.
            self._unfinished.append(watcher)
        else:
            watcher.done()


def _granian_worker(listener: socket.socket, limits: LimitsConfig) -> Any:
    make: Any = ASGIWorker  # its stub leaves out what it requires (ipc, metrics)
    holder: Any = SocketHolder  # likewise (Linux: uds, backlog)
    descriptor = os.dup(listener.fileno())
    listener.close()
    return make(
        worker_id=1,
        sock=(None, holder(descriptor, False, BACKLOG)),
        ipc=None,
        threads=1,
        blocking_threads=1,
        py_threads=1,
        backpressure=limits.max_connections,
        http_mode="auto",
        http1_opts=HTTP1Settings(
            header_read_timeout=round(limits.receive_header_timeout_s * 1_000),
            max_buffer_size=MAX_HEADERS_BYTES,
        ),
        http2_opts=HTTP2Settings(max_headers_size=MAX_HEADERS_BYTES),
        websockets_enabled=False,
    )
