"""Converse, as a part of what a pass-through and other gateways answer in the same time of a core.

A scripted model server answers at once; in front of it stand, in turns, `outcrop serve` with
signatures on and one of: a pass-through of Outcrop's own edge and HTTP client, one of libraries
and no Outcrop code, smg, a gateway in Rust with nothing switched on, and LiteLLM's proxy. What
cannot be installed is left out. A second of a core is what the kernel charges to the processes in
front, as in requests_per_second.py.
"""

import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from msgspec import Struct

from benchmarks.fronts import (
    CLIENT_CORE,
    Front,
    bare_of_libraries,
    bare_of_our_parts,
    litellm,
    load_of,
    model_server_front,
    outcrop_front,
    per_core_second,
    smg,
)
from benchmarks.scripted_server import scripted_server

ROUNDS = 3
SECONDS = 1.5
CONNECTIONS = (8, 32)
OF_BARE = 0.5
OF_SMG = 1
OF_LITELLM = 40
ADDED_MS = 1.5


class Reference(Struct, frozen=True):
    name: str
    front: AbstractContextManager[Front]
    at_least: float
    """Of its rate, Outcrop's."""
    connections: Sequence[int] = CONNECTIONS
    seconds: float = SECONDS


def main() -> None:
    if (os.cpu_count() or 1) < 2:
        print("needs two cores: one for the server, one for the client")
        return
    with ExitStack() as held:
        model_server = held.enter_context(scripted_server(command=CLIENT_CORE))
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        outcrop = held.enter_context(outcrop_front(model_server, folder / "state"))
        for reference in (
            Reference("our parts", bare_of_our_parts(model_server), OF_BARE),
            Reference("libraries", bare_of_libraries(model_server, folder), OF_BARE),
            Reference("smg", smg(model_server, folder), OF_SMG, seconds=SECONDS * 2),
            # A slow one has a queue, which is not what is measured.
            Reference(
                "LiteLLM", litellm(model_server, folder), OF_LITELLM, CONNECTIONS[:1], SECONDS * 2
            ),
        ):
            _tell_beside(reference, outcrop)
        _tell_latency(model_server, outcrop)


def _tell_beside(reference: Reference, outcrop: Front) -> None:
    with ExitStack() as held:
        try:
            front = held.enter_context(reference.front)
        except (pytest.skip.Exception, AssertionError, RuntimeError, OSError) as error:
            print(f"{reference.name} is left out: {error}")
            return
        _tell_rates(reference, front, outcrop)


def _tell_rates(reference: Reference, front: Front, outcrop: Front) -> None:
    title = "requests per second of a core, connections"
    print(f"{title:46}{reference.name:>12}{'Outcrop':>12}{'ratio':>8}")
    for number in reference.connections:
        theirs, ours = [], []
        for _ in range(ROUNDS):
            theirs.append(per_core_second(front, number, reference.seconds))
            ours.append(per_core_second(outcrop, number, reference.seconds))
        ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
        print(
            f"{'Converse':42}{number:>4}{statistics.median(theirs):>12,.0f}"
            f"{statistics.median(ours):>12,.0f}{ratio:>8.2f}"
            f"{'' if ratio >= reference.at_least else f'  (wanted: {reference.at_least})'}",
            flush=True,
        )


def _tell_latency(model_server: int, outcrop: Front) -> None:
    with bare_of_our_parts(model_server) as bare:
        medians = _medians_ms(
            {"model server": model_server_front(model_server), "bare": bare, "Outcrop": outcrop}
        )
    direct = medians["model server"]
    print(f"{'median at one connection':46}{direct:>9.3f} ms from the model server itself")
    for name in ("bare", "Outcrop"):
        added = medians[name] - direct
        wanted = f"  (wanted: {ADDED_MS})" if name == "Outcrop" and added > ADDED_MS else ""
        print(f"{f'added by {name}':46}{added:>9.3f} ms{wanted}", flush=True)


def _medians_ms(fronts: Mapping[str, Front]) -> dict[str, float]:
    """Of one connection, in turns."""
    rounds: dict[str, list[float]] = {name: [] for name in fronts}
    for _ in range(ROUNDS):
        for name, front in fronts.items():
            rounds[name].append(load_of(front, 1, SECONDS / 2).median_ms)
    return {name: statistics.median(medians) for name, medians in rounds.items()}


if __name__ == "__main__":
    main()
