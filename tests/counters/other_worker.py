"""A worker in a process of its own: `python -m tests.counters.other_worker URL DOES`."""

import asyncio
import sys

import valkey.asyncio

from outcrop.counters.limit import Grant, Hold
from outcrop.counters.valkey import ValkeyCounters
from tests.counters.workers import concurrent, granted, per_minute, worker

TOKENS = per_minute(20_000)
REQUESTS = concurrent(5)
EACH = 7
CALLERS = 8


async def main(url: str, does: str) -> None:
    async with worker(url) as counters:
        await {"ask": ask, "keep": keep}[does](counters, url)


async def ask(counters: ValkeyCounters, url: str) -> None:
    """Asks until nothing is left; prints what it got, and how many requests it saw at once."""
    client = valkey.asyncio.Valkey.from_url(url)
    most_seen = [0]
    got = [0]

    async def caller() -> None:
        refusals = 0
        while refusals < 20:
            answer = await counters.hold([Hold(TOKENS, EACH), Hold(REQUESTS, 1)])
            if isinstance(answer, Grant):
                got[0] += EACH
                most_seen[0] = max(most_seen[0], await client.incr("at once"))
                await client.decr("at once")
                counters.settle(answer, {TOKENS.key: EACH})
            elif answer.limit == TOKENS:
                refusals += 1
            else:
                await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(caller())
    await client.aclose()
    sys.stdout.write(f"{got[0]} {most_seen[0]}\n")


async def keep(counters: ValkeyCounters, url: str) -> None:
    """Holds something and never settles it."""
    await granted(counters, Hold(TOKENS, 900), Hold(REQUESTS, 1))
    await granted(counters, Hold(TOKENS, 100), Hold(REQUESTS, 1))
    sys.stdout.write("held\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
