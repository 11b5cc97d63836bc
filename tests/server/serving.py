"""The fake server, and what its App says happened to its streams."""

import os
import ssl
import sys
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import msgspec

from tests.outcrop_process import OutcropProcess, outcrop_process
from tests.server.wire import ask, get
from tests.waiting import eventually

FAKE_SERVER = (sys.executable, "-m", "tests.server.fake_server")


def fake_server(
    state: Path, *, config: str = "", arguments: tuple[str, ...] = ()
) -> AbstractContextManager[OutcropProcess]:
    return outcrop_process(state, config=config, arguments=arguments, command=FAKE_SERVER)


def told(server: OutcropProcess, tls: ssl.SSLContext | None = None) -> list[str]:
    return msgspec.json.decode(ask(server.port, get("/told"), tls).body, type=list[str])


def told_eventually(
    server: OutcropProcess,
    expected: list[str],
    *,
    within_s: float,
    tls: ssl.SSLContext | None = None,
) -> bool:
    return eventually(lambda: told(server, tls) == expected, within_s)


def workers(server: OutcropProcess) -> list[int]:
    """The process ids of a server's workers, oldest first."""
    return [pid for pid in _children(server) if not _gives_way(pid)]


def bookkeeper(server: OutcropProcess) -> int:
    """The process id of the one beside the workers."""
    (found,) = filter(_gives_way, _children(server))
    return found


def _children(server: OutcropProcess) -> list[int]:
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _gives_way(pid: int) -> bool:
    """Whether others go before it."""
    with suppress(ProcessLookupError):
        return os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
    return False


def alive(pid: int) -> bool:
    """Whether it runs: a zombie that nobody has fetched does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def ended_within(pids: list[int], seconds: float) -> bool:
    return eventually(lambda: not any(alive(pid) for pid in pids), seconds)
