"""What the ledger adds to a Converse, on and off in turns; import into the store included.

A scripted model server answers at once, in a process of its own. First `App.handle` is asked
without a socket, as many requests at a time as are given: CPU time of the process. Then two servers
are asked over sockets, pinned to one core as in converse.py: requests per second of a clock, and
of a core. Those of a clock mean little on a machine that has other things to do.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Generator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from benchmarks.converse import (
    CLIENT_CORE,
    CONVERSE,
    MODEL_ID,
    SECONDS,
    Front,
    load_of,
    outcrop_front,
)
from benchmarks.in_process import signed
from benchmarks.processes import core_seconds, family
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
    if (os.cpu_count() or 1) < 2:
        print("over sockets: needs two cores, one for the server, one for the client")
        return
    with ExitStack() as held:
        _measure_over_sockets(held)


def _measure_over_sockets(held: ExitStack) -> None:
    port = held.enter_context(scripted_server(command=CLIENT_CORE))
    folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
    servers = {
        enabled: held.enter_context(_server(port, folder / str(enabled), enabled=enabled))
        for enabled in (False, True)
    }
    print(f"{'Converse over sockets, requests per second':50}{'off':>8}{'on':>8}")
    for connections in AT_ONCE:
        rates: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for enabled, server in servers.items():
                rates[enabled].append(_rates(server, connections))
        for number, what in enumerate(("of a clock", "of a core")):
            off, on = ([rate[number] for rate in rates[enabled]] for enabled in (False, True))
            _tell(f"{connections} connections, {what}", off, on)


def _rates(server: Front, connections: int) -> tuple[float, float]:
    """Requests per second of a clock, and of a core."""
    before = core_seconds(family(server.pid))
    answers = load_of(server, connections, SECONDS).answers
    return answers / SECONDS, answers / (core_seconds(family(server.pid)) - before)


def _tell(what: str, off: list[float], on: list[float]) -> None:
    lost = 1 - statistics.median(ours / bare for ours, bare in zip(on, off, strict=True))
    print(
        f"{what:50}{statistics.median(off):>8,.0f}{statistics.median(on):>8,.0f}"
        f"{lost:>8.1%} fewer{'' if lost <= AT_MOST else f'  (wanted: {AT_MOST:.0%})'}",
        flush=True,
    )


@contextmanager
def _server(port: int, state: Path, *, enabled: bool) -> Generator[Front]:
    with outcrop_front(port, state, f"[metering]\nenabled = {str(enabled).lower()}\n") as front:
        yield front


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
