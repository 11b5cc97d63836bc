"""What metering adds to a Converse: nothing, the ledger, an audit trail and an invocation log too.

A scripted model server answers at once, in a process of its own. First `App.handle` is asked
without a socket, as many requests at a time as are given: CPU time of the process. Then servers
are asked over sockets, for seconds, so that import into the store and delivery into a folder go on
meanwhile: requests per second of a clock, and of a core. The worker has one core; client and model
server have the other, which they use for a quarter, and the bookkeeper runs where there is room.
What all processes of a server take, until all is imported and delivered, is what "of a core"
divides by. Requests per second of a clock mean little on a machine that has other things to do.
Only the ledger is on unless somebody asks for more; the aim is about all of it together. Takes
eight minutes.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import TypeAlias

import msgspec
import uvloop
from msgspec import Struct

from benchmarks.fronts import (
    CLIENT_CORE,
    CONVERSE,
    MODEL_ID,
    Front,
    load_of,
    outcrop_front,
)
from benchmarks.in_process import signed
from benchmarks.processes import bookkeeper_of, core_seconds, family
from benchmarks.scripted_server import scripted_server
from outcrop.fleet.config import EmbeddedConfig, ModelServerConfig
from outcrop.metering.config import AuditConfig, InvocationLoggingConfig, MeteringConfig
from outcrop.server.app import App
from outcrop.server.config import Config
from outcrop.server.wiring import assembled

ROUNDS, CALLS = 5, 6_000
WARM_S, SECONDS = 1.0, 5.0
AT_ONCE = (8, 32)
AT_MOST = 0.10
SETTLED_S = 2.6
"""Until what was recorded is imported, and what was logged delivered."""
LOGGING = "/logging/modelinvocations"
WANTED = msgspec.json.encode({"loggingConfig": {"s3Config": {"bucketName": "prompts"}}})


class Variant(Struct, frozen=True):
    """What is switched on."""

    ledger: bool = True
    audit: bool = False
    log: bool = False


VARIANTS = {
    "off": Variant(ledger=False),
    "ledger": Variant(),
    "and audit": Variant(audit=True),
    "and log": Variant(log=True),
    "all three": Variant(audit=True, log=True),
}
"""The first is what the others are compared with; those with `and` have the ledger, too."""


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
    rates: dict[int, dict[str, list[_Rates]]] = {
        connections: {name: [] for name in VARIANTS} for connections in AT_ONCE
    }
    for number in range(ROUNDS):
        # In turns, and each time started anew: one process is luckier than another with the same
        # code, by a twentieth, in where its objects are.
        for name, variant in VARIANTS.items():
            state = folder / f"{name.replace(' ', '-')}-{number}"
            with _server(port, state, variant) as server:
                load_of(server, AT_ONCE[-1], WARM_S)
                for connections in AT_ONCE:
                    rates[connections][name].append(_rates(server, connections))
    _head("Converse over sockets, requests per second")
    for connections, by_name in rates.items():
        for number, what in enumerate(("of a clock", "of a core")):
            told = {name: [1 / rate[number] for rate in taken] for name, taken in by_name.items()}
            shown = [f"{1 / statistics.median(taken):,.0f}" for taken in told.values()]
            _row(f"{connections} connections, {what}", shown)
            _shares("fewer", [1 - 1 / more for more in _times_more(told)])


_Rates: TypeAlias = tuple[float, float]
"""Requests per second of a clock, and of a core."""


def _rates(server: Front, connections: int) -> _Rates:
    before = core_seconds(family(server.pid))
    answers = load_of(server, connections, SECONDS).answers
    time.sleep(SETTLED_S)
    return answers / SECONDS, answers / (core_seconds(family(server.pid)) - before)


@contextmanager
def _server(port: int, state: Path, variant: Variant) -> Generator[Front]:
    settings = f"[metering]\nenabled = {str(variant.ledger).lower()}\n"
    if variant.audit:
        settings += f'[audit]\nfile = "{state}/audit.jsonl"\n'
    if variant.log:
        settings += f'[invocation_logging]\nbatch_s = 1\nfolder = "{state}/log"\n'
    with outcrop_front(port, state, settings) as front:
        _let_run_anywhere(bookkeeper_of(front.pid))
        if variant.log:
            _ask_for_a_log(front, state)
        yield front


def _let_run_anywhere(pid: int) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), range(os.cpu_count() or 1))


def _ask_for_a_log(front: Front, state: Path) -> None:
    request = signed(state, "PUT", LOGGING, WANTED)
    connection = HTTPConnection("127.0.0.1", front.port)
    connection.request("PUT", LOGGING, request.body, dict(request.headers))
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()


async def _measure(port: int, folder: Path) -> None:
    async with AsyncExitStack() as held:
        apps = {}
        for name, variant in VARIANTS.items():
            config = _config(port, folder / name.replace(" ", "-"), variant)
            app = await held.enter_async_context(assembled(config, clock=_now))
            if variant.log:
                answer = await app.handle(signed(config.state, "PUT", LOGGING, WANTED))
                assert answer.status == 200, answer
            apps[name] = app, config.state
        _head("Converse, µs of CPU a request")
        for at_once in AT_ONCE:
            taken: dict[str, list[float]] = {name: [] for name in apps}
            for _ in range(ROUNDS):
                for name, (app, state) in apps.items():
                    taken[name].append(await _cpu_us(app, state, at_once))
            _row(f"{at_once} at once", [f"{min(times):.1f}" for times in taken.values()])
            _shares("more", [more - 1 for more in _times_more(taken)])


def _times_more(taken: Mapping[str, Sequence[float]]) -> list[float]:
    """Than the first, by the median over rounds."""
    first, *others = taken.values()
    return [
        statistics.median(one / base for one, base in zip(other, first, strict=True))
        for other in others
    ]


def _head(title: str) -> None:
    _row(title, list(VARIANTS))


def _row(what: str, values: Sequence[str]) -> None:
    print(f"{what:44}{''.join(f'{value:>11}' for value in values)}", flush=True)


def _shares(what: str, shares: Sequence[float]) -> None:
    wanted = f"  (wanted: {AT_MOST:.0%})" if shares[-1] > AT_MOST else ""
    _row(f"  {what}", ["", *(f"{share:.1%}" for share in shares), wanted])


def _config(port: int, state: Path, variant: Variant) -> Config:
    state.mkdir()
    server = ModelServerConfig(name="m", url=f"http://127.0.0.1:{port}/v1", models={MODEL_ID: "m"})
    return Config(
        state=state,
        log_level="error",
        model_servers=(server,),
        embedded=EmbeddedConfig(enabled=False),
        metering=MeteringConfig(enabled=variant.ledger),
        audit=AuditConfig(file=state / "audit.jsonl" if variant.audit else None),
        invocation_logging=InvocationLoggingConfig(
            folder=state / "log" if variant.log else None, batch_s=1
        ),
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
    await asyncio.sleep(SETTLED_S)
    return (time.process_time() - began) / (CALLS // at_once * at_once) * 1e6


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
