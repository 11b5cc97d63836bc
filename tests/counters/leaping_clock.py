"""Counters in a Valkey whose clock is set ahead and back between any two steps."""

import itertools
from asyncio import TaskGroup
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec

from outcrop.counters.config import ValkeyConfig
from outcrop.counters.limit import Counters
from outcrop.counters.valkey import ValkeyCounters
from outcrop.counters.valkey_link import ValkeyLink
from tests.clocks import FakeClock
from tests.valkey import ValkeyProcess

# So that every span begins with a whole bucket, as the model's do.
BEGIN_MS = 1_000_000_020_000
EARLIER_MS = 1_000  # of a clock that was set ahead since
LATER_MS = 9_000_000_000_000_000


class Leaping(NamedTuple):
    counters: Counters
    clock: FakeClock
    """By which the counters' time passes, whatever the clock of Valkey says."""
    after: Callable[[], Awaitable[None]]
    """To be awaited after each step."""


@asynccontextmanager
async def leaping(valkey: ValkeyProcess) -> AsyncGenerator[Leaping]:
    clock, walls = FakeClock(), itertools.cycle([LATER_MS, EARLIER_MS])
    link = ValkeyLink(msgspec.convert({"url": valkey.url}, ValkeyConfig), {}, clock)
    with valkey.client() as client:

        def set_clock() -> None:
            client.hset("{outcrop}:clock", "wall", str(next(walls)))

        client.flushall()
        client.hset("{outcrop}:clock", "now", str(BEGIN_MS))
        set_clock()
        async with TaskGroup() as tasks:
            counters = ValkeyCounters(link, workers=1, local_share=False, clock=clock, tasks=tasks)
            await counters.join()

            async def after() -> None:
                set_clock()
                if counters._unwritten():
                    await counters._write()
                    set_clock()

            await after()
            yield Leaping(counters, clock, after)
        await link.close()


async def nothing() -> None:
    """What is to be awaited after each step where no clock leaps."""
