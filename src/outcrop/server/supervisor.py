"""The parent process: holds the port, starts the workers, and sees to it that all of them end.

It stays small: everything that serves is imported in the workers only, secrets included.
"""

import errno
import logging
import multiprocessing
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, TypeAlias

from outcrop.server.config import Config, ConfigurationError, split_address, url_of
from outcrop.server.tls import ListenerTls

Assemble: TypeAlias = Callable[[Config, ListenerTls], AbstractAsyncContextManager[Any]]
"""Opens everything that answers, inside a worker's event loop, and closes it."""

BACKLOG = 1_024

# A worker that has not ended so long after its drain time is killed.
KILL_AFTER_S = 1.5

_STOP = (signal.SIGTERM, signal.SIGINT)
_log = logging.getLogger(__name__)


class Bonds(NamedTuple):
    """A worker's pipes to those around it."""

    ready: Connection
    """Told when it serves."""
    busy: Connection
    """Closed when it has drained, or with its process."""
    all_idle: Connection
    """At its end when every worker has closed `busy`."""


def serve(config: Config, *, assemble: Assemble, announce: Callable[[str], None]) -> int:
    """Runs until a signal or a worker ends it; gives the exit code of the process."""
    # A core would hold every key that was in memory; the workers and their children inherit this.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    listener = _listen(config.listen)
    host, port = listener.getsockname()[:2]
    scheme = "https" if config.tls.serves else "http"
    ready, worker_ready = multiprocessing.Pipe(duplex=False)
    all_idle, busy = multiprocessing.Pipe(duplex=False)
    # Until the handlers stand, a signal waits: it must find either none or all of the workers.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    bonds = Bonds(worker_ready, busy, all_idle)
    workers = _start(config, listener, bonds, assemble)
    listener.close()
    for end in (worker_ready, busy, all_idle):
        end.close()
    crew = Crew(workers, _signals(), drain_s=config.limits.drain_timeout_s)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
    if crew.await_ready(ready):
        announce(url_of(host, port, scheme=scheme))
        crew.await_end()
    return crew.stop()


class Crew:
    """The workers, and what ends them: signals, or one of them."""

    def __init__(
        self, workers: Sequence[BaseProcess], signals: socket.socket, *, drain_s: float
    ) -> None:
        self._workers = workers
        self._signals = signals
        self._drain_s = drain_s
        self._lost = False

    def await_ready(self, ready: Connection) -> bool:
        waiting = len(self._workers)
        while waiting:
            ended, happened = self._wait([ready])
            if ended:
                return False
            for _ in happened:
                ready.recv_bytes()
                waiting -= 1
        return True

    def await_end(self) -> None:
        while not self._wait([])[0]:
            pass

    def stop(self) -> int:
        for worker in self._workers:
            worker.terminate()
        deadline = time.monotonic() + self._drain_s + KILL_AFTER_S  # noqa: TID251 - a process's own deadline, no record's time
        while running := [worker for worker in self._workers if worker.is_alive()]:
            left = deadline - time.monotonic()  # noqa: TID251 - as above
            if left <= 0 or self._told_to_stop(wait([self._signals, running[0].sentinel], left)):
                for worker in running:
                    worker.kill()
        return 1 if self._lost else 0

    def _wait(self, others: Sequence[Connection]) -> tuple[bool, Sequence[object]]:
        """Whether it is time to end; and which of the others have something to say."""
        sentinels = [worker.sentinel for worker in self._workers]
        happened = wait([self._signals, *sentinels, *others])
        lost = [worker for worker in self._workers if worker.sentinel in happened]
        if lost:
            self._lost = True
            _tell_of(lost)
            return True, ()
        return self._told_to_stop(happened), [other for other in others if other in happened]

    def _told_to_stop(self, happened: Sequence[object]) -> bool:
        if self._signals not in happened:
            return False
        numbers = self._signals.recv(64)
        if signal.SIGHUP in numbers:
            self._pass_on_sighup()
        return any(number in numbers for number in _STOP)

    def _pass_on_sighup(self) -> None:
        """Each worker reads the configuration again by itself."""
        _log.info("SIGHUP is passed on to the workers")
        for worker in self._workers:
            if worker.pid is not None and worker.is_alive():
                os.kill(worker.pid, signal.SIGHUP)


def _tell_of(lost: Sequence[BaseProcess]) -> None:
    for worker in lost:
        worker.join(1)  # its exit code comes a moment after its end
        code = worker.exitcode
        # One that ended by itself with an exit code has said why.
        if code is not None and code <= 0:
            cause = signal.Signals(-code).name if code else "no error"
            sys.stderr.write(f"outcrop: {worker.name} ended: {cause}\n")


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


def _start(
    config: Config, listener: socket.socket, bonds: Bonds, assemble: Assemble
) -> list[BaseProcess]:
    # Forking is quick and safe here, where there are no threads yet; elsewhere than on Linux
    # system libraries may have started some.
    method = "fork" if sys.platform == "linux" else "spawn"
    context: Any = multiprocessing.get_context(method)
    workers: list[BaseProcess] = []
    for number in range(1, config.workers + 1):
        worker = context.Process(
            name=f"worker {number}", target=_work, args=(config, listener, bonds, assemble)
        )
        worker.start()
        workers.append(worker)
    return workers


def _work(config: Config, listener: socket.socket, bonds: Bonds, assemble: Assemble) -> None:
    """The beginning of a worker: until it serves, a stop just ends it."""
    for number in _STOP:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
    from outcrop.server.worker import run_worker  # noqa: PLC0415 - not in the parent

    run_worker(config, listener, bonds, assemble)


def _signals() -> socket.socket:
    """A socket from which the numbers of the signals that arrive can be read."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    for number in (*_STOP, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(writer.detach())
    return reader
