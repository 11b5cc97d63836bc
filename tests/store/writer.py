"""Writes until it is killed, and says of each name when it is stored: `writer.py LOCATION RUN`."""

import asyncio
import sys
from pathlib import Path

from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.clocks import FakeClock
from tests.store.opened import create, open_throughputs
from tests.store.samples import throughput


async def main(location: str, run: str) -> None:
    async with open_throughputs(location, FakeClock(), block_bits=3) as throughputs:

        async def write(writer: int) -> None:
            for number in range(100_000):
                name = f"run-{run}-{writer}-{number}"
                new = replace(throughput(name), provisioned_model_id=name)
                await create(throughputs, new)
                print(name, flush=True)  # noqa: T201 -- it is what it is for

        async with asyncio.TaskGroup() as group:
            for writer in range(4):
                group.create_task(write(writer))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
