"""Converse, as a part of what the same edge and HTTP client pass through without Outcrop.

A scripted model server answers at once; in front of it stand, in turns, a bare pass-through,
`outcrop serve` with signatures on, and two other gateways where they can be installed: smg, written
in Rust, with nothing switched on, and LiteLLM's proxy. All are pinned to one core; loader and model
server have the other. A second of a core is what the kernel charges to the processes in front, as
in requests_per_second.py.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from secrets import token_hex

import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from msgspec import Struct

from benchmarks.load import Load
from benchmarks.processes import await_port, core_seconds, family, free_port
from benchmarks.scripted_server import scripted_server
from tests.clients.environments import outside, python_environment
from tests.outcrop_process import REPOSITORY, OutcropProcess, outcrop_process

ROUNDS = 3
SECONDS = 1.5
CONNECTIONS = (8, 32)
AT_LEAST = 0.5
LITELLM = "litellm[proxy]==1.106.0"
LITELLM_STARTS_S = 90.0
OF_LITELLM = 40
SMG = "smg==1.13.0"
SMG_STARTS_S = 30.0
OF_SMG = 1
ADDED_MS = 1.5

SERVER_CORE = ("taskset", "-c", "0")
CLIENT_CORE = ("taskset", "-c", "1")
MODEL_ID = "amazon.nova-lite-v1:0"
QUESTION = "Hello, how are you today? Answer in one short sentence, please."
CONVERSE = msgspec.json.encode(
    {
        "messages": [{"role": "user", "content": [{"text": QUESTION}]}],
        "inferenceConfig": {"maxTokens": 512, "temperature": 0.5},
    }
)
CHAT = {
    "model": "m",
    "messages": [{"role": "user", "content": QUESTION}],
    "max_tokens": 512,
    "temperature": 0.5,
}
STREAMED_CHAT = msgspec.json.encode(
    {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
)
WHOLE_CHAT = msgspec.json.encode({**CHAT, "stream": False})
SENT_BY_BOTO3 = {
    "Content-Type": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python",
    "amz-sdk-invocation-id": "a0f6ba0b-2d6a-4a2e-9d33-7c0f9d3c8b1e",
    "amz-sdk-request": "attempt=1",
}


class Front(Struct, frozen=True):
    """What stands before the model server, and how it is asked."""

    pid: int
    port: int
    request: Callable[[], bytes]
    """Made anew for every round: a signature is good for five minutes."""


def main() -> None:
    if (os.cpu_count() or 1) < 2:
        print("needs two cores: one for the server, one for the client")
        return
    with ExitStack() as held:
        model_server = held.enter_context(scripted_server(command=CLIENT_CORE))
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        fronts = {
            "bare": held.enter_context(_bare(model_server)),
            "Outcrop": held.enter_context(outcrop_front(model_server, folder / "state")),
        }
        _tell_rates(fronts, "bare", AT_LEAST, CONNECTIONS, SECONDS)
        _tell_latency({"model server": _model_server(model_server), **fronts})
        _tell_beside("smg", _smg(model_server, folder), fronts["Outcrop"], OF_SMG, CONNECTIONS)
        # A slow one has a queue, which is not what is measured.
        _tell_beside(
            "LiteLLM",
            _litellm(model_server, folder),
            fronts["Outcrop"],
            OF_LITELLM,
            CONNECTIONS[:1],
        )


def _tell_beside(
    name: str,
    gateway: AbstractContextManager[Front],
    outcrop: Front,
    at_least: float,
    connections: Sequence[int],
) -> None:
    try:
        with gateway as front:
            fronts = {name: front, "Outcrop": outcrop}
            _tell_rates(fronts, name, at_least, connections, SECONDS * 2)
    except (pytest.skip.Exception, AssertionError, RuntimeError, OSError) as error:
        print(f"{name} is left out: {error}")


def _tell_rates(
    fronts: Mapping[str, Front],
    reference: str,
    at_least: float,
    connections: Sequence[int],
    seconds: float,
) -> None:
    title = "requests per second of a core, connections"
    print(f"{title:46}{reference:>12}{'Outcrop':>12}{'ratio':>8}")
    for number in connections:
        rates: dict[str, list[float]] = {name: [] for name in fronts}
        for _ in range(ROUNDS):
            for name, front in fronts.items():
                rates[name].append(per_core_second(front, number, seconds))
        pairs = zip(rates["Outcrop"], rates[reference], strict=True)
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        print(
            f"{'Converse':42}{number:>4}{statistics.median(rates[reference]):>12,.0f}"
            f"{statistics.median(rates['Outcrop']):>12,.0f}{ratio:>8.2f}"
            f"{'' if ratio >= at_least else f'  (wanted: {at_least})'}",
            flush=True,
        )


def _tell_latency(fronts: Mapping[str, Front]) -> None:
    medians: dict[str, list[float]] = {name: [] for name in fronts}
    for _ in range(ROUNDS):
        for name, front in fronts.items():
            medians[name].append(load_of(front, 1, SECONDS / 2).median_ms)
    direct = statistics.median(medians["model server"])
    print(f"{'median at one connection':46}{direct:>9.3f} ms from the model server itself")
    for name in ("bare", "Outcrop"):
        added = statistics.median(medians[name]) - direct
        wanted = f"  (wanted: {ADDED_MS})" if name == "Outcrop" and added > ADDED_MS else ""
        print(f"{f'added by {name}':46}{added:>9.3f} ms{wanted}", flush=True)


def per_core_second(front: Front, connections: int, seconds: float) -> float:
    before = core_seconds(family(front.pid))
    load = load_of(front, connections, seconds)
    return load.answers / (core_seconds(family(front.pid)) - before)


def load_of(front: Front, connections: int, seconds: float) -> Load:
    ended = subprocess.run(
        [
            *(*CLIENT_CORE, sys.executable, "-m", "benchmarks.load", "127.0.0.1"),
            *(str(front.port), str(connections), str(seconds)),
        ],
        input=msgspec.json.encode([front.request()]),
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        check=True,
    )
    load = msgspec.json.decode(ended.stdout, type=Load)
    assert load.answers, load
    assert load.refusals == 0, load
    return load


def _model_server(port: int) -> Front:
    return Front(0, port, lambda: _post(port, "/v1/chat/completions", STREAMED_CHAT))


@contextmanager
def _bare(model_server: int) -> Generator[Front]:
    command = [*SERVER_CORE, sys.executable, "-m", "benchmarks.bare_proxy", str(model_server)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert process.stdout
    try:
        port = int(process.stdout.readline())
        yield Front(process.pid, port, lambda: _post(port, "/", STREAMED_CHAT))
    finally:
        process.terminate()
        process.wait()


@contextmanager
def outcrop_front(model_server: int, state: Path, settings: str = "") -> Generator[Front]:
    """`settings`: more of its configuration."""
    config = (
        f'{settings}[embedded]\nenabled = false\n[[model_servers]]\nname = "scripted"\n'
        f'url = "http://127.0.0.1:{model_server}/v1"\nmodels = {{ "{MODEL_ID}" = "m" }}\n'
    )
    command = [*SERVER_CORE, sys.executable, "-m", "outcrop", "serve"]
    with outcrop_process(state, config=config, command=command) as server:
        yield Front(server.process.pid, server.port, lambda: signed(server))


@contextmanager
def _litellm(model_server: int, folder: Path) -> Generator[Front]:
    program = python_environment("litellm-proxy", LITELLM) / "litellm"
    port = free_port()
    config = folder / "litellm.yaml"
    config.write_text(
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/m\n"
        f"    api_base: http://127.0.0.1:{model_server}/v1\n    api_key: none\n"
    )
    # It does not start without a key.
    key = f"sk-{token_hex(32)}"
    settings = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MASTER_KEY": key,
    }
    authorization = {"Authorization": f"Bearer {key}"}
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *SERVER_CORE,
                program,
                "--config",
                config,
                "--port",
                str(port),
                "--telemetry",
                "False",
            ],
            env=outside(settings, folder),
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        await_port(port, process, patience_s=LITELLM_STARTS_S)
        yield Front(
            process.pid, port, lambda: _post(port, "/chat/completions", WHOLE_CHAT, authorization)
        )
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _smg(model_server: int, folder: Path) -> Generator[Front]:
    """One worker, and no policy that looks into what is asked."""
    program = python_environment("smg", SMG) / "smg"
    port, metrics = free_port(), free_port()
    with (folder / "smg.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(*SERVER_CORE, program, "launch", "--host", "127.0.0.1", "--port", str(port)),
                *("--worker-urls", f"http://127.0.0.1:{model_server}"),
                *("--policy", "round_robin", "--log-level", "error"),
                *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics)),
            ],
            env=outside({}, folder),
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        await_port(port, process, patience_s=SMG_STARTS_S)
        _await_worker(port)
        path = "/v1/chat/completions"
        yield Front(process.pid, port, lambda: _post(port, path, WHOLE_CHAT))
    finally:
        process.terminate()
        process.wait()


def _await_worker(port: int) -> None:
    """It listens before it has found out what the model server serves."""
    deadline = time.monotonic() + SMG_STARTS_S
    while time.monotonic() < deadline:
        connection = HTTPConnection("127.0.0.1", port, timeout=SMG_STARTS_S)
        connection.request(
            "POST", "/v1/chat/completions", WHOLE_CHAT, {"Content-Type": "application/json"}
        )
        if connection.getresponse().status == 200:
            return
        time.sleep(0.1)
    raise RuntimeError("smg has not found its model server")


def _post(port: int, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    sent = {"Host": f"127.0.0.1:{port}", **SENT_BY_BOTO3, **(headers or {})}
    return _as_sent(path, sent, body)


def signed(server: OutcropProcess) -> bytes:
    """The request as boto3 sends it."""
    path = f"/model/{MODEL_ID.replace(':', '%3A')}/converse"
    request = AWSRequest("POST", server.url + path, headers=SENT_BY_BOTO3, data=CONVERSE)
    key = server.credentials
    credentials = Credentials(key.access_key_id, key.secret_access_key)
    SigV4Auth(credentials, "bedrock", "us-east-1").add_auth(request)
    headers = {"Host": f"127.0.0.1:{server.port}", **dict(request.headers)}
    return _as_sent(path, headers, CONVERSE)


def _as_sent(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


if __name__ == "__main__":
    main()
