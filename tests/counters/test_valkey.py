"""Counting in Valkey, together with other workers."""

import asyncio
from collections.abc import Awaitable, Callable

from outcrop.counters.limit import Grant, Hold, Refused
from outcrop.counters.valkey import ValkeyCounters
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
REQUESTS = concurrent(2)


def with_two_workers(
    valkey: ValkeyProcess, do: Callable[[ValkeyCounters, ValkeyCounters], Awaitable[None]]
) -> None:
    async def run() -> None:
        async with worker(valkey) as one, worker(valkey) as other:
            await do(one, other)

    asyncio.run(run())


def test_what_one_worker_holds_the_other_does_not_get(valkey: ValkeyProcess) -> None:
    async def do(one: ValkeyCounters, other: ValkeyCounters) -> None:
        await granted(one, Hold(TOKENS, 60), Hold(REQUESTS, 1))

        assert (await refused(other, Hold(TOKENS, 41))).limit == TOKENS
        assert await refused(other, Hold(TOKENS, 101)) == Refused(TOKENS, None)
        assert await refused(other, Hold(REQUESTS, 2)) == Refused(REQUESTS, 1.0)
        await granted(other, Hold(TOKENS, 40), Hold(REQUESTS, 1))

    with_two_workers(valkey, do)


def test_what_is_settled_is_counted_once_however_often_it_is_said(valkey: ValkeyProcess) -> None:
    async def do(one: ValkeyCounters, other: ValkeyCounters) -> None:
        first = await granted(one, Hold(TOKENS, 60), Hold(REQUESTS, 1))
        await granted(other, Hold(REQUESTS, 1))
        for _ in range(3):
            one.settle(first, {"tokens": 20})

        await until_used(other, TOKENS, 20)
        assert await other.used([REQUESTS]) == [1]

    with_two_workers(valkey, do)


def test_a_caller_that_goes_away_while_it_waits_holds_nothing(valkey: ValkeyProcess) -> None:
    async def do(one: ValkeyCounters, other: ValkeyCounters) -> None:
        async def ask() -> None:
            one.settle(await granted(one, Hold(TOKENS, 10), Hold(REQUESTS, 1)), {})

        for steps in range(12):
            asking = asyncio.get_running_loop().create_task(ask())
            for _ in range(steps):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
            await until(lambda: not (one._in_flight or one._open or one._unwritten()))
            assert await other.used([TOKENS, REQUESTS]) == [0, 0]

    with_two_workers(valkey, do)


def test_many_that_ask_at_once_are_answered_each_for_itself(valkey: ValkeyProcess) -> None:
    async def do(one: ValkeyCounters, other: ValkeyCounters) -> None:
        limits = [per_minute(1, f"tokens {number}") for number in range(700)]
        async with asyncio.TaskGroup() as asking:
            answers = [
                asking.create_task(counters.hold([Hold(limit, 1)]))
                for limit in limits
                for counters in (one, other)
            ]

        pairs = zip(answers[::2], answers[1::2], strict=True)
        got = [(type(a.result()), type(b.result())) for a, b in pairs]
        assert all(set(pair) == {Grant, Refused} for pair in got)

    with_two_workers(valkey, do)


def test_a_worker_that_leaves_gives_back_what_is_not_settled(valkey: ValkeyProcess) -> None:
    async def run() -> None:
        async with worker(valkey) as one:
            async with worker(valkey) as leaving:
                settled = await granted(leaving, Hold(TOKENS, 10))
                await granted(leaving, Hold(TOKENS, 50), Hold(REQUESTS, 1))
                leaving.settle(settled, {"tokens": 7})
            assert await one.used([TOKENS, REQUESTS]) == [7, 0]

    asyncio.run(run())


def test_a_flushed_valkey_counts_anew_what_is_still_open(valkey: ValkeyProcess) -> None:
    async def do(one: ValkeyCounters, other: ValkeyCounters) -> None:
        done = await granted(one, Hold(TOKENS, 10))
        one.settle(done, {"tokens": 10})
        await until(lambda: not one._unwritten())
        still = await granted(one, Hold(TOKENS, 30), Hold(REQUESTS, 1))
        with valkey.client() as client:
            client.flushall()

        await until_used(other, REQUESTS, 1)
        assert await other.used([TOKENS]) == [30]
        one.settle(still, {"tokens": 20})
        await until_used(other, TOKENS, 20)
        assert await other.used([REQUESTS]) == [0]

    with_two_workers(valkey, do)


def test_what_is_settled_before_valkey_notices_that_it_was_flushed_goes_below_nothing(
    valkey: ValkeyProcess,
) -> None:
    async def do(one: ValkeyCounters, other: ValkeyCounters) -> None:
        grants = [await granted(one, Hold(TOKENS, 30), Hold(REQUESTS, 1)) for _ in range(2)]
        with valkey.client() as client:
            client.flushall()
        for grant in grants:
            one.settle(grant, {"tokens": 20})

        await until_used(other, TOKENS, 40)
        assert await other.used([REQUESTS]) == [0]

    with_two_workers(valkey, do)


def test_keys_that_count_nothing_are_forgotten(valkey: ValkeyProcess) -> None:
    async def do(one: ValkeyCounters, other: ValkeyCounters) -> None:
        for number in range(20):
            limits = per_minute(9, f"{number}"), concurrent(2, f"requests {number}")
            grant = await granted(one, *(Hold(limit, 1) for limit in limits))
            one.settle(grant, {f"{number}": 1})
        await until(lambda: not one._unwritten())

        with valkey.client() as client:
            assert client.zcard("{outcrop}:idle") == 20
            # Two minutes pass for everybody.
            client.hincrby("{outcrop}:clock", "now", 120_000)
            await until(lambda: client.zcard("{outcrop}:idle") == 0)
            left = {key.decode().split(":")[1] for key in client.scan_iter()}
        assert left <= {"clock", "workers", "worker"}

    with_two_workers(valkey, do)


def test_a_script_that_valkey_has_forgotten_is_sent_again(valkey: ValkeyProcess) -> None:
    async def do(one: ValkeyCounters, other: ValkeyCounters) -> None:
        with valkey.client() as client:
            client.script_flush()

        await granted(one, Hold(TOKENS, 1))
        assert await other.used([TOKENS]) == [1]

    with_two_workers(valkey, do)


def test_what_one_worker_puts_the_other_sees_within_a_second_and_only_for_its_time(
    valkey: ValkeyProcess,
) -> None:
    async def do(one: ValkeyCounters, other: ValkeyCounters) -> None:
        one.facts.put("ejected/gpu-1", "until noon", 2.0)
        one.facts.put("other/gpu-1", "x", 60)
        assert dict(one.facts.get_all("ejected/")) == {"ejected/gpu-1": "until noon"}

        assert await until(lambda: bool(other.facts.get_all("ejected/"))) < 1
        assert dict(other.facts.get_all("ejected/")) == {"ejected/gpu-1": "until noon"}
        await until(lambda: not other.facts.get_all("ejected/"), within_s=4)
        assert not one.facts.get_all("ejected/")
        assert dict(other.facts.get_all("other/")) == {"other/gpu-1": "x"}

    with_two_workers(valkey, do)
