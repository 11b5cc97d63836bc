"""Requests per second of the two listings, as a part of what bare Granian serves: half, at least.

All servers run pinned to one core and the client to another, in turns, with the very same answers.
The same pages are asked for again and again while nobody writes, so SQLite's answers are
remembered; a second server remembers nothing and reads each page from the store. A second of a core
is counted as the kernel charges it to the server's processes, so that others who want the same core
do not count.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import NamedTuple

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks.load import loaded
from benchmarks.processes import await_port, core_seconds, family, free_port
from tests.outcrop_process import REPOSITORY, OutcropProcess, outcrop_process
from tests.server.wire import wire

ROUNDS = 3
SECONDS = 2.0
CONNECTIONS = (8, 32)
AT_LEAST = 0.5

SERVER_CORE, CLIENT_CORE = "0", "1"
PATHS = (
    "/inference-profiles?maxResults=10",
    "/inference-profiles?maxResults=10&type=APPLICATION",
    "/provisioned-model-throughputs?maxResults=10",
)
MODEL = "amazon.nova-lite-v1:0:24k"
SENT_BY_BOTO3 = {
    "Accept-Encoding": "identity",
    "User-Agent": "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python",
    "amz-sdk-invocation-id": "a0f6ba0b-2d6a-4a2e-9d33-7c0f9d3c8b1e",
    "amz-sdk-request": "attempt=1",
}


class Serving(NamedTuple):
    pid: int
    port: int


Rates = Mapping[str, list[float]]
"""Requests per second of one core by the server's name, one of each for every round."""

# Read each time: what the aim is about.
READING = "from outcrop.store import sqlite; sqlite.ROWS_REMEMBERED = -1; "
SERVERS = {"remembered": "", "read": READING}


def main() -> None:
    if (os.cpu_count() or 1) < 2:
        print("needs two cores: one for the server, one for the client")
        return
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        servers = {
            name: held.enter_context(_outcrop(folder / name, first))
            for name, first in SERVERS.items()
        }
        for server in servers.values():
            _fill(server)
        title = "requests per second of a core, connections"
        print(f"{title:56}{'bare Granian':>14}", *(f"{name:>12}{'ratio':>8}" for name in SERVERS))
        for path, connections in product(PATHS, CONNECTIONS):
            _tell(path, connections, _measure(servers, path, connections, folder))


def _tell(path: str, connections: int, rates: Rates) -> None:
    ratios = {name: _ratio(rates, name) for name in SERVERS}
    told = (f"{statistics.median(rates[name]):>12,.0f}{ratios[name]:>8.2f}" for name in SERVERS)
    print(
        f"{path:52}{connections:>4}{statistics.median(rates['bare']):>14,.0f}",
        *told,
        "" if ratios["read"] >= AT_LEAST else f"  (wanted: {AT_LEAST})",
        flush=True,
    )


def _ratio(rates: Rates, name: str) -> float:
    pairs = zip(rates[name], rates["bare"], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


@contextmanager
def _outcrop(state: Path, first: str) -> Generator[OutcropProcess]:
    """`first`: statements of Python before it serves."""
    program = f"import sys; {first}from outcrop.server.cli import main; sys.exit(main())"
    command = ["taskset", "-c", SERVER_CORE, sys.executable, "-c", program, "serve"]
    config = "[embedded]\nenabled = false\n"
    with outcrop_process(state, config=config, command=command) as server:
        yield server


def _fill(server: OutcropProcess) -> None:
    """Ten application profiles and ten provisioned models: full pages, from the store."""
    bedrock = boto3.client("bedrock", **_client_settings(server))
    source = bedrock.list_inference_profiles(maxResults=1)["inferenceProfileSummaries"][0]
    for number in range(10):
        bedrock.create_inference_profile(
            inferenceProfileName=f"benchmark {number}",
            modelSource={"copyFrom": source["inferenceProfileArn"]},
        )
        bedrock.create_provisioned_model_throughput(
            provisionedModelName=f"benchmark-{number}", modelId=MODEL, modelUnits=1
        )


def _client_settings(server: OutcropProcess) -> dict[str, str]:
    credentials = server.credentials
    return {
        "endpoint_url": server.url,
        "region_name": "us-east-1",
        "aws_access_key_id": credentials.access_key_id,
        "aws_secret_access_key": credentials.secret_access_key,
    }


def _measure(
    servers: Mapping[str, OutcropProcess], path: str, connections: int, folder: Path
) -> Rates:
    answer = folder / "answer.json"
    answer.write_bytes(_answer(servers["read"], path))
    rates: Rates = {name: [] for name in ("bare", *SERVERS)}
    with _bare_granian(answer) as bare:
        for _ in range(ROUNDS):
            rates["bare"].append(_load(bare, _signed(servers["read"], path), connections))
            for name, server in servers.items():
                # A signature is good for five minutes: each round has its own.
                ours = Serving(server.process.pid, server.port)
                rates[name].append(_load(ours, _signed(server, path), connections))
    return rates


def _answer(server: OutcropProcess, path: str) -> bytes:
    with wire(server.port) as connection:
        connection.send(_signed(server, path))
        answer = connection.answer()
    assert answer.status == 200, answer
    return answer.body


def _signed(server: OutcropProcess, path: str) -> bytes:
    """The request as boto3 sends it."""
    credentials = server.credentials
    request = AWSRequest("GET", server.url + path, headers=SENT_BY_BOTO3)
    key = Credentials(credentials.access_key_id, credentials.secret_access_key)
    SigV4Auth(key, "bedrock", "us-east-1").add_auth(request)
    headers = {"Host": f"127.0.0.1:{server.port}", **dict(request.headers)}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


@contextmanager
def _bare_granian(answer: Path) -> Generator[Serving]:
    port = free_port()
    command = [
        *("taskset", "-c", SERVER_CORE, sys.executable, "-m", "granian", "--interface", "asgi"),
        *("--port", str(port), "--loop", "uvloop", "--no-ws", "--log-level", "error"),
        "benchmarks.bare_granian:app",
    ]
    environment = {**os.environ, "ANSWER": str(answer), "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, env=environment, cwd=REPOSITORY)
    try:
        await_port(port, process, patience_s=10)
        yield Serving(process.pid, port)
    finally:
        process.terminate()
        process.wait()


def _load(server: Serving, request: bytes, connections: int) -> float:
    """Requests per second of the core that the server's processes had."""
    before = core_seconds(family(server.pid))
    on_its_core = ("taskset", "-c", CLIENT_CORE)
    load = loaded(server.port, request, connections, SECONDS, command=on_its_core)
    return load.answers / (core_seconds(family(server.pid)) - before)


if __name__ == "__main__":
    main()
