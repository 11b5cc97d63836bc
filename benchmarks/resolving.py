"""What it costs to find out what an application profile's ARN stands for, among ten or a million.

CPU time of `Targets.resolve`, SQLite's part included. Profiles are asked for at random, so that of
a million hardly one is asked for twice, and what SQLite remembers is switched off: every profile is
read. Beside it, the one step that depends on how many there are.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks import store_rows
from benchmarks.store_rows import ACCOUNT, REGION, Tables, filled, moment, profile
from outcrop.fleet.fleet import Fleet
from outcrop.iam.caller import Caller
from outcrop.runtime.target import Targets
from outcrop.store import sqlite
from outcrop.store.catalogue import Catalogue

ROUNDS, CALLS = 7, 3_000
SIZES = (10, 1_000, 1_000_000)
AT_MOST = 1.5
PREFIX = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/"
CALLER = Caller(
    account_id=ACCOUNT,
    arn=f"arn:aws:iam::{ACCOUNT}:root",
    user_id=ACCOUNT,
    region=REGION,
    partition="aws",
)

Asked = Callable[[str], Awaitable[object]]


def main(sizes: Sequence[int] = SIZES) -> None:
    sqlite.ROWS_REMEMBERED = -1
    # Of a model that can be called, in the Regions of a profile of Amazon's.
    store_rows.MODELS[:] = [
        f"arn:aws:bedrock:{region}::foundation-model/amazon.nova-lite-v1:0"
        for region in ("us-east-1", "us-east-2", "us-west-2")
    ]
    costs = [asyncio.run(measured(size)) for size in sizes]
    for size, (find_us, resolve_us) in zip(sizes, costs, strict=True):
        print(
            f"one of {size:>9,} profiles: found in{find_us:>7.2f} us, resolved in"
            f"{resolve_us:>7.2f} us, {resolve_us / costs[0][1]:.2f} times"
        )
    if costs[-1][1] > AT_MOST * costs[0][1]:
        print(f"(wanted: at most {AT_MOST} times)")


async def measured(size: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        async with filled(str(Path(folder) / "outcrop.sqlite3"), size) as tables:
            targets = Targets(Catalogue(), Fleet([], None), tables.profiles, tables.throughputs)
            find = await least_us(tables, lambda one: tables.profiles.find(ACCOUNT, REGION, one))
            resolve = await least_us(tables, lambda one: targets.resolve(CALLER, PREFIX + one))
            return find, resolve


async def least_us(tables: Tables, asked: Asked) -> float:
    return min([await _round_us(tables, asked) for _ in range(ROUNDS)])


async def _round_us(tables: Tables, asked: Asked) -> float:
    numbers = [random.randrange(tables.size) for _ in range(CALLS)]
    ids = [profile(number, moment(number)).inference_profile_id for number in numbers]
    began = time.process_time()
    for one in ids:
        assert await asked(one)
    return (time.process_time() - began) / CALLS * 1e6


if __name__ == "__main__":
    main()
