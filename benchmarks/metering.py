"""What ledger, audit trail and invocation log add to a Converse, in CPU time, in turns.

A scripted model server answers at once, in a process of its own; `App.handle` is asked without a
socket, as many requests at a time as are given. Import into the store and delivery to a folder are
included.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from benchmarks.converse import CONVERSE, MODEL_ID
from benchmarks.in_process import signed
from benchmarks.scripted_server import scripted_server
from outcrop.fleet.config import EmbeddedConfig, ModelServerConfig
from outcrop.metering.config import AuditConfig, InvocationLoggingConfig, MeteringConfig
from outcrop.server.app import App
from outcrop.server.config import Config
from outcrop.server.wiring import assembled

ROUNDS, CALLS = 5, 6_000
AT_ONCE = (8, 32)
AT_MOST = 0.10
NAMES = ("off", "on", "audit", "log")
"""Nothing; the ledger; the ledger and one more."""


def main() -> None:
    with scripted_server() as port, tempfile.TemporaryDirectory() as folder:
        uvloop.run(_measure(port, Path(folder)))


async def _measure(port: int, folder: Path) -> None:
    async with AsyncExitStack() as held:
        apps: dict[str, tuple[App, Path]] = {}
        for name in NAMES:
            config = _config(port, folder / name, name)
            app = await held.enter_async_context(assembled(config, clock=lambda: datetime.now(UTC)))
            apps[name] = app, config.state
        await _log_to_a_bucket(*apps["log"])
        print(f"{'Converse, µs of CPU a request':32}" + "".join(f"{name:>16}" for name in NAMES))
        for at_once in AT_ONCE:
            taken: dict[str, list[float]] = {name: [] for name in NAMES}
            for _ in range(ROUNDS):
                for name, (app, state) in apps.items():
                    taken[name].append(await _cpu_us(app, state, at_once))
            _tell(at_once, taken)


def _tell(at_once: int, taken: Mapping[str, Sequence[float]]) -> None:
    text = f"{f'{at_once} at once':32}"
    shares = {}
    for name in NAMES:
        pairs = zip(taken[name], taken["off"], strict=True)
        shares[name] = statistics.median(ours / bare for ours, bare in pairs) - 1
        text += f"{min(taken[name]):>8.1f}{shares[name]:>+8.1%}"
    print(text + ("" if shares["on"] <= AT_MOST else f"  (wanted of `on`: {AT_MOST:.0%})"))


def _config(port: int, state: Path, name: str) -> Config:
    state.mkdir()
    server = ModelServerConfig(name="m", url=f"http://127.0.0.1:{port}/v1", models={MODEL_ID: "m"})
    return Config(
        state=state,
        log_level="error",
        model_servers=(server,),
        embedded=EmbeddedConfig(enabled=False),
        metering=MeteringConfig(enabled=name != "off"),
        invocation_logging=InvocationLoggingConfig(folder=state / "buckets", batch_s=0.5),
        audit=AuditConfig(file=state / "audit.jsonl" if name == "audit" else None),
    )


async def _log_to_a_bucket(app: App, state: Path) -> None:
    body = b'{"loggingConfig":{"s3Config":{"bucketName":"logs"}}}'
    answer = await app.handle(signed(state, "PUT", "/logging/modelinvocations", body))
    assert answer.status == 200, answer


async def _cpu_us(app: App, state: Path, at_once: int) -> float:
    path = f"/model/{MODEL_ID.replace(':', '%3A')}/converse"
    request = signed(state, "POST", path, CONVERSE)

    async def ask() -> None:
        for _ in range(CALLS // at_once):
            answer = await app.handle(request)
            assert answer.status == 200, answer

    began = time.process_time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(ask())
    # The importer's last round is part of the price.
    await asyncio.sleep(0.6)
    return (time.process_time() - began) / (CALLS // at_once * at_once) * 1e6


if __name__ == "__main__":
    main()
