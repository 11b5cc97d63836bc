"""Valkey killed, hung and cut off under load: what is said, what is granted, what is left."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from outcrop.counters.limit import Grant, Hold
from outcrop.counters.valkey import ValkeyCounters
from outcrop.wire.errors import ServiceUnavailableException
from tests.counters.workers import (
    concurrent,
    granted,
    per_minute,
    refused,
    until_used,
    worker,
)
from tests.valkey import ValkeyProcess
from tests.waiting import until

TOKENS = per_minute(100)
REQUESTS = concurrent(8)
PLENTY = per_minute(10**9, "plenty")


def said(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


async def until_lost(counters: ValkeyCounters) -> None:
    await until(lambda: counters._lost)


async def until_found(counters: ValkeyCounters) -> None:
    await until(lambda: not (counters._lost or counters._unwritten()))


async def a_hundred_more(took: Sequence[float]) -> None:
    enough = len(took) + 100
    await until(lambda: len(took) > enough)


@asynccontextmanager
async def load(counters: ValkeyCounters) -> AsyncGenerator[list[float]]:
    """Callers that hold and settle for as long as the block lasts; how long each answer took."""
    took: list[float] = []
    going_on = True
    loop = asyncio.get_running_loop()

    async def caller() -> None:
        while going_on:
            began = loop.time()
            try:
                answer = await counters.hold([Hold(PLENTY, 3), Hold(REQUESTS, 1)])
            except ServiceUnavailableException:
                answer = None
            took.append(loop.time() - began)
            await asyncio.sleep(0)
            if isinstance(answer, Grant):
                counters.settle(answer, {PLENTY.key: 1})
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as callers:
        for _ in range(8):
            callers.create_task(caller())
        try:
            yield took
        finally:
            going_on = False


@pytest.mark.slow
@pytest.mark.parametrize("when_lost", ["refuse", "local_share"])
def test_a_valkey_that_is_killed_and_started_again_under_load_leaves_nothing_held(
    own_valkey: ValkeyProcess, caplog: pytest.LogCaptureFixture, when_lost: str
) -> None:
    async def run() -> None:
        async with worker(own_valkey, when_lost=when_lost, timeout_s=0.3) as counters:
            async with load(counters) as took:
                for _ in range(2):
                    await a_hundred_more(took)
                    own_valkey.stop()
                    await until_lost(counters)
                    await a_hundred_more(took)
                    own_valkey.start()
                    await until(lambda: not counters._lost)
                    await a_hundred_more(took)
            assert max(took) < 3
            await until_used(counters, REQUESTS, 0)

    asyncio.run(run())

    assert said(caplog) == ["Valkey is lost", "Valkey is back"] * 2


@pytest.mark.slow
def test_a_valkey_that_hangs_under_load_leaves_nothing_held_although_it_did_what_nobody_heard(
    own_valkey: ValkeyProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with worker(own_valkey, timeout_s=0.2) as counters, worker(own_valkey) as other:
            async with load(counters) as took:
                await until(lambda: len(took) > 100)
                own_valkey.pause()
                await until_lost(counters)
                own_valkey.go_on()
                await until(lambda: not counters._lost)
            await until_used(other, REQUESTS, 0)
            await until_found(counters)
            with own_valkey.client() as client:
                left = client.hkeys(f"{{outcrop}}:worker:{counters._link.worker}")
            assert {name for name in left if name.isdigit()} == set()

    asyncio.run(run())


def test_without_valkey_what_has_a_limit_is_refused_as_amazon_does(
    own_valkey: ValkeyProcess,
) -> None:
    async def run() -> None:
        async with worker(own_valkey) as counters:
            own_valkey.stop()
            with pytest.raises(ServiceUnavailableException) as caught:
                await counters.hold([Hold(TOKENS, 1)])
            assert caught.value.message == "Bedrock is unable to process your request."
            with pytest.raises(ServiceUnavailableException):
                await counters.used([TOKENS])

    asyncio.run(run())


@pytest.mark.slow
def test_a_worker_alone_grants_its_share_and_what_it_granted_is_charged_when_valkey_is_back(
    own_valkey: ValkeyProcess,
) -> None:
    async def run() -> None:
        async with (
            worker(own_valkey, when_lost="local_share") as one,
            worker(own_valkey, when_lost="local_share") as other,
        ):
            before = await granted(one, Hold(TOKENS, 10), Hold(REQUESTS, 1))
            await until(lambda: one._workers == 2)
            own_valkey.stop()

            meanwhile = await granted(one, Hold(TOKENS, 30), Hold(REQUESTS, 1))
            lasting = await granted(one, Hold(TOKENS, 20), Hold(REQUESTS, 3))
            assert (await refused(one, Hold(TOKENS, 1))).limit == TOKENS
            assert (await refused(one, Hold(REQUESTS, 1))).retry_after_s == 1.0
            assert (await refused(one, Hold(TOKENS, 60))).retry_after_s is not None
            assert (await refused(one, Hold(TOKENS, 101))).retry_after_s is None
            one.settle(meanwhile, {"tokens": 25})
            one.settle(before, {"tokens": 10})

            await until_lost(other)
            own_valkey.start()
            for counters in (one, other):
                await until_found(counters)
            # The 25 and the 10 that were used, and the 20 that are still held.
            assert await other.used([TOKENS, REQUESTS]) == [55, 3]
            one.settle(lasting, {"tokens": 1})
            await until_used(other, TOKENS, 36)
            assert await other.used([REQUESTS]) == [0]

    asyncio.run(run())


@pytest.mark.slow
def test_a_server_starts_without_its_valkey_and_finds_it_later(
    own_valkey: ValkeyProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        own_valkey.stop()
        async with worker(own_valkey, workers=4, when_lost="local_share") as counters:
            await granted(counters, Hold(TOKENS, 25))
            await refused(counters, Hold(TOKENS, 1))
            own_valkey.start()
            await until_found(counters)
            assert await counters.used([TOKENS]) == [25]
            await granted(counters, Hold(TOKENS, 75))

    asyncio.run(run())

    assert said(caplog) == ["Valkey is lost", "Valkey is back"]


@pytest.mark.slow
def test_an_older_valkey_is_told_what_is_open_and_gives_back_the_rest(
    own_valkey: ValkeyProcess,
) -> None:
    """As after a failover to a replica that had not heard of the last seconds."""

    async def run() -> None:
        async with worker(own_valkey) as counters:
            done = await granted(counters, Hold(TOKENS, 40), Hold(REQUESTS, 1))
            with own_valkey.client() as client:
                older = {key: client.dump(key) for key in client.scan_iter()}
            counters.settle(done, {"tokens": 10})
            still = await granted(counters, Hold(TOKENS, 5), Hold(REQUESTS, 1))
            await until(lambda: not counters._unwritten())
            own_valkey.stop()
            await until_lost(counters)
            own_valkey.start()
            with own_valkey.client() as client:
                for key, value in older.items():
                    client.restore(key, 0, value, replace=True)

            await until_found(counters)
            assert await counters.used([TOKENS, REQUESTS]) == [5, 1]
            counters.settle(still, {})
            await until_used(counters, REQUESTS, 0)

    asyncio.run(run())
