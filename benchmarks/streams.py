"""Many ConverseStreams at once: whether any stalls, what an event costs, what a stream holds.

A scripted model server in a process of its own sends events at a steady pace on every stream;
`outcrop serve` stands in front of it; a client reads all streams and notes the gaps between what
arrives, and how late it is itself. The same client on the model server itself tells what the first
event waits for in between. CPU and memory of the server come from /proc.

`python -m benchmarks.streams --streams 500 --events-per-s 50 --seconds 10`
`python -m benchmarks.streams --soak 1000000`
"""

import argparse
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
from msgspec import Struct, structs

from benchmarks.load import loaded
from benchmarks.processes import core_seconds, family, memory_kb, resident_kb
from benchmarks.scripted_server import scripted_server
from tests.outcrop_process import REPOSITORY, OutcropProcess, outcrop_process

MODEL_ID = "amazon.nova-lite-v1:0"
BODY = msgspec.json.encode({"messages": [{"role": "user", "content": [{"text": "hello"}]}]})
# A stream is said to stall when nothing arrives for so many of its events' times.
STALL_EVENTS = 10
DIRECT_S = 3.0
# A stream that has begun and says nothing for a while.
IDLE_EVENTS_PER_S, IDLE_S = 0.25, 6.0
SOAK_CONNECTIONS, SOAK_SLICE_S = 16, 4.0


class Plan(Struct, frozen=True, kw_only=True):
    streams: int = 500
    events_per_s: float = 50
    seconds: float = 10
    workers: int = 1


class Asking(Struct, frozen=True):
    port: int
    request: bytes
    event: bytes
    """What is in every event that carries text, and nowhere else."""


class Seen(Struct, kw_only=True):
    """By the client, of all streams."""

    events: int
    failed: int
    first_ms: list[float]
    """Of each stream: from sending the request to its first event with text."""
    gaps_ms: list[float]
    """The longest of each stream."""
    late_ms: list[float]
    """Of one event in fifty: how much later than the model server sent it."""
    own_late_ms: list[float]
    """Of the client's own timer: what it sees cannot be more exact."""


def main(plan: "Plan | None" = None) -> None:
    plan = plan or Plan()
    direct = _direct(plan)
    with _model_server(plan) as port, _outcrop(plan, port) as server:
        _tell(plan, server, direct)
    idle = structs.replace(plan, events_per_s=IDLE_EVENTS_PER_S, seconds=IDLE_S)
    with _model_server(idle) as port, _outcrop(idle, port) as server:
        _, held_kb = _seen(idle, _converse_stream(server), server)
    print(f"{'memory an idle stream':40}{held_kb / idle.streams:.0f} kB")


def soak(requests: int) -> None:
    """Whether anything is kept of a request that is over."""
    with scripted_server() as port, _outcrop(Plan(), port) as server:
        pids, done = family(server.process.pid), 0
        done += _soak_slice(server)
        before_kb = resident_kb(pids)
        print(f"{done:>12,} requests: {before_kb:,} kB resident", flush=True)
        while done < requests:
            done += _soak_slice(server)
        after_kb = resident_kb(pids)
    print(f"{done:>12,} requests: {after_kb:,} kB resident ({after_kb - before_kb:+,} kB)")


def _soak_slice(server: OutcropProcess) -> int:
    request = _converse_stream(server).request
    return loaded(server.port, request, SOAK_CONNECTIONS, SOAK_SLICE_S).answers


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--streams", type=int, default=Plan().streams)
    parser.add_argument("--events-per-s", type=float, default=Plan().events_per_s)
    parser.add_argument("--seconds", type=float, default=Plan().seconds)
    parser.add_argument("--workers", type=int, default=Plan().workers)
    parser.add_argument("--soak", type=int, metavar="REQUESTS", help="instead: memory over time")
    return parser.parse_args()


