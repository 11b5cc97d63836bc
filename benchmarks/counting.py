"""What quotas cost a Converse request over sockets: counted in the process, and in a Valkey.

Two servers that differ in `valkey.url` alone are asked in turns, each with four quotas and a
`max_concurrency`. A request's cost is the CPU time, kernel included, charged to the server; Valkey
is a process of its own and told apart.
"""

import statistics
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.converse import CONNECTIONS
from benchmarks.fronts import (
    CLIENT_CORE,
    MODEL_ID,
    SERVER_CORE,
    Front,
    load_of,
    signed,
)
from benchmarks.processes import core_seconds, family
from benchmarks.scripted_server import scripted_server
from tests.outcrop_process import SERVE, outcrop_process
from tests.valkey import ValkeyProcess, valkey_server

ROUNDS = 7
SECONDS = 1.5
AT_LEAST = 0.8
QUOTAS = """
[[quotas]]
tokens_per_minute = 1_000_000_000_000
tokens_per_day = 1_000_000_000_000
requests_per_minute = 1_000_000_000
concurrent_requests = 1_000_000
"""


def main() -> None:
    with ExitStack() as held:
        model_server = held.enter_context(scripted_server(command=CLIENT_CORE))
        valkey = held.enter_context(valkey_server())
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        fronts: dict[str, Front] = {}
        for name, limits in (
            ("nothing counted", ""),
            ("in the process", QUOTAS),
            ("in Valkey", f'{QUOTAS}[valkey]\nurl = "{valkey.url}"\n'),
        ):
            config = _config(model_server, limits)
            state = folder / name.replace(" ", "-")
            server = held.enter_context(
                outcrop_process(state, config=config, command=(*SERVER_CORE, *SERVE))
            )
            fronts[name] = Front(server.process.pid, server.port, partial(signed, server))
        for connections in CONNECTIONS:
            _tell(fronts, valkey, connections)


def _config(model_server: int, limits: str) -> str:
    return f"""
        {limits}
        [embedded]
        enabled = false
        [[model_servers]]
        name = "scripted"
        url = "http://127.0.0.1:{model_server}/v1"
        models = {{ "{MODEL_ID}" = "m" }}
        max_concurrency = 1_000
    """


def _tell(fronts: dict[str, Front], valkey: ValkeyProcess, connections: int) -> None:
    costs: dict[str, list[float]] = {name: [] for name in fronts}
    of_valkey: list[float] = []
    for _ in range(ROUNDS):
        for name, front in fronts.items():
            before, beside = core_seconds(family(front.pid)), core_seconds([valkey.pid])
            answers = load_of(front, connections, SECONDS).answers
            costs[name].append((core_seconds(family(front.pid)) - before) / answers * 1e6)
            if name == "in Valkey":
                of_valkey.append((core_seconds([valkey.pid]) - beside) / answers * 1e6)
    pairs = zip(costs["in the process"], costs["in Valkey"], strict=True)
    ratio = statistics.median(local / shared for local, shared in pairs)
    for name, found in costs.items():
        least, median = min(found), statistics.median(found)
        print(f"{name:20}{connections:>4} connections{median:>8.1f} us, least {least:.1f}")
    print(
        f"requests of a core, in Valkey as a part of in the process: {ratio:.2f}"
        f"{'' if ratio >= AT_LEAST else f'  (wanted: {AT_LEAST})'};"
        f" Valkey itself {statistics.median(of_valkey):.1f} us",
        flush=True,
    )


if __name__ == "__main__":
    main()
