"""One worker process: an event loop, the assembled App, and its HTTP server, from start to stop."""

import asyncio
import gc
import os
import socket
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Any

from outcrop.server.child import run_child, stop_event
from outcrop.server.clock import utc_now
from outcrop.server.config import Config
from outcrop.server.edge import Edge
from outcrop.server.http_server import HttpServer
from outcrop.server.scrape import scraped
from outcrop.server.scrape_links import Scrape
from outcrop.server.supervisor import Assemble, Bonds
from outcrop.server.tls import ListenerTls

# What calls in progress hold is looked through with every collection, and next to nothing of it is
# garbage: Python's own 700 new objects are a few calls.
GARBAGE = 20_000, 20, 20

# Of the time after the drain: what is cut in other workers takes a moment to close.
OTHERS_S = 1.0


def run_worker(config: Config, listener: socket.socket, bonds: Bonds, assemble: Assemble) -> None:
    """Returns after a stop that was asked for; exits with 1, having said why, if it cannot run."""
    run_child(config.log_level, _work(config, listener, bonds, assemble))


async def _work(config: Config, listener: socket.socket, bonds: Bonds, assemble: Assemble) -> None:
    tls = ListenerTls(config, utc_now)
    async with assemble(config, tls) as app, asyncio.TaskGroup() as tasks:
        edge = Edge(
            app,
            limits=config.limits,
            trusted_proxies=config.trusted_proxies,
            tasks=tasks,
            clock=utc_now,
        )
        stop = stop_event()
        server = HttpServer(edge, listener, tls)
        async with _scraped(bonds.scrape, app, edge, tls):
            # What was made so far lives as long as the process: let the collector pass it over.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GARBAGE)
            bonds.ready.send_bytes(os.getpid().to_bytes(8))
            await stop.wait()
            until = asyncio.get_running_loop().time() + config.limits.drain_timeout_s + OTHERS_S
            await server.stop()
        await _others_drained(bonds, until)


def _scraped(
    scrape: Scrape | None, app: Any, edge: Edge, tls: ListenerTls
) -> AbstractAsyncContextManager[None]:
    if scrape is None:
        return nullcontext()
    return scraped(scrape, app.meter, edge, tls=tls, clock=utc_now)


async def _others_drained(bonds: Bonds, until: float) -> None:
    """The embedded child that one worker looks after may still be answering for another."""
    loop = asyncio.get_running_loop()
    all_idle = asyncio.Event()
    loop.add_reader(bonds.all_idle.fileno(), all_idle.set)
    bonds.busy.close()
    with suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            await all_idle.wait()
    loop.remove_reader(bonds.all_idle.fileno())
