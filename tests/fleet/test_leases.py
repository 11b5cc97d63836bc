"""Slots of one server that workers share through a real Valkey."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter

import pytest

from outcrop.counters.valkey import ValkeyCounters
from outcrop.fleet.leases import Demand, Leases, Split
from outcrop.fleet.slots import Slots, Standing
from outcrop.fleet.waiting_room import Rank, Servers, WaitingRoom
from tests.counters.workers import concurrent, until_used, worker
from tests.valkey import ValkeyProcess, valkey_server
from tests.waiting import until


class Worker:
    """What of a worker has to do with slots."""

    def __init__(self, counters: ValkeyCounters, workers: int, *, share_when_lost: bool) -> None:
        self.counters = counters
        self.slots = Slots(None)
        self.leases = Leases(counters, workers=workers, share_when_lost=share_when_lost)
        self.room = WaitingRoom()
        self.servers = Servers([self.slots])

    async def call(self, lasts: asyncio.Event) -> None:
        if not self.slots.take():
            deadline = asyncio.get_running_loop().time() + 60
            rank = Rank(standing=Standing.DEFAULT, account_id="a", deadline=deadline)
            await self.room.wait(self.servers, rank)
        try:
            await lasts.wait()
        finally:
            self.slots.give_back()


class World:
    def __init__(self, tasks: asyncio.TaskGroup, *workers: Worker) -> None:
        self.workers = workers
        self.over = asyncio.Event()
        self._tasks = tasks

    def calls(self, of: Worker, number: int, lasts: asyncio.Event | None = None) -> None:
        for _ in range(number):
            self._tasks.create_task(of.call(lasts or self.over))

    @property
    def in_use(self) -> list[int]:
        return [one.slots.in_use for one in self.workers]

    async def until_in_use(self, *numbers: int, within_s: float = 5.0) -> float:
        most = sum(numbers)

        def reached() -> bool:
            assert sum(self.in_use) <= most
            return self.in_use == list(numbers)

        return await until(reached, within_s)


@pytest.fixture
def valkey() -> Generator[ValkeyProcess]:
    with valkey_server() as server:
        yield server


@asynccontextmanager
async def world(
    valkey: ValkeyProcess, *, workers: int, most: int, when_lost: str = "refuse"
) -> AsyncGenerator[World]:
    async with AsyncExitStack() as held:
        counting = [
            await held.enter_async_context(worker(valkey, workers=workers, when_lost=when_lost))
            for _ in range(workers)
        ]
        tasks = await held.enter_async_context(asyncio.TaskGroup())
        share = when_lost == "local_share"
        made = [Worker(one, workers, share_when_lost=share) for one in counting]
        keeping: list[asyncio.Task[None]] = []
        for one in made:
            one.leases.follow({"gpu": (one.slots, most)})
            await one.leases.look()
            keeping.append(tasks.create_task(one.leases.keep()))
        found = World(tasks, *made)
        try:
            yield found
        finally:
            found.over.set()
            for task in keeping:
                task.cancel()


def run(test: Callable[[World], Awaitable[None]], valkey: ValkeyProcess, **how: object) -> None:
    async def main() -> None:
        async with world(valkey, **how) as found:  # type: ignore[arg-type]
            await test(found)

    asyncio.run(main())


def test_each_worker_begins_with_its_share(valkey: ValkeyProcess) -> None:
    async def test(world: World) -> None:
        assert [one.slots.most for one in world.workers] == [4, 4]

    run(test, valkey, workers=2, most=8)


def test_one_that_hung_uses_nothing_before_it_has_looked(valkey: ValkeyProcess) -> None:
    async def main() -> None:
        hung_s = 0.0
        async with worker(valkey, workers=1) as counters:
            leases = Leases(
                counters, workers=1, share_when_lost=False, seconds=lambda: perf_counter() + hung_s
            )
            slots = Slots(None)
            leases.follow({"gpu": (slots, 4)})
            await leases.look()
            assert slots.take()

            hung_s = 3.0

            assert (slots.most, slots.free, slots.take()) == (4, False, False)
            await leases.look()
            assert (slots.free, slots.in_use) == (True, 1)

    asyncio.run(main())


@pytest.mark.slow
def test_one_that_is_busy_has_all_of_the_idle_one_s_within_a_second(valkey: ValkeyProcess) -> None:
    async def test(world: World) -> None:
        busy, _ = world.workers
        world.calls(busy, 20)
        assert await world.until_in_use(8, 0) < 1.5

    run(test, valkey, workers=2, most=8)


@pytest.mark.slow
def test_two_that_are_busy_come_to_have_equal_shares(valkey: ValkeyProcess) -> None:
    async def test(world: World) -> None:
        first, second = world.workers
        stop = False

        async def traffic(of: Worker) -> None:
            while not stop:
                short = asyncio.Event()
                asyncio.get_running_loop().call_later(0.02, short.set)
                await of.call(short)

        async with asyncio.TaskGroup() as callers:
            for _ in range(20):
                callers.create_task(traffic(first))
            await world.until_in_use(8, 0)
            for _ in range(20):
                callers.create_task(traffic(second))

            def shared() -> bool:
                assert sum(world.in_use) <= 8
                return world.in_use == [4, 4]

            await until(shared, 3)
            stop = True

    run(test, valkey, workers=2, most=8)


@pytest.mark.slow
def test_a_single_slot_goes_round(valkey: ValkeyProcess) -> None:
    async def test(world: World) -> None:
        served = [0, 0]

        async def caller(number: int) -> None:
            while min(served) < 2:
                short = asyncio.Event()
                asyncio.get_running_loop().call_later(0.01, short.set)
                await world.workers[number].call(short)
                served[number] += 1
                assert sum(world.in_use) <= 1

        async with asyncio.timeout(10), asyncio.TaskGroup() as callers:
            for number in (0, 0, 1, 1):
                callers.create_task(caller(number))

    run(test, valkey, workers=2, most=1)


@pytest.mark.slow
def test_an_emptied_valkey_gives_nobody_the_slots_of_another(valkey: ValkeyProcess) -> None:
    async def test(world: World) -> None:
        first, second = world.workers
        world.calls(first, 4)
        world.calls(second, 8)
        await world.until_in_use(4, 4)
        with valkey.client() as client:
            client.flushall()
        until_s = asyncio.get_running_loop().time() + 3
        while asyncio.get_running_loop().time() < until_s:
            assert sum(world.in_use) <= 8
            await asyncio.sleep(0.005)
        assert (await first.counters.used([concurrent(8, "slots/gpu")])) == [8]

    run(test, valkey, workers=2, most=8)


@pytest.mark.slow
@pytest.mark.parametrize(("when_lost", "left"), [("refuse", 0), ("local_share", 4)])
def test_while_valkey_is_lost_slots_are_refused_or_split_and_then_shared_again(
    valkey: ValkeyProcess, when_lost: str, left: int
) -> None:
    async def test(world: World) -> None:
        valkey.stop()
        await until(lambda: [one.slots.most for one in world.workers] == [left, left])
        valkey.start()
        world.calls(world.workers[0], 20)
        await world.until_in_use(8, 0, within_s=8)

    run(test, valkey, workers=2, most=8, when_lost=when_lost)


@pytest.mark.slow
def test_a_server_that_has_left_keeps_leases_for_its_calls_until_they_end(
    valkey: ValkeyProcess,
) -> None:
    async def test(world: World) -> None:
        first, _ = world.workers
        world.calls(first, 2)
        await world.until_in_use(2, 0)
        limit = concurrent(4, "slots/gpu")
        for one in world.workers:
            one.leases.follow({})
        await until_used(first.counters, limit, 2)
        world.over.set()
        await until_used(first.counters, limit, 0)

    run(test, valkey, workers=2, most=4)


def test_without_valkey_each_worker_has_the_same_number() -> None:
    slots = Slots(None)

    Split(3).follow({"gpu": (slots, 8)})

    assert slots.most == 2


def demand(**told: object) -> Demand:
    usual = {"most": 8, "leased": 4, "in_use": 0, "peak": 0, "waiting": False, "workers": 2}
    return Demand(**{**usual, "others": 0, **told})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "kept", "asked"),
    [
        ({}, 4, 0),
        ({"leased": 0}, 0, 4),
        ({"others": 1}, 0, 0),
        ({"others": 1, "peak": 2, "in_use": 2}, 3, 0),
        ({"others": 1, "leased": 8, "peak": 8, "in_use": 8, "waiting": True}, 4, 0),
        ({"peak": 4, "in_use": 4}, 4, 2),
        ({"peak": 4, "in_use": 4, "waiting": True}, 4, 2),
        ({"leased": 7, "peak": 7, "in_use": 7, "waiting": True}, 7, 1),
        ({"leased": 8, "peak": 1, "in_use": 1}, 4, 0),
        ({"others": 1, "leased": 2, "peak": 2, "in_use": 2, "waiting": True}, 2, 2),
        ({"most": 1, "leased": 1, "in_use": 1, "waiting": True, "others": 1}, 0, 0),
    ],
)
def test_what_is_kept_and_asked_for(told: dict[str, object], kept: int, asked: int) -> None:
    found = demand(**told)

    assert (found.kept, found.asked) == (kept, asked)
