"""Many ConverseStreams at once: whether any stalls, what an event costs, what a stream holds.

A scripted model server in a process of its own sends events at a steady pace on every stream;
`outcrop serve` stands in front of it; a client reads all streams and notes the gaps between what
arrives. CPU and memory of the server come from /proc.

`python -m benchmarks.streams --streams 500 --events-per-s 50 --seconds 10`
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from msgspec import Struct

from tests.outcrop_process import REPOSITORY, OutcropProcess, outcrop_process

MODEL_ID = "amazon.nova-lite-v1:0"
BODY = msgspec.json.encode({"messages": [{"role": "user", "content": [{"text": "hello"}]}]})
# A stream is said to stall when nothing arrives for so many of its events' times.
STALL_EVENTS = 10


class Plan(Struct, frozen=True, kw_only=True):
    streams: int = 500
    events_per_s: float = 50
    seconds: float = 10
    workers: int = 1


class Seen(Struct, kw_only=True):
    """By the client, of all streams."""

    events: int
    failed: int
    first_ms: list[float]
    """Of each stream: from sending the request to the first bytes of its body."""
    gaps_ms: list[float]
    """The longest of each stream."""
    late_ms: list[float]
    """Of one event in fifty: how much later than the model server sent it."""


def main(plan: "Plan | None" = None) -> None:
    plan = plan or Plan()
    with tempfile.TemporaryDirectory() as folder, _model_server(plan) as port:
        config = (
            f'[embedded]\nenabled = false\n[[model_servers]]\nname = "steady"\n'
            f'url = "http://127.0.0.1:{port}/v1"\nmodels = {{ "{MODEL_ID}" = "m" }}\n'
            f"[limits]\nmax_connections = {plan.streams + 50}\n"
        )
        arguments = ("--workers", str(plan.workers), "--log-level", "warning")
        with outcrop_process(Path(folder), config=config, arguments=arguments) as server:
            _measure(plan, server)


def _plan() -> Plan:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--streams", type=int, default=Plan().streams)
    parser.add_argument("--events-per-s", type=float, default=Plan().events_per_s)
    parser.add_argument("--seconds", type=float, default=Plan().seconds)
    parser.add_argument("--workers", type=int, default=Plan().workers)
    return Plan(**vars(parser.parse_args()))


def _measure(plan: Plan, server: OutcropProcess) -> None:
    pids = _family(server.process.pid)
    memory, cpu = _memory_kb(pids), _core_seconds(pids)
    client = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.streams_client"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert client.stdin
    client.stdin.write(msgspec.json.encode((plan, server.port, _signed(server))))
    client.stdin.close()
    time.sleep(plan.seconds / 2)
    held = _memory_kb(pids) - memory
    assert client.stdout
    seen = msgspec.json.decode(client.stdout.read(), type=Seen)
    client.wait()
    _tell(plan, seen, core_s=_core_seconds(pids) - cpu, held_kb=held)


def _tell(plan: Plan, seen: Seen, *, core_s: float, held_kb: float) -> None:
    wanted = plan.streams * plan.events_per_s * plan.seconds
    stall_ms = STALL_EVENTS * 1000 / plan.events_per_s
    stalled = sum(gap > stall_ms for gap in seen.gaps_ms)
    for name, value in (
        ("streams", f"{plan.streams} ({seen.failed} failed)"),
        ("events", f"{seen.events:,} of {wanted:,.0f}"),
        ("CPU an event", f"{core_s / seen.events * 1e6:.1f} µs" if seen.events else "none"),
        ("cores used", f"{core_s / plan.seconds:.2f}"),
        ("memory a stream", f"{held_kb / plan.streams:.0f} kB"),
        ("first bytes", _spread(seen.first_ms)),
        ("an event's delay", _spread(seen.late_ms)),
        ("longest gap of a stream", _spread(seen.gaps_ms)),
        (f"streams that stalled (> {stall_ms:.0f} ms)", f"{stalled}"),
    ):
        print(f"{name:36}{value}")


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "none"
    ordered = sorted(values)
    late = ordered[int(len(ordered) * 0.99)]
    return (
        f"median {statistics.median(ordered):.1f} ms, 99% {late:.1f} ms, most {ordered[-1]:.1f} ms"
    )


@contextmanager
def _model_server(plan: Plan) -> Generator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.streams_model_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(msgspec.json.encode(plan))
    process.stdin.close()
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


def _signed(server: OutcropProcess) -> bytes:
    path = f"/model/{MODEL_ID.replace(':', '%3A')}/converse-stream"
    headers = {"Content-Type": "application/json", "Host": f"127.0.0.1:{server.port}"}
    request = AWSRequest("POST", server.url + path, headers=headers, data=BODY)
    key = server.credentials
    SigV4Auth(
        Credentials(key.access_key_id, key.secret_access_key), "bedrock", "us-east-1"
    ).add_auth(request)
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    lines += [f"Content-Length: {len(BODY)}", "", ""]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines]).encode() + BODY


def _family(pid: int) -> list[int]:
    """A process, its children, and theirs."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [int(c) for task in tasks for c in (task / "children").read_text().split()]
    return [pid, *(member for child in children for member in _family(child))]


def _core_seconds(pids: Sequence[int]) -> float:
    spent = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    ticks = sum(int(fields[11]) + int(fields[12]) for fields in spent)
    return ticks / os.sysconf("SC_CLK_TCK")


def _memory_kb(pids: Sequence[int]) -> int:
    """Proportional: what processes share is counted once."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


if __name__ == "__main__":
    main(_plan())
