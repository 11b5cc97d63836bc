"""What finding a server costs, among ten and among a thousand: CPU time, the least of several."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing

from msgspec import convert

from outcrop.fleet.affinity import conversation_prefix
from outcrop.fleet.fleet import Fleet, Served
from outcrop.fleet.model_server import Calling
from outcrop.fleet.pool import Candidate, Pool
from outcrop.fleet.router import Attempt, Request, Router
from outcrop.fleet.server_state import ServerState
from outcrop.wire.shapes.bedrock_runtime import Message

ROUNDS, CALLS, WAITING = 9, 5_000, 500
SIZES = (10, 100, 1_000)
MODEL = "amazon.nova-lite-v1:0"
REGIONS = ("us-east-1", "us-east-2", "us-west-2")


class NoServer:
    """Answers at once with nothing."""

    def __init__(self, number: int, most: int | None = None) -> None:
        self.name = f"gpu-{number}"
        self.state = ServerState(self.name, most=most)

    def open(self, _: Calling) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        raise NotImplementedError("nobody is asked here")


def main() -> None:
    asyncio.run(measure())


async def measure() -> None:
    print(f"{'µs of CPU, by number of servers':44}" + "".join(f"{size:>9}" for size in SIZES))
    for name, cost in (
        ("the pools of a model and its Regions", resolving),
        ("picking a server", picking),
        ("picking, with every second server ejected", picking_among_sick),
        ("a request's whole way through the router", routing),
        ("the same, one of eight turns", conversing),
        ("the same, when all are full: it waits", waiting),
    ):
        costs = [await cost(size) for size in SIZES]
        print(f"{name:44}" + "".join(f"{one:>9.2f}" for one in costs))


def fleet(size: int) -> Fleet:
    served = [
        Served(MODEL, Candidate(NoServer(number), "openai", "m", REGIONS[number % 3]))
        for number in range(size)
    ]
    return Fleet(served, None)


def pools(size: int) -> Sequence[Pool]:
    return fleet(size).pools(MODEL, REGIONS, "us-east-1")


async def resolving(size: int) -> float:
    asked = fleet(size)
    return least_us(lambda: asked.pools(MODEL, REGIONS, "us-east-1"))


async def picking(size: int) -> float:
    (pool, _), now = pools(size), asyncio.get_running_loop().time()
    return least_us(lambda: pool.pick(now, ()))


async def picking_among_sick(size: int) -> float:
    (pool, _), router, now = pools(size), Router(), asyncio.get_running_loop().time()
    for seat in [*pool.seats()][::2]:
        seat.state.health.eject(now, router.rules, "sick")
    return least_us(lambda: pool.pick(now, ()))


async def routing(size: int) -> float:
    return await least_us_of_requests(pools(size), None)


async def conversing(size: int) -> float:
    turns = [{"role": role, "content": [{"text": "word " * 200}]} for role in ("user", "assistant")]
    return await least_us_of_requests(pools(size), convert([*turns * 4, turns[0]], list[Message]))


async def waiting(size: int) -> float:
    """A newcomer each time, and whoever is the first in line gets a slot that becomes free."""
    served = [
        Served(MODEL, Candidate(NoServer(number, most=1), "openai", "m", REGIONS[number % 3]))
        for number in range(size)
    ]
    asked, router = Fleet(served, None).pools(MODEL, REGIONS, "us-east-1"), Router()
    attempts: asyncio.Queue[Attempt] = asyncio.Queue()

    async def put_to(attempt: Attempt) -> None:
        attempt.answered()
        attempts.put_nowait(attempt)

    async def serve(number: int) -> None:
        for _ in range(number):
            await (await attempts.get()).aclose()

    least = float("inf")
    async with asyncio.TaskGroup() as callers:
        for _ in range(size + 100):
            callers.create_task(router.first(asked, put_to))
        await asyncio.sleep(0)
        for _ in range(ROUNDS):
            gc.collect()
            began = time.process_time()
            for _ in range(WAITING):
                callers.create_task(router.first(asked, put_to))
                await asyncio.sleep(0)
                await serve(1)
                await asyncio.sleep(0)
            least = min(least, time.process_time() - began)
        await serve(size + 100)
    return least / WAITING * 1e6


async def least_us_of_requests(asked: Sequence[Pool], messages: Sequence[Message] | None) -> float:
    router = Router()

    async def put_to(attempt: Attempt) -> None:
        async with aclosing(attempt):
            attempt.answered()

    async def run() -> None:
        for _ in range(CALLS):
            prefix = conversation_prefix(MODEL, (), messages) if messages else None
            await router.first(asked, put_to, Request(prefix=prefix))

    least = float("inf")
    for _ in range(ROUNDS):
        gc.collect()
        began = time.process_time()
        await run()
        least = min(least, time.process_time() - began)
    return least / CALLS * 1e6


def least_us(call: Callable[[], object]) -> float:
    least = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            call()
        least = min(least, time.process_time() - began)
    return least / CALLS * 1e6


if __name__ == "__main__":
    main()
