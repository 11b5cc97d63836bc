"""When a server that was left alone is looked at again, in fake time."""

import asyncio
from collections.abc import Awaitable, Callable

from outcrop.fleet.config import RoutingConfig
from outcrop.fleet.failures import FailureKind, ServerFailureError
from outcrop.fleet.server_state import ServerState
from tests import fake_time

RULES = RoutingConfig(consecutive_failures=1, ejection_s=30, longest_ejection_s=60)


def comes_back(happens: Callable[[ServerState], Awaitable[None]]) -> list[float]:
    """The seconds after which it came back, since the beginning."""
    moments: list[float] = []

    async def main() -> None:
        time = asyncio.get_running_loop().time
        state, start = ServerState("gpu-1"), time()
        state.slots.freed = lambda: moments.append(round(time() - start, 6))
        await happens(state)
        await asyncio.sleep(600)

    fake_time.run(main())
    return moments


def fails(state: ServerState, status: int, retry_after_s: float | None = None) -> None:
    failure = ServerFailureError(
        "gpu-1", FailureKind.STATUS, status=status, retry_after_s=retry_after_s
    )
    state.health.failed(failure, asyncio.get_running_loop().time(), RULES)
    state.look_again()


def test_a_server_that_is_put_off_again_and_again_comes_back_once() -> None:
    async def happens(state: ServerState) -> None:
        for _ in range(1_000):
            fails(state, 429, 40.0)
            await asyncio.sleep(0.01)

    assert comes_back(happens) == [49.99]


def test_a_server_comes_back_when_its_moment_is_nearer_than_it_was() -> None:
    async def happens(state: ServerState) -> None:
        time = asyncio.get_running_loop().time
        fails(state, 503)
        # Asked all the same, because nobody was left.
        state.health.answered(time())
        fails(state, 429, 2.0)

    assert comes_back(happens) == [2.0]


def test_a_server_that_is_probed_does_not_come_back_by_time() -> None:
    async def happens(state: ServerState) -> None:
        state.health.is_probed()
        fails(state, 503)

    assert comes_back(happens) == []
