"""What a request costs without its socket, as a multiple of `json.loads` of its answer."""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from outcrop.iam.access_keys import read_root_access_key
from outcrop.server.app import App
from outcrop.server.config import Config
from outcrop.server.wiring import assembled
from outcrop.wire.http import HttpRequest

ROUNDS, CALLS = 7, 1000
PATHS = (
    "/inference-profiles?maxResults=10",
    "/inference-profiles?maxResults=10&type=APPLICATION",
    "/provisioned-model-throughputs?maxResults=10",
)
MODEL = "amazon.nova-lite-v1:0"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Config(state=Path(folder), log_level="error")))


async def measure(config: Config) -> None:
    async with assembled(config, clock=lambda: datetime.now(UTC)) as app:
        await fill(app, config.state)
        print(f"{'App.handle, signature included':54}{'µs':>8}{'of json.loads':>16}")
        for path in PATHS:
            request = signed(config.state, "GET", path)
            answer = (await app.handle(request)).body
            assert isinstance(answer, bytes)
            ours = await best_us(lambda request=request: app.handle(request))  # type: ignore[misc]  # mypy does not infer a lambda's default
            reference = best_us_of_json(answer)
            print(f"{path:54}{ours:>8.1f}{ours / reference:>16.2f}")


async def fill(app: App, state: Path) -> None:
    source = f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"
    for number in range(20):
        for path, body in (
            (
                "/inference-profiles",
                {"inferenceProfileName": f"n {number}", "modelSource": {"copyFrom": source}},
            ),
            (
                "/provisioned-model-throughput",
                {"provisionedModelName": f"n-{number}", "modelId": MODEL, "modelUnits": 1},
            ),
        ):
            answer = await app.handle(signed(state, "POST", path, json.dumps(body).encode()))
            assert answer.status == 201, answer


def signed(state: Path, method: str, path: str, body: bytes = b"") -> HttpRequest:
    key = read_root_access_key(state)
    request = AWSRequest(method, f"http://127.0.0.1:8787{path}", data=body)
    credentials = Credentials(key.access_key_id, key.secret_access_key)
    SigV4Auth(credentials, "bedrock", "us-east-1").add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    raw_path, _, query = path.partition("?")
    return HttpRequest(
        method=method,
        raw_path=raw_path,
        query_string=query,
        headers={"host": "127.0.0.1:8787", **headers},
        body=body,
    )


async def best_us(call: Callable[[], Awaitable[object]]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            await call()
        best = min(best, time.perf_counter() - began)
    return best / CALLS * 1e6


def best_us_of_json(text: bytes) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            json.loads(text)
        best = min(best, time.perf_counter() - began)
    return best / CALLS * 1e6


if __name__ == "__main__":
    main()
