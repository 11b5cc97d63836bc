"""What a caller can ask in place of a model server: Outcrop, two pass-throughs, two gateways.

Each is pinned to one core; loader and model server have the other.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from secrets import token_hex

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from msgspec import Struct

from benchmarks.load import Load, loaded
from benchmarks.processes import await_port, core_seconds, family, free_port
from tests.clients.environments import outside, python_environment
from tests.outcrop_process import REPOSITORY, OutcropProcess, outcrop_process

LIBRARIES = ("aiohttp==3.14.5", "granian==2.8.7", "uvloop==0.23.0")
LITELLM = "litellm[proxy]==1.106.0"
SMG = "smg==1.13.0"
STARTS_S = 30.0
LITELLM_STARTS_S = 90.0

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
CHAT_PATH = "/v1/chat/completions"
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


def per_core_second(front: Front, connections: int, seconds: float) -> float:
    """Answers in a second of a core, as the kernel charges it to the processes in front."""
    before = core_seconds(family(front.pid))
    load = load_of(front, connections, seconds)
    return load.answers / (core_seconds(family(front.pid)) - before)


def load_of(front: Front, connections: int, seconds: float) -> Load:
    return loaded(front.port, front.request(), connections, seconds, command=CLIENT_CORE)


def model_server_front(port: int) -> Front:
    """Nothing in front; no process whose time is counted."""
    return Front(0, port, lambda: _post(port, CHAT_PATH, STREAMED_CHAT))


@contextmanager
def outcrop_front(model_server: int, state: Path, settings: str = "") -> Generator[Front]:
    """`settings`: more of its configuration."""
    config = outcrop_config(model_server, settings)
    command = [*SERVER_CORE, sys.executable, "-m", "outcrop", "serve"]
    with outcrop_process(state, config=config, command=command) as server:
        yield Front(server.process.pid, server.port, lambda: signed(server))


def outcrop_config(model_server: int, settings: str = "") -> str:
    return (
        f'{settings}[embedded]\nenabled = false\n[[model_servers]]\nname = "scripted"\n'
        f'url = "http://127.0.0.1:{model_server}/v1"\nmodels = {{ "{MODEL_ID}" = "m" }}\n'
    )


@contextmanager
def bare_of_our_parts(model_server: int) -> Generator[Front]:
    """Outcrop's edge and HTTP client, and nothing in between."""
    command = [*SERVER_CORE, sys.executable, "-m", "benchmarks.bare_proxy", str(model_server)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert process.stdout
    try:
        with process.stdout as told:
            port = int(told.readline())
            yield Front(process.pid, port, lambda: _post(port, "/", STREAMED_CHAT))
    finally:
        process.terminate()
        process.wait()


@contextmanager
def bare_of_libraries(model_server: int, folder: Path) -> Generator[Front]:
    """The same of no Outcrop code: Granian for an edge, aiohttp for an HTTP client."""
    program = python_environment("library-proxy", *LIBRARIES) / "granian"
    port = free_port()
    command = [
        *(str(program), "--interface", "rsgi", "--http", "1", "--no-ws", "--loop", "uvloop"),
        *("--port", str(port), "--log-level", "error", "benchmarks.library_proxy:app"),
    ]
    variables = {
        "MODEL_SERVER": f"http://127.0.0.1:{model_server}{CHAT_PATH}",
        "PYTHONPATH": str(REPOSITORY),
    }
    with _program(command, port, folder, variables) as pid:
        yield Front(pid, port, lambda: _post(port, "/", STREAMED_CHAT))


@contextmanager
def litellm(model_server: int, folder: Path) -> Generator[Front]:
    program = python_environment("litellm-proxy", LITELLM) / "litellm"
    port = free_port()
    config = folder / "litellm.yaml"
    config.write_text(
        "model_list:\n- model_name: m\n  litellm_params:\n    model: openai/m\n"
        f"    api_base: http://127.0.0.1:{model_server}/v1\n    api_key: none\n"
    )
    # It does not start without a key.
    key = f"sk-{token_hex(32)}"
    variables = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MASTER_KEY": key,
    }
    authorization = {"Authorization": f"Bearer {key}"}
    command = [
        *(str(program), "--config", str(config), "--port", str(port)),
        *("--telemetry", "False"),
    ]
    with _program(command, port, folder, variables, starts_s=LITELLM_STARTS_S) as pid:
        yield Front(pid, port, lambda: _post(port, "/chat/completions", WHOLE_CHAT, authorization))


@contextmanager
def smg(model_server: int, folder: Path) -> Generator[Front]:
    """One worker, and no policy that looks into what is asked."""
    program = python_environment("smg", SMG) / "smg"
    port, metrics = free_port(), free_port()
    command = [
        *(str(program), "launch", "--host", "127.0.0.1", "--port", str(port)),
        *("--worker-urls", f"http://127.0.0.1:{model_server}"),
        *("--policy", "round_robin", "--log-level", "error"),
        *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics)),
    ]
    with _program(command, port, folder, {}) as pid:
        _await_worker(port)
        yield Front(pid, port, lambda: _post(port, CHAT_PATH, WHOLE_CHAT))


@contextmanager
def _program(
    command: Sequence[str],
    port: int,
    folder: Path,
    variables: Mapping[str, str],
    *,
    starts_s: float = STARTS_S,
) -> Generator[int]:
    """Its process id, once it listens; what it says goes to a file in `folder`."""
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(
            [*SERVER_CORE, *command],
            env=outside(variables, folder),
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        await_port(port, process, patience_s=starts_s)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _await_worker(port: int) -> None:
    """smg listens before it has found out what the model server serves."""
    deadline = time.monotonic() + STARTS_S
    while time.monotonic() < deadline:
        connection = HTTPConnection("127.0.0.1", port, timeout=STARTS_S)
        connection.request("POST", CHAT_PATH, WHOLE_CHAT, {"Content-Type": "application/json"})
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
