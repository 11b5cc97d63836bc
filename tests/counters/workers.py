"""Workers that count in one Valkey: in this process, or in others that can be killed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from outcrop.counters.config import ValkeyConfig
from outcrop.counters.limit import Counters, Grant, Hold, Limit, Refused
from outcrop.counters.valkey import ValkeyCounters, open_valkey
from outcrop.server.clock import steady_clock
from outcrop.wire.timestamps import Clock
from tests.valkey import ValkeyProcess

PATIENCE_S = 10.0


@asynccontextmanager
async def worker(
    valkey: ValkeyProcess | str, clock: Clock | None = None, *, workers: int = 1, **settings: Any
) -> AsyncGenerator[ValkeyCounters]:
    url = valkey if isinstance(valkey, str) else valkey.url
    config = msgspec.convert({"url": url, **settings}, ValkeyConfig)
    async with (
        asyncio.TaskGroup() as tasks,
        open_valkey(
            config, {}, workers=workers, clock=clock or steady_clock(), tasks=tasks
        ) as counters,
    ):
        yield counters


async def until_used(
    counters: Counters, limit: Limit, amount: int, within_s: float = PATIENCE_S
) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while (used := (await counters.used([limit]))[0]) != amount:
        assert loop.time() < began + within_s, f"{used} is used, not {amount}"
        await asyncio.sleep(0.005)
    return loop.time() - began


async def granted(counters: Counters, *holds: Hold) -> Grant:
    answer = await counters.hold(holds)
    assert isinstance(answer, Grant), answer
    return answer


async def refused(counters: Counters, *holds: Hold) -> Refused:
    answer = await counters.hold(holds)
    assert isinstance(answer, Refused), answer
    return answer


def per_minute(most: int, key: str = "tokens") -> Limit:
    return Limit(key=key, most=most, span_s=60)


def concurrent(most: int, key: str = "requests") -> Limit:
    return Limit(key=key, most=most, span_s=0)
