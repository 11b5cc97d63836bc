"""The processes of a server: another takes the place of one that is lost, and all end together."""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

STOP = (signal.SIGTERM, signal.SIGINT)

# A worker that has not ended so long after its drain time is killed.
KILL_AFTER_S = 1.5
# One that lived this long did not die of what it was started with.
_HEALTHY_S = 60.0
_LONGEST_BACK_OFF_S = 10.0

_log = logging.getLogger(__name__)


class Place:
    """One of the workers, or the bookkeeper, and whoever comes after it."""

    def __init__(self, number: int | None) -> None:
        self.number = number
        """Of a worker, from 1; None: the bookkeeper."""
        self.lives = 0
        """How many have been started before."""
        self.process: BaseProcess | None = None
        """None: it is lost, and the next is not started yet."""
        self.serves = False
        self.reloads = 0
        """How often the configuration had been read again when it was started."""
        self.again_at = 0.0
        """When the next is started."""
        self._began_at = 0.0
        self._back_off_s = 0.0

    @property
    def told(self) -> Mapping[str, int]:
        """What a line of the log says of who it is about."""
        return {} if self.number is None else {"worker": self.number}

    def named(self, one: str) -> str:
        """`one` is how a worker would be called."""
        return "the bookkeeper" if self.number is None else one

    def begins(self) -> None:
        self._began_at = _now()

    def has(self, process: BaseProcess, *, reloads: int) -> None:
        self.process, self.reloads = process, reloads
        self.lives += 1

    def is_lost(self) -> float:
        """In so many seconds the next is started: at once, unless that was tried just before."""
        now = _now()
        if now - self._began_at >= _HEALTHY_S:
            self._back_off_s = 0.0
        back_off_s = self._back_off_s
        self.process, self.serves, self.again_at = None, False, now + back_off_s
        self._back_off_s = min(max(1.0, 2 * back_off_s), _LONGEST_BACK_OFF_S)
        return back_off_s


class Crew:
    def __init__(  # noqa: PLR0913 - each by its name
        self,
        start: Callable[[Place], BaseProcess],
        workers: int,
        *,
        has_bookkeeper: bool,
        ready: Connection,
        signals: socket.socket,
        drain_s: float,
        reread: Callable[[], None],
    ) -> None:
        """`ready` tells the process id of who serves, `signals` the numbers of those that arrive.

        `reread` makes those that are started from then on follow the configuration as it is.
        """
        self._start = start
        self._workers = [Place(number) for number in range(1, workers + 1)]
        self._places = [*self._workers, *([Place(None)] if has_bookkeeper else [])]
        self._ready = ready
        self._signals = signals
        self._drain_s = drain_s
        self._reread = reread
        self._reloads = 0
        self._complete = False
        self._failed = False

    def start(self) -> None:
        for place in self._places:
            self._fill(place)

    def await_ready(self) -> bool:
        """Whether all have come to serve, each in its way; False when it is time to end."""
        while not all(place.serves for place in self._places):
            if self._ends():
                return False
        self._complete = True
        return True

    def await_end(self) -> None:
        """Returns when a signal says so, or nobody serves and nobody can be made to."""
        while not self._ends():
            pass

    def stop(self) -> int:
        """The exit code of the server."""
        processes = [place.process for place in self._places if place.process is not None]
        for process in processes:
            process.terminate()
        deadline = _now() + self._drain_s + KILL_AFTER_S
        while running := [process for process in processes if process.is_alive()]:
            left = deadline - _now()
            if left <= 0 or self._told_to_stop(wait([self._signals, running[0].sentinel], left)):
                for process in running:
                    process.kill()
        return 1 if self._failed else 0

    def _fill(self, place: Place) -> None:
        place.begins()
        place.has(self._start(place), reloads=self._reloads)

    def _ends(self) -> bool:
        """Waits until something happens, and sees to it; whether it is time to end."""
        self._fill_again()
        sentinels = [place.process.sentinel for place in self._places if place.process is not None]
        happened = wait([self._signals, self._ready, *sentinels], self._next_s())
        if self._ready in happened:
            self._note_ready(int.from_bytes(self._ready.recv_bytes()))
        for place in self._places:
            if place.process is not None and place.process.sentinel in happened:
                self._lose(place, place.process)
        return self._told_to_stop(happened) or self._failed

    def _next_s(self) -> float | None:
        again = [place.again_at for place in self._places if place.process is None]
        return max(0.0, min(again) - _now()) if again else None

    def _fill_again(self) -> None:
        for place in self._places:
            if place.process is None and place.again_at <= _now():
                try:
                    self._fill(place)
                except OSError as error:
                    back_off_s = place.is_lost()
                    _log.error(
                        "%s cannot be started",
                        place.named("a worker"),
                        extra={**place.told, "error": str(error), "again_in_s": back_off_s},
                    )

    def _note_ready(self, pid: int) -> None:
        for place in self._places:
            if place.process is not None and place.process.pid == pid:
                place.serves = True
                if place.lives > 1:
                    _log.warning("%s serves again", place.named("a worker"), extra=place.told)
                if place.reloads < self._reloads:
                    # It could not listen when the others were told.
                    os.kill(pid, signal.SIGHUP)

    def _lose(self, place: Place, process: BaseProcess) -> None:
        """The next takes its place, unless it never served and nobody else does."""
        served, why = place.serves, _cause(process)
        back_off_s = place.is_lost()
        if served or (self._complete and any(other.serves for other in self._workers)):
            _log.error(
                "%s is lost",
                place.named("a worker"),
                extra={**place.told, "cause": why, "again_in_s": back_off_s},
            )
            return
        self._failed = True
        # One that ended by itself with an exit code has said why.
        if not why.startswith(_EXIT_CODE):
            sys.stderr.write(f"outcrop: {place.named(f'worker {place.number}')} ended: {why}\n")

    def _told_to_stop(self, happened: Sequence[object]) -> bool:
        if self._signals not in happened:
            return False
        numbers = self._signals.recv(64)
        if signal.SIGHUP in numbers:
            self._pass_on_sighup()
        return any(number in numbers for number in STOP)

    def _pass_on_sighup(self) -> None:
        """Each worker reads the configuration again by itself."""
        _log.info("SIGHUP is passed on to the workers")
        self._reread()
        self._reloads += 1
        for place in self._places:
            if place.process is not None and place.process.pid and place.process.is_alive():
                os.kill(place.process.pid, signal.SIGHUP)


_EXIT_CODE = "exit code "


def _cause(process: BaseProcess) -> str:
    process.join(1)  # its exit code comes a moment after its end
    code = process.exitcode
    if code is not None:
        process.close()
    if not code:
        return "no error"
    return signal.Signals(-code).name if code < 0 else f"{_EXIT_CODE}{code}"


def _now() -> float:
    return time.monotonic()  # noqa: TID251 - of a process's own deadlines, no record's time
