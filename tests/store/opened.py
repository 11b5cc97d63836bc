"""The throughputs of a database, with blocks so small that few rows fill many."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from outcrop.store.migrations import migrate
from outcrop.store.provisioned_throughputs import ProvisionedModelThroughputs
from outcrop.store.records import ProvisionedModelThroughputRecord
from outcrop.store.store import open_database
from outcrop.store.throughput_pages import LOOKED_AT_MOST
from outcrop.wire.timestamps import Clock


@asynccontextmanager
async def open_throughputs(
    location: str, clock: Clock, *, block_bits: int = 12, looked_at_most: int = LOOKED_AT_MOST
) -> AsyncGenerator[ProvisionedModelThroughputs]:
    async with open_database(location) as database:
        await migrate(database)
        yield ProvisionedModelThroughputs(
            database, clock, block_bits=block_bits, looked_at_most=looked_at_most
        )


async def create(
    throughputs: ProvisionedModelThroughputs, new: ProvisionedModelThroughputRecord
) -> ProvisionedModelThroughputRecord:
    return await throughputs.create(new, tags={}, client_token=None, quota=None)
