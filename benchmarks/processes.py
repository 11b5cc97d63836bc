"""What the kernel says of a process and its children: time of a core, and memory."""

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def family(pid: int) -> list[int]:
    """A process, its children, and theirs."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [int(c) for task in tasks for c in (task / "children").read_text().split()]
    return [pid, *(member for child in children for member in family(child))]


def children_of(pid: int) -> list[int]:
    """Oldest first."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gives_way(pid: int) -> bool:
    """Whether others go before it, as before a server's bookkeeper."""
    with suppress(ProcessLookupError):
        return os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
    return False


def bookkeeper_of(pid: int) -> int:
    """The process id of the one beside the workers of a server."""
    (found,) = filter(gives_way, children_of(pid))
    return found


def core_seconds(pids: Sequence[int]) -> float:
    """What they have used so far, kernel included."""
    spent = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    ticks = sum(int(fields[11]) + int(fields[12]) for fields in spent)
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_kb(pids: Sequence[int]) -> int:
    """Proportional: what processes share is counted once."""
    return _kb(pids, "smaps_rollup", "Pss:")


def resident_kb(pids: Sequence[int]) -> int:
    return _kb(pids, "status", "VmRSS:")


def _kb(pids: Sequence[int], file: str, name: str) -> int:
    return sum(
        int(line.split()[1])
        for pid in pids
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines()
        if line.startswith(name)
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def await_port(port: int, process: subprocess.Popen[bytes], *, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nothing came to listen on port {port}: {process.args!r}")
