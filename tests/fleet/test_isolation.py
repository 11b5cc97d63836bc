"""What provisioned traffic feels of ten times too much on-demand traffic: hours, in fake time."""

import asyncio
import random
from dataclasses import dataclass, field
from functools import cache

import pytest

from outcrop.fleet.slots import Slots, Standing
from outcrop.fleet.waiting_room import NoSlotError, NoSlotReason, Rank, Servers, WaitingRoom
from tests.fake_time import run

SERVERS, SLOTS_EACH = 4, 16
CAPACITY = SERVERS * SLOTS_EACH
RESERVED = CAPACITY // 4
ON_DEMAND_S, PROVISIONED_S = 10.0, 4.0
"""How long answers take on average: on-demand ones are the long ones."""
LASTS_S = 900.0


@dataclass(kw_only=True)
class Traffic:
    standing: Standing
    per_s: float
    answer_s: float
    accounts: int = 1
    waits_s: list[float] = field(default_factory=list[float])
    refused: int = 0
    too_late: int = 0
    """Of these, after a wait in vain; without those of the first minute, of no known pace."""
    busy_s: float = 0.0

    @property
    def p99_s(self) -> float:
        return sorted(self.waits_s)[int(len(self.waits_s) * 0.99)]


@dataclass
class Simulation:
    servers: Servers
    chance: random.Random = field(default_factory=lambda: random.Random(4))
    room: WaitingRoom = field(default_factory=WaitingRoom)

    async def offer(self, calls: asyncio.TaskGroup, traffic: Traffic) -> None:
        """As from many callers who know nothing of each other."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LASTS_S
        while loop.time() < until:
            await asyncio.sleep(self.chance.expovariate(traffic.per_s))
            calls.create_task(self._call(traffic, until))

    async def _call(self, traffic: Traffic, until: float) -> None:
        loop = asyncio.get_running_loop()
        came = loop.time()
        rank = Rank(
            standing=traffic.standing,
            account_id=f"{self.chance.randrange(traffic.accounts)}",
            deadline=came + 30.0,
        )
        servers = self.chance.sample(self.servers.slots, k=len(self.servers.slots))
        free = next((one for one in servers if one.take()), None)
        try:
            slots = free or await self.room.wait(self.servers, rank)
        except NoSlotError as error:
            traffic.refused += 1
            warm = came > until - LASTS_S + 60.0
            traffic.too_late += warm and error.reason is NoSlotReason.TOO_LATE
            return
        began = loop.time()
        traffic.waits_s.append(began - came)
        await asyncio.sleep(self.chance.uniform(0.5, 1.5) * traffic.answer_s)
        traffic.busy_s += max(0.0, min(loop.time(), until) - began)
        slots.give_back()


@cache
def simulated(*, on_demand_load: float) -> tuple[Traffic, Traffic]:
    """Provisioned at 90 % of what is reserved, on-demand at so many times the capacity."""
    provisioned = Traffic(
        standing=Standing.PROVISIONED,
        per_s=0.9 * RESERVED / PROVISIONED_S,
        answer_s=PROVISIONED_S,
    )
    on_demand = Traffic(
        standing=Standing.DEFAULT,
        per_s=max(on_demand_load * CAPACITY / ON_DEMAND_S, 1e-9),
        answer_s=ON_DEMAND_S,
        accounts=20,
    )

    async def main() -> None:
        simulation = Simulation(Servers(Slots(SLOTS_EACH) for _ in range(SERVERS)))
        async with asyncio.TaskGroup() as calls:
            calls.create_task(simulation.offer(calls, provisioned))
            if on_demand_load:
                calls.create_task(simulation.offer(calls, on_demand))

    run(main())
    return provisioned, on_demand


def share_of_capacity(*traffic: Traffic) -> float:
    return sum(one.busy_s for one in traffic) / (CAPACITY * LASTS_S)


@pytest.mark.slow
def test_provisioned_traffic_waits_for_the_next_slot_alone() -> None:
    provisioned, _ = simulated(on_demand_load=10)

    between_slots_s = LASTS_S * 1 / (len(provisioned.waits_s) + CAPACITY / ON_DEMAND_S * LASTS_S)
    assert provisioned.refused == 0
    assert provisioned.p99_s < 10 * between_slots_s


@pytest.mark.slow
def test_on_demand_traffic_takes_all_the_rest() -> None:
    provisioned, on_demand = simulated(on_demand_load=10)

    share = share_of_capacity(provisioned, on_demand)
    assert share > 0.99
    assert on_demand.refused > 0.8 * (on_demand.refused + len(on_demand.waits_s))


@pytest.mark.slow
def test_of_the_on_demand_traffic_that_is_let_wait_most_is_served_in_time() -> None:
    """Who would wait in vain is refused at once: places are not taken by the lost."""
    _, on_demand = simulated(on_demand_load=10)

    assert on_demand.too_late < 0.2 * len(on_demand.waits_s)
