"""What the processes of a server have in common: how they run, and how they end."""

import asyncio
import os
import signal
import sys
import threading
import traceback
from collections.abc import Coroutine
from multiprocessing import parent_process
from typing import Any, TypeGuard, cast

import uvloop

from outcrop.server.logs import configure_logging


def run_child(log_level: str, work: Coroutine[Any, Any, None]) -> None:
    """Returns after a stop that was asked for; exits with 1, having said why, if it cannot run."""
    _leave_with_parent()
    configure_logging(log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)
    except Exception as error:  # noqa: BLE001 - whatever it was, it is told once and ends the process
        _tell(error)
        sys.exit(1)


def stop_event() -> asyncio.Event:
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
