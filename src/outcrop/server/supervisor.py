"""The parent process: holds the port, and starts the workers.

It stays small: everything that serves is imported in the workers only, secrets included.
"""

import errno
import multiprocessing
import resource
import signal
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, TypeAlias

from outcrop.server.config import Config, ConfigurationError, split_address, url_of
from outcrop.server.crew import STOP, Crew, Place
from outcrop.server.followed import followed
from outcrop.server.scrape_links import Scrape, close, parts
from outcrop.server.tls import ListenerTls

Assemble: TypeAlias = Callable[[Config, ListenerTls], AbstractAsyncContextManager[Any]]
"""Opens everything that answers, inside a worker's event loop, and closes it."""

KeepBooks: TypeAlias = Callable[[Config, Connection], None]
"""Runs the bookkeeper, in a process of its own, which tells its id to the connection."""

BACKLOG = 1_024

_HEARD = (*STOP, signal.SIGHUP)


class Bonds(NamedTuple):
    """A worker's pipes to those around it."""

    ready: Connection
    """Told its process id when it serves."""
    busy: Connection
    """Closed when it has drained, or with its process."""
    all_idle: Connection
    """At its end when every worker has closed `busy`."""
    scrape: Scrape | None = None
    """Its part in answering for all; None: nothing is measured."""


def serve(
    config: Config,
    *,
    reread: Callable[[], Config],
    assemble: Assemble,
    keep_books: KeepBooks | None,
    announce: Callable[[str], None],
) -> int:
    """Runs until a signal ends it, or nobody can serve; gives the exit code of the process.

    Without `keep_books`, what workers record is their own business.
    """
    # A core would hold every key that was in memory; the workers and their children inherit this.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    listener = _listen(config.listen)
    host, port = listener.getsockname()[:2]
    scheme = "https" if config.tls.serves else "http"
    ready, worker_ready = multiprocessing.Pipe(duplex=False)
    all_idle, busy = multiprocessing.Pipe(duplex=False)
    bonds = Bonds(worker_ready, busy, all_idle)
    hiring = Hiring(config, listener, bonds, assemble, keep_books)
    # A signal must find either none or all of the workers.
    with _signals_wait():
        crew = Crew(
            hiring.start,
            config.workers,
            has_bookkeeper=keep_books is not None,
            ready=ready,
            signals=_signals(),
            drain_s=config.limits.drain_timeout_s,
            reread=lambda: hiring.follow(reread),
        )
        crew.start()
    if crew.await_ready():
        announce(url_of(host, port, scheme=scheme))
        crew.await_end()
    hiring.close()
    return crew.stop()


class Hiring:
    """What workers are started with, the first ones and those who come after them."""

    def __init__(
        self,
        config: Config,
        listener: socket.socket,
        bonds: Bonds,
        assemble: Assemble,
        keep_books: KeepBooks | None,
    ) -> None:
        self._config = config
        self._listener = listener
        self._bonds = bonds
        self._assemble = assemble
        self._keep_books = keep_books
        self._scrapes = _scrapes(config)

    def start(self, place: Place) -> BaseProcess:
        """Raises OSError."""
        # Forking is quick and safe here, where there are no threads; elsewhere than on Linux
        # system libraries may have started some.
        context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        process: BaseProcess = (
            self._bookkeeper(context)
            if place.number is None
            else self._worker(context, place.number, place.lives)
        )
        with _signals_wait():
            process.start()
        return process

    def _worker(self, context: Any, number: int, lives: int) -> BaseProcess:
        bonds = self._bonds
        if self._scrapes:
            bonds = bonds._replace(scrape=self._scrapes[number - 1]._replace(lives=lives))
        worker: BaseProcess = context.Process(
            name=f"worker {number}",
            target=_work,
            args=(self._config, self._listener, bonds, self._assemble),
        )
        return worker

    def _bookkeeper(self, context: Any) -> BaseProcess:
        bookkeeper: BaseProcess = context.Process(
            name="bookkeeper",
            target=_keep_books,
            args=(self._config, self._listener, self._bonds, self._keep_books),
        )
        return bookkeeper

    def follow(self, reread: Callable[[], Config]) -> None:
        """Who is started from now on begins with what the others follow."""
        # What is wrong with the file, they say.
        with suppress(ConfigurationError, ValueError):
            self._config = followed(self._config, reread())

    def close(self) -> None:
        """The port is the workers' alone, who close it as they end."""
        self._listener.close()
        close(self._scrapes)
        for end in (self._bonds.ready, self._bonds.busy, self._bonds.all_idle):
            end.close()


def _listen(listen: str) -> socket.socket:
    host, port = split_address(listen)
    host = "127.0.0.1" if host == "localhost" else host
    try:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by what is accepted; without it a small event waits for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        hint = _LISTEN_HINTS.get(error.errno or 0, "")
        raise ConfigurationError(f"cannot listen on {listen}: {error.strerror}{hint}") from error
    return listener


_LISTEN_HINTS = {
    errno.EADDRINUSE: " (is another server running there? --listen takes another address:port)",
    errno.EACCES: " (ports below 1024 need a privilege: take a higher one)",
    errno.EADDRNOTAVAIL: " (no interface of this machine has that address)",
}


def _scrapes(config: Config) -> Sequence[Scrape]:
    listen = config.metrics.listen
    return () if listen is None else parts(_listen(listen), config.workers)


def _work(config: Config, listener: socket.socket, bonds: Bonds, assemble: Assemble) -> None:
    """The beginning of a worker: until it serves, a stop just ends it."""
    _hear()
    from outcrop.server.worker import run_worker  # noqa: PLC0415 - not in the parent

    run_worker(config, listener, bonds, assemble)


def _keep_books(
    config: Config, listener: socket.socket, bonds: Bonds, keep_books: KeepBooks
) -> None:
    """The beginning of the bookkeeper: neither the port nor who is idle is its business."""
    _hear()
    for inherited in (listener, bonds.busy, bonds.all_idle):
        inherited.close()
    keep_books(config, bonds.ready)


def _hear() -> None:
    """Of a process that has just begun: a stop ends it."""
    signal.set_wakeup_fd(-1)  # the parent's
    for number in STOP:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)


def _signals() -> socket.socket:
    """A socket from which the numbers of the signals that arrive can be read."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    for number in _HEARD:
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(writer.detach())
    return reader


@contextmanager
def _signals_wait() -> Generator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
