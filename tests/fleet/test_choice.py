"""Who is chosen, in fake time: servers that sleep instead of computing."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from outcrop.fleet.config import RoutingConfig
from outcrop.fleet.model_server import Calling
from outcrop.fleet.pool import Candidate, Pool
from outcrop.fleet.router import Router
from outcrop.fleet.server_state import ServerState
from tests import fake_time
from tests.fleet.asking import ask, pool


class Sleeper:
    """Its answer takes `first_byte_s` to begin, and as long again to end."""

    def __init__(self, name: str, first_byte_s: float = 0.1, weight: float = 1.0) -> None:
        self.name = name
        self.first_byte_s = first_byte_s
        self.state = ServerState(name, weight=weight)
        self.asked = 0

    @asynccontextmanager
    async def open(self, call: Calling) -> AsyncGenerator[AsyncIterator[bytes]]:
        self.asked += 1
        await asyncio.sleep(self.first_byte_s)
        yield self._chunks()

    async def _chunks(self) -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(self.first_byte_s)
        yield b"ll"


def of(*servers: Sleeper) -> Sequence[Pool]:
    return pool(*(Candidate(one, "openai", "m", None) for one in servers))


async def offered(router: Router, pools: Sequence[Pool], *, every_s: float, number: int) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(number):
            tasks.create_task(ask(router, pools))
            await asyncio.sleep(every_s)


def test_a_faster_server_is_given_more_and_nobody_is_left_idle() -> None:
    quick, slow = Sleeper("quick", 0.1), Sleeper("slow", 0.4)

    fake_time.run(offered(Router(), of(quick, slow), every_s=0.02, number=2_000))

    assert quick.asked > 3 * slow.asked > 30


def test_load_is_shared_by_weight() -> None:
    servers = [Sleeper("one"), Sleeper("two", weight=2.0), Sleeper("three", weight=3.0)]

    fake_time.run(offered(Router(), of(*servers), every_s=0.002, number=3_000))

    one, two, three = (server.asked for server in servers)
    assert one < two < three
    assert 1.5 < three / one < 4.5


def test_equal_servers_are_asked_equally() -> None:
    servers = [Sleeper(f"gpu-{number}") for number in range(10)]

    fake_time.run(offered(Router(), of(*servers), every_s=0.01, number=3_000))

    assert max(server.asked for server in servers) < 1.3 * min(server.asked for server in servers)


def test_who_becomes_far_slower_than_his_peers_is_ejected_and_tried_again_later() -> None:
    servers = [Sleeper(f"gpu-{number}") for number in range(10)]
    router, pools = Router(RoutingConfig(ejection_s=30)), of(*servers)
    slow = servers[3]

    async def main() -> tuple[str, int]:
        await offered(router, pools, every_s=0.002, number=5_000)
        slow.first_byte_s = 5.0
        # It is asked by many before the first of them has waited for so long.
        await offered(router, pools, every_s=0.002, number=5_000)
        state = slow.state.health.state(asyncio.get_running_loop().time())
        slow.first_byte_s = 0.1
        await asyncio.sleep(60)
        before = slow.asked
        await offered(router, pools, every_s=0.01, number=1_000)
        return state, slow.asked - before

    state, asked_again = fake_time.run(main())

    assert slow.state.health.why.endswith("s to the first byte")
    assert state == "ejected"
    assert asked_again > 50


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_pool_never_loses_a_server_for_good(number: int) -> None:
    """Whoever was set aside, for whatever reason, is found again when the reason has gone."""
    servers = [Sleeper(f"gpu-{at}") for at in range(number)]
    router, pools = Router(), of(*servers)

    async def main() -> Counter[str]:
        for round_ in range(20):
            sick = servers[round_ % number].state.health
            sick.eject(asyncio.get_running_loop().time(), router.rules, "sick")
            await offered(router, pools, every_s=0.01, number=20)
            await asyncio.sleep(700)
        return Counter({(await ask(router, pools))[0]: 1 for _ in range(200)})

    assert len(fake_time.run(main())) == number
    assert all(server.state.in_flight == 0 for server in servers)
