"""What slots and waiting cost: CPU time, as a multiple of a round through an asyncio.Semaphore."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from outcrop.fleet.slots import Slots, Standing
from outcrop.fleet.waiting_room import Rank, Servers, WaitingRoom

ROUNDS = 7


def main() -> None:
    asyncio.run(measure())


async def measure() -> None:
    reference = await best_us(semaphore, 2_000)
    print(f"{'':70}{'µs':>8}{'ratio':>8}")
    _row("asyncio.Semaphore, one waits and is served", reference, reference)
    _row("take and give_back, nobody waits", await best_us(take_and_give_back, 2_000), reference)
    slots = await slots_known_to_lines(8)
    _row("the same, of a server that 8 empty lines know", await best_us(slots, 2_000), reference)
    for accounts, waiting, servers in (
        (1, 1, 1),
        (1, 1, 10),
        (1, 1, 1_000),
        (10, 100, 10),
        (10, 10_000, 10),
        (10_000, 10_000, 10),
        (10, 100, 1_000),
        (1_000, 10_000, 1_000),
    ):
        name = f"one waits and is served: {waiting:,} wait, of {accounts:,}, {servers:,} servers"
        room, pool = await crowd(accounts, waiting, servers)
        _row(name, await best_us(in_turn(room, pool, accounts), 500), reference)


Some = Callable[[int], Awaitable[None]]


async def take_and_give_back(number: int) -> None:
    slots = Slots(8)
    for _ in range(number):
        slots.take()
        slots.give_back()


async def slots_known_to_lines(number: int) -> Some:
    """For which somebody has waited, by as many standings and pools."""
    room, slots, loop = WaitingRoom(), Slots(8), asyncio.get_running_loop()
    slots.resize(0)
    for pool in range(number):
        servers = Servers((slots, *(Slots(0) for _ in range(pool))))
        task = loop.create_task(room.wait(servers, rank("a")))
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    slots.resize(8)

    async def run(times: int) -> None:
        for _ in range(times):
            slots.take()
            slots.give_back()

    return run


async def semaphore(number: int) -> None:
    free = asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()
    for _ in range(number):
        task = loop.create_task(free.acquire())
        await asyncio.sleep(0)
        free.release()
        await task


async def crowd(accounts: int, waiting: int, servers: int) -> tuple[WaitingRoom, Servers]:
    """All slots in use, and one less waiting than `waiting`: they stay until the end."""
    room = WaitingRoom(most_waiting=waiting + 1)
    pool = Servers(Slots(1) for _ in range(servers))
    for slots in pool.slots:
        slots.take()
    loop = asyncio.get_running_loop()
    _kept.extend(
        loop.create_task(room.wait(pool, rank(f"{number % accounts}")))
        for number in range(waiting - 1)
    )
    await asyncio.sleep(0)
    return room, pool


_kept: list[asyncio.Task[Slots]] = []


def in_turn(room: WaitingRoom, pool: Servers, accounts: int) -> Some:
    """A newcomer each time, and whoever is the first gets a slot."""

    async def run(number: int) -> None:
        loop = asyncio.get_running_loop()
        for n in range(number):
            _kept.append(loop.create_task(room.wait(pool, rank(f"{n % accounts}"))))
            await asyncio.sleep(0)
            pool.slots[n % len(pool.slots)].give_back()
            await asyncio.sleep(0)

    return run


def rank(account_id: str) -> Rank:
    deadline = asyncio.get_running_loop().time() + 1e6
    return Rank(standing=Standing.DEFAULT, account_id=account_id, deadline=deadline)


async def best_us(some: Some, number: int) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        await some(number)
        best = min(best, time.process_time() - began)
    return best / number * 1e6


def _row(name: str, us: float, reference: float) -> None:
    print(f"{name:70}{us:>8.2f}{us / reference:>8.2f}")


if __name__ == "__main__":
    main()
