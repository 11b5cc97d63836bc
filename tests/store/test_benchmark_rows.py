import asyncio
from collections.abc import Sequence

import pytest

from benchmarks.store_rows import filled, moment, profile, throughput
from outcrop.store.inference_profiles import InferenceProfiles
from outcrop.store.migrations import migrate
from outcrop.store.name_index import BLOCK_BITS
from outcrop.store.provisioned_throughputs import ProvisionedModelThroughputs
from outcrop.store.store import open_database
from tests.clocks import FakeClock
from tests.store.opened import create

SIZE = (1 << BLOCK_BITS) + 10
TABLES = {
    "scopes": "scope_id",
    "inference_profiles": "row_id",
    "provisioned_model_throughputs": "row_id",
    "throughput_features": "feature, block",
}


@pytest.mark.slow
def test_the_benchmark_fills_in_what_create_would_have(
    location: str, clock: FakeClock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = str(tmp_path_factory.mktemp("other") / "filled.db")

    async def main() -> tuple[object, object]:
        async with filled(other, SIZE):
            pass
        async with open_database(location) as database:
            await migrate(database)
            profiles = InferenceProfiles(database, clock)
            throughputs = ProvisionedModelThroughputs(database, clock)
            for number in range(SIZE):
                clock.moment = moment(number)
                await create(throughputs, throughput(number, SIZE, clock()))
                await profiles.create(
                    profile(number, clock()), tags={}, client_token=None, quota=SIZE
                )
        return await contents(location), await contents(other)

    created, filled_in = asyncio.run(main())

    assert created == filled_in


async def contents(location: str) -> dict[str, Sequence[object]]:
    async with open_database(location) as database:
        return {
            table: [
                tuple(row) for row in await database.fetch(f"SELECT * FROM {table} ORDER BY {key}")
            ]
            for table, key in TABLES.items()
        }
