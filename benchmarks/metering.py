"""What the ledger adds to a Converse, in CPU time of the process, on and off in turns.

A scripted model server answers at once, in a process of its own; `App.handle` is asked without a
socket, as many requests at a time as are given. Import into the store included.
"""

import asyncio
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from benchmarks.converse import CONVERSE, MODEL_ID
from benchmarks.in_process import signed
from benchmarks.scripted_server import scripted_server
from outcrop.fleet.config import EmbeddedConfig, ModelServerConfig
from outcrop.metering.config import MeteringConfig
from outcrop.server.app import App
from outcrop.server.config import Config
from outcrop.server.wiring import assembled

ROUNDS, CALLS = 5, 6_000
AT_ONCE = (8, 32)
AT_MOST = 0.10


def main() -> None:
    with scripted_server() as port, tempfile.TemporaryDirectory() as folder:
        uvloop.run(_measure(port, Path(folder)))


async def _measure(port: int, folder: Path) -> None:
    async with AsyncExitStack() as held:
        apps = {}
        for enabled in (False, True):
            config = _config(port, folder / str(enabled), enabled=enabled)
            apps[enabled] = (
                await held.enter_async_context(assembled(config, clock=lambda: datetime.now(UTC))),
                config.state,
            )
        print(f"{'Converse, µs of CPU a request':40}{'off':>8}{'on':>8}{'added':>8}{'of off':>8}")
        for at_once in AT_ONCE:
            taken: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(ROUNDS):
                for enabled, (app, state) in apps.items():
                    taken[enabled].append(await _cpu_us(app, state, at_once))
            off, on = min(taken[False]), min(taken[True])
            pairs = zip(taken[True], taken[False], strict=True)
            share = statistics.median(ours / bare for ours, bare in pairs) - 1
            print(
                f"{f'{at_once} at once':40}{off:>8.1f}{on:>8.1f}{on - off:>8.1f}{share:>8.1%}"
                f"{'' if share <= AT_MOST else f'  (wanted: {AT_MOST:.0%})'}"
            )


def _config(port: int, state: Path, *, enabled: bool) -> Config:
    state.mkdir()
    server = ModelServerConfig(name="m", url=f"http://127.0.0.1:{port}/v1", models={MODEL_ID: "m"})
    return Config(
        state=state,
        log_level="error",
        model_servers=(server,),
        embedded=EmbeddedConfig(enabled=False),
        metering=MeteringConfig(enabled=enabled),
    )


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
