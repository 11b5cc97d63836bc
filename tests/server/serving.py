"""The fake server, and what its App says happened to its streams."""

import ssl
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from benchmarks.processes import children_of, gives_way
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
    return [pid for pid in children_of(server.process.pid) if not gives_way(pid)]


def alive(pid: int) -> bool:
    """Whether it runs: a zombie that nobody has fetched does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def ended_within(pids: list[int], seconds: float) -> bool:
    return eventually(lambda: not any(alive(pid) for pid in pids), seconds)
