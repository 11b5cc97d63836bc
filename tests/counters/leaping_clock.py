"""Counters to be held to a model: in one process, or in a Valkey whose clock leaps all the time."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec

from outcrop.counters.config import ValkeyConfig
from outcrop.counters.limit import Counters
from outcrop.counters.local import LocalCounters
from outcrop.counters.valkey import ValkeyCounters
from outcrop.counters.valkey_link import ValkeyLink
from tests.clocks import FakeClock
from tests.valkey import ValkeyProcess

# So that every span begins with a whole bucket, as the model's do.
BEGIN_MS = 1_000_000_020_000
EARLIER_MS = 1_000  # of a clock that was set ahead since
LATER_MS = 9_000_000_000_000_000


class Setting(NamedTuple):
    counters: Counters
    clock: FakeClock
    """By which the counters' time passes, whatever the clock of Valkey says."""
    after: Callable[[], Awaitable[None]]
    """To be awaited after each step."""


def in_one_process(play: Callable[[Setting], Awaitable[None]]) -> None:
    async def run() -> None:
        clock = FakeClock()
        await play(Setting(LocalCounters(clock), clock, _nothing))

    asyncio.run(run())


def in_valkey(valkey: ValkeyProcess, play: Callable[[Setting], Awaitable[None]]) -> None:
    async def run() -> None:
        async with _leaping(valkey) as setting:
            await play(setting)

    asyncio.run(run())


async def _nothing() -> None:
    """Where no clock leaps."""


@asynccontextmanager
async def _leaping(valkey: ValkeyProcess) -> AsyncGenerator[Setting]:
    clock, walls = FakeClock(), itertools.cycle([LATER_MS, EARLIER_MS])
    link = ValkeyLink(msgspec.convert({"url": valkey.url}, ValkeyConfig), {}, clock)
    with valkey.client() as client:

        def set_clock() -> None:
            client.hset("{outcrop}:clock", "wall", str(next(walls)))

        client.flushall()
        client.hset("{outcrop}:clock", "now", str(BEGIN_MS))
        set_clock()
        async with asyncio.TaskGroup() as tasks:
            counters = ValkeyCounters(link, workers=1, local_share=False, clock=clock, tasks=tasks)
            await counters.join()

            async def after() -> None:
                set_clock()
                if counters._unwritten():
                    await counters._write()
                    set_clock()

            await after()
            yield Setting(counters, clock, after)
        await link.close()
