"""HTTP/2 by Granian, behind this process's own port; started by the first client that speaks it.

Python has no HTTP/2 of that speed. HTTP/1.1 does not go through Granian, which hands each request
from thread to thread: that costs more than all the rest of a small answer. Its own process manager
is not used either, because it cannot tell an application that a stop has begun. So the classes
below are private to Granian, hence the narrow pin in pyproject.toml.
"""

import asyncio
import os
import socket
import tempfile
from contextlib import nullcontext
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any, Protocol

from granian import _futures
from granian._granian import ASGIWorker, SocketHolder, WorkerSignal
from granian.http import HTTP2Settings

from outcrop.server.edge import Edge
from outcrop.server.http2_exchange import Http2Exchange, Receive, Scope, Send
from outcrop.server.relay import Relay

BACKLOG = 1_024

# Above every limit of ours, so that the edge words the refusal: Granian's own has no body, no id.
MAX_HEADERS_BYTES = 512 * 1024


class AsgiProtocol(Protocol):
    receive: Receive
    send: Send


class Watcher(Protocol):
    """Granian's handle on one request."""

    scope: Scope
    proto: AsgiProtocol

    def done(self) -> None: ...


class Http2Server:
    """On a unix socket in a folder of its own; accepts from the moment it is made."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        # The sockets' names tell Granian's connections apart. Removed when this object goes.
        self._folder = tempfile.TemporaryDirectory(prefix="outcrop-")
        self._path = Path(self._folder.name)
        self._numbers = count()
        self._relays: dict[str, Relay] = {}
        self._running: set[Http2Exchange] = set()
        self._unfinished: list[Watcher] = []
        self._signal = WorkerSignal()
        self._serve(asyncio.get_running_loop())

    async def take(self, relay: Relay) -> None:
        """Serves the client at the relay's other end until one of the two has enough."""
        name = str(self._path / str(next(self._numbers)))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as here:
            here.setblocking(False)
            here.bind(name)
            self._relays[name] = relay
            try:
                await asyncio.get_running_loop().sock_connect(here, str(self._path / "http2"))
                await relay.run(here)
            finally:
                del self._relays[name]
                os.unlink(name)  # noqa: PTH108 - no file, and no waiting

    def stop(self) -> None:
        """Tells clients that no new request is answered."""
        self._signal.set()

    def cut(self) -> list[asyncio.Task[None]]:
        """Cancels what is still being answered."""
        tasks = [exchange.task for exchange in self._running]
        for task in tasks:
            task.cancel()
        return tasks

    async def _respond(self, watcher: Watcher) -> None:
        protocol = watcher.proto
        relay = self._relays.get(watcher.scope["client"][0])
        exchange = Http2Exchange(
            self._edge,
            "" if relay is None else relay.peer,  # None: its client has just left
            watcher.scope,
            protocol.receive,
            protocol.send,
        )
        self._running.add(exchange)
        relay = self._relays.get(watcher.scope["client"][0])
        try:
            with nullcontext() if relay is None else relay.answering():
                await exchange.run()
        except Exception:  # noqa: BLE001 - whatever broke it, the answer is not whole
            self._cut_off(watcher, relay)
        else:
            watcher.done()
        finally:
            self._running.discard(exchange)

    def _cut_off(self, watcher: Watcher, relay: Relay | None) -> None:
        """Granian ends a stream that is let go of in good order, as if nothing were missing."""
        self._unfinished.append(watcher)
        if relay is not None:
            relay.cut()

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self._path / "http2"))
        listener.listen(BACKLOG)
        # Stubs of Granian leave out what these require.
        granian: Any = ASGIWorker
        holder: Any = SocketHolder
        new_scheduler: Any = _futures._new_cbscheduler  # noqa: SLF001 - see above  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType]
        patience_s = min(60.0, self._edge.limits.receive_header_timeout_s)
        worker = granian(
            worker_id=1,
            sock=(None, holder(listener.detach(), True, BACKLOG)),
            ipc=None,
            threads=1,
            blocking_threads=1,
            py_threads=1,
            backpressure=self._edge.limits.max_connections,
            http_mode="2",
            http2_opts=HTTP2Settings(
                max_headers_size=MAX_HEADERS_BYTES,
                # A client that does not answer is gone, whatever its connection looks like.
                keep_alive_interval=round(1_000 * patience_s),
                keep_alive_timeout=ceil(patience_s),
            ),
            websockets_enabled=False,
        )
        worker.serve_mtr_uds(
            new_scheduler(loop, self._respond, impl_asyncio=True), loop, self._signal
        )