@contextmanager
def _outcrop(plan: Plan, port: int) -> Generator[OutcropProcess]:
    config = (
        f'[embedded]\nenabled = false\n[[model_servers]]\nname = "steady"\n'
        f'url = "http://127.0.0.1:{port}/v1"\nmodels = {{ "{MODEL_ID}" = "m" }}\n'
        f"[limits]\nmax_connections = {plan.streams + 50}\n"
    )
    arguments = ("--workers", str(plan.workers), "--log-level", "warning")
    with (
        tempfile.TemporaryDirectory() as folder,
        outcrop_process(Path(folder), config=config, arguments=arguments) as server,
    ):
        yield server


def _direct(plan: Plan) -> Seen:
    """The model server without anything in front of it."""
    plan = structs.replace(plan, seconds=min(DIRECT_S, plan.seconds))
    with _model_server(plan) as port:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: m\r\nContent-Length: {len(BODY)}\r\n"
        asking = Asking(port, head.encode() + b"\r\n" + BODY, b'"content":')
        return _seen(plan, asking)[0]


def _seen(plan: Plan, asking: Asking, server: OutcropProcess | None = None) -> tuple[Seen, float]:
    """And the memory in kB that the server took in the middle of it, above what it had before."""
    pids = family(server.process.pid) if server else []
    before = memory_kb(pids)
    client = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.streams_client"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert client.stdin
    assert client.stdout
    client.stdin.write(msgspec.json.encode((plan, asking)))
    client.stdin.close()
    time.sleep(plan.seconds / 2)
    held_kb = memory_kb(pids) - before
    seen = msgspec.json.decode(client.stdout.read(), type=Seen)
    client.wait()
    return seen, held_kb


def _tell(plan: Plan, server: OutcropProcess, direct: Seen) -> None:
    pids = family(server.process.pid)
    before = core_seconds(pids)
    seen, held_kb = _seen(plan, _converse_stream(server), server)
    core_s = core_seconds(pids) - before
    wanted = plan.streams * plan.events_per_s * plan.seconds
    stall_ms = STALL_EVENTS * 1000 / plan.events_per_s
    own_ms = max(seen.own_late_ms)
    stalled = sum(gap > stall_ms + own_ms for gap in seen.gaps_ms)
    added_ms = statistics.median(seen.first_ms) - statistics.median(direct.first_ms)
    for name, value in (
        ("streams", f"{plan.streams} ({seen.failed} failed)"),
        ("events", f"{seen.events:,} of {wanted:,.0f}"),
        ("CPU an event", f"{core_s / seen.events * 1e6:.1f} µs" if seen.events else "none"),
        ("cores used", f"{core_s / plan.seconds:.2f}"),
        ("memory a busy stream", f"{held_kb / plan.streams:.0f} kB"),
        ("first event", _spread(seen.first_ms)),
        ("first event, model server itself", _spread(direct.first_ms)),
        ("added to the first event (median)", f"{added_ms:.1f} ms"),
        ("an event's delay", _spread(seen.late_ms)),
        ("an event's delay, model server itself", _spread(direct.late_ms)),
        ("longest gap of a stream", _spread(seen.gaps_ms)),
        ("the client's own lateness", _spread(seen.own_late_ms)),
        (f"stalled (> {stall_ms:.0f} ms + the client's own)", f"{stalled}"),
    ):
        print(f"{name:40}{value}", flush=True)


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


def _converse_stream(server: OutcropProcess) -> Asking:
    path = f"/model/{MODEL_ID.replace(':', '%3A')}/converse-stream"
    headers = {"Content-Type": "application/json", "Host": f"127.0.0.1:{server.port}"}
    request = AWSRequest("POST", server.url + path, headers=headers, data=BODY)
    key = server.credentials
    SigV4Auth(
        Credentials(key.access_key_id, key.secret_access_key), "bedrock", "us-east-1"
    ).add_auth(request)
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    lines += [f"Content-Length: {len(BODY)}", "", ""]
    sent = "\r\n".join([f"POST {path} HTTP/1.1", *lines]).encode() + BODY
    return Asking(server.port, sent, b"contentBlockDelta")


if __name__ == "__main__":
    given = vars(_arguments())
    soaked = given.pop("soak")
    if soaked:
        soak(soaked)
    else:
        main(Plan(**given))
