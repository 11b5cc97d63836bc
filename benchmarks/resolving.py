"""What it costs to find an application profile that a call names, among ten and among a million.

CPU time, SQLite's part included, of the one step of resolving that depends on how many there are.
Profiles are asked for at random, so that of a million hardly one is asked for twice.
"""

import asyncio
import random
import tempfile
import time
from pathlib import Path

from benchmarks.store_rows import ACCOUNT, REGION, Tables, filled, moment, profile

ROUNDS, CALLS = 7, 3_000
SIZES = (10, 1_000, 1_000_000)
AT_MOST = 1.5


def main(sizes: tuple[int, ...] = SIZES) -> None:
    costs = [asyncio.run(measured(size)) for size in sizes]
    for size, us in zip(sizes, costs, strict=True):
        print(f"finding one of {size:>9,} profiles{us:>9.2f} us, {us / costs[0]:.2f} times")
    if costs[-1] > AT_MOST * costs[0]:
        print(f"(wanted: at most {AT_MOST} times)")


async def measured(size: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        async with filled(str(Path(folder) / "outcrop.sqlite3"), size) as tables:
            return min([await round_us(tables) for _ in range(ROUNDS)])


async def round_us(tables: Tables) -> float:
    numbers = [random.randrange(tables.size) for _ in range(CALLS)]
    ids = [profile(number, moment(number)).inference_profile_id for number in numbers]
    began = time.process_time()
    for one in ids:
        assert await tables.profiles.find(ACCOUNT, REGION, one)
    return (time.process_time() - began) / CALLS * 1e6


if __name__ == "__main__":
    main()
