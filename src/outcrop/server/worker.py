"""One worker process: an event loop, the assembled App, and its HTTP server, from start to stop."""

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
import traceback
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from multiprocessing import parent_process
from typing import Any, TypeGuard, cast

import uvloop

from outcrop.server.clock import utc_now
from outcrop.server.config import Config
from outcrop.server.edge import Edge
from outcrop.server.http_server import HttpServer
from outcrop.server.logs import configure_logging
from outcrop.server.scrape import scraped
from outcrop.server.scrape_links import Scrape
from outcrop.server.supervisor import Assemble, Bonds
from outcrop.server.tls import ListenerTls

# Of the time after the drain: what is cut in other workers takes a moment to close.
OTHERS_S = 1.0


def run_worker(config: Config, listener: socket.socket, bonds: Bonds, assemble: Assemble) -> None:
    """Returns after a stop that was asked for; exits with 1, having said why, if it cannot run."""
    _leave_with_parent()
    configure_logging(config.log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_work(config, listener, bonds, assemble))
    except Exception as error:  # noqa: BLE001 - whatever it was, it is told once and ends the process
        _tell(error)
        sys.exit(1)


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
        stop = _stop_event()
        server = HttpServer(edge, listener, tls)
        async with _scraped(bonds.scrape, app, edge, tls):
            # What was made so far lives as long as the process: let the collector pass it over.
            gc.collect()
            gc.freeze()
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


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _leave_with_parent() -> None:
    """A parent that is killed takes its workers with it: nobody else would end them."""
    parent = parent_process()
    assert parent

    def leave() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=leave, name="leave-with-parent", daemon=True).start()


def _tell(error: Exception) -> None:
    """One line for what an operator can mend; the traceback too when it is our own mistake."""
    error = _single(error)
    if not (isinstance(error, OSError) or type(error).__module__.startswith("outcrop.")):
        traceback.print_exception(error)
    told = f"{error.filename}: {error.strerror}" if _names_a_file(error) else error
    sys.stderr.write(f"outcrop: cannot serve: {told}\n")
    sys.stderr.flush()


def _names_a_file(error: Exception) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and error.filename is not None


def _single(error: Exception) -> Exception:
    """What a task group wraps when just one thing went wrong."""
    if not isinstance(error, ExceptionGroup):
        return error
    wrapped = cast("ExceptionGroup[Exception]", error)
    return _single(wrapped.exceptions[0]) if len(wrapped.exceptions) == 1 else wrapped
