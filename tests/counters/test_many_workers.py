"""Several workers, each a process, and one Valkey: exact, and nothing lost with the dead."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from tests.counters.other_worker import EACH, REQUESTS, TOKENS
from tests.counters.workers import until_used, worker
from tests.outcrop_process import REPOSITORY
from tests.valkey import ValkeyProcess

WORKERS = 4


@contextmanager
def other_worker(valkey: ValkeyProcess, does: str) -> Generator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.counters.other_worker", valkey.url, does],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_workers_together_get_what_the_limit_allows_and_not_one_more(
    valkey: ValkeyProcess,
) -> None:
    command = [sys.executable, "-m", "tests.counters.other_worker", valkey.url, "ask"]
    processes = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        for _ in range(WORKERS)
    ]
    told = [process.communicate(timeout=60)[0].split() for process in processes]

    got = [int(tokens) for tokens, _ in told]
    assert TOKENS.most - EACH < sum(got) <= TOKENS.most
    assert max(int(at_once) for _, at_once in told) == REQUESTS.most
    assert all(got), "each had a part in it"


@pytest.mark.slow
def test_a_worker_that_is_killed_gives_back_what_it_held_within_five_seconds_and_once(
    valkey: ValkeyProcess,
) -> None:
    async def run() -> tuple[float, list[int]]:
        # Three that see it dead, so that more than one would give it back.
        async with worker(valkey) as one, worker(valkey), worker(valkey):
            with other_worker(valkey, "keep") as other:
                assert other.stdout
                assert await asyncio.to_thread(other.stdout.readline) == "held\n"
                assert await one.used([TOKENS, REQUESTS]) == [1_000, 2]
                other.kill()
                took_s = await until_used(one, REQUESTS, 0)
            return took_s, list(await one.used([TOKENS, REQUESTS]))

    took_s, left = asyncio.run(run())

    assert took_s < 5
    assert left == [0, 0]


@pytest.mark.slow
def test_what_others_hold_stays_when_a_worker_is_killed(valkey: ValkeyProcess) -> None:
    async def run() -> list[int]:
        async with worker(valkey) as one:
            with other_worker(valkey, "keep") as living, other_worker(valkey, "keep") as other:
                for process in (living, other):
                    assert process.stdout
                    await asyncio.to_thread(process.stdout.readline)
                other.kill()
                await until_used(one, TOKENS, 1_000)
                return list(await one.used([TOKENS, REQUESTS]))

    assert asyncio.run(run()) == [1_000, 2]
