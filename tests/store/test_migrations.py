import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from msgspec.structs import replace

from outcrop.store.capacity import Capacity
from outcrop.store.database import Row, Transaction
from outcrop.store.errors import SchemaError
from outcrop.store.identities import Identities
from outcrop.store.migrations import MIGRATIONS, migrate
from outcrop.store.provisioned_throughputs import ProvisionedModelThroughputs
from outcrop.store.store import open_database, open_store
from tests.clocks import FakeClock
from tests.store.samples import ACCOUNT, REGION, profile, throughput


def test_an_empty_database_gets_the_newest_schema(location: str) -> None:
    async def main() -> Sequence[Row]:
        async with open_database(location) as database:
            await migrate(database)
            return await database.fetch("SELECT version FROM schema_version")

    rows = asyncio.run(main())

    assert [tuple(row) for row in rows] == [(len(MIGRATIONS),)]


def test_what_is_stored_is_there_after_another_start(location: str, clock: FakeClock) -> None:
    new = profile()

    async def main() -> object:
        async with open_store(location, clock=clock) as store:
            await store.inference_profiles.create(new, tags={}, client_token=None, quota=9)
        async with open_store(location, clock=clock) as store:
            return await store.inference_profiles.find(ACCOUNT, REGION, new.inference_profile_id)

    found = asyncio.run(main())

    assert found == new


def test_only_what_is_missing_is_migrated(location: str) -> None:
    later = (*MIGRATIONS, ("CREATE TABLE later (number BIGINT)",))

    async def main() -> Sequence[Row]:
        async with open_database(location) as database:
            await migrate(database)
            await migrate(database, later)
            await migrate(database, later)
            return await database.fetch("SELECT number FROM later")

    rows = asyncio.run(main())

    assert list(rows) == []


def test_what_was_in_service_before_holds_were_kept_has_its_own(
    location: str, clock: FakeClock
) -> None:
    custom = (
        "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-lite-v1:0/abcdefghij01"
    )
    bought = [
        replace(
            throughput(), status=status, model_units=units, desired_model_units=99, region=where
        )
        for status, units, where in (
            ("InService", 12, REGION),
            ("Updating", 3, REGION),
            ("Creating", 5, REGION),
            ("Failed", 7, REGION),
            ("InService", 1, "eu-west-1"),
        )
    ]
    bought.append(replace(throughput(), status="InService", model_units=2, model_arn=custom))

    async def main() -> object:
        async with open_database(location) as database:
            await migrate(database, MIGRATIONS[:1])
            for new in bought:
                throughputs = ProvisionedModelThroughputs(database, clock)
                await throughputs.create(new, tags={}, client_token=None, quota=None)
            await migrate(database)
            return await Capacity(database).held()

    assert asyncio.run(main()) == {
        (REGION, "amazon.nova-lite-v1:0:24k"): 15,
        ("eu-west-1", "amazon.nova-lite-v1:0:24k"): 1,
        (REGION, "amazon.nova-lite-v1:0/abcdefghij01"): 2,
    }


def test_what_was_declared_before_is_known_to_be(location: str, clock: FakeClock) -> None:
    tags = {"declared": "true", "x": ',"declared":true}'}
    records = [
        {"user_id": "A", "created_at": "2026-11-22T00:00:00Z", "declared": True},
        {"user_id": "B", "created_at": "2026-11-22T00:00:00Z", "tags": tags},
    ]

    async def insert(transaction: Transaction) -> None:
        for number, record in enumerate(records):
            text = msgspec.json.encode(record).decode()
            await transaction.execute(
                "INSERT INTO identities (account_id, kind, name, record) VALUES ($1, $2, $3, $4)",
                *("1" * 12, "user", f"user-{number}", text),
            )

    async def main() -> list[str]:
        async with open_database(location) as database:
            await migrate(database, MIGRATIONS[:6])
            await database.write(insert)
            await migrate(database)
            found = await Identities(database, clock).edit(lambda editor: editor.declared())
            return [name for _, _, name in found]

    assert asyncio.run(main()) == ["user-0"]


def test_servers_that_start_together_on_an_empty_database_all_come_up(
    location: str, clock: FakeClock
) -> None:
    async def start() -> int:
        async with open_store(location, clock=clock) as store:
            return len(await store.inference_profiles.page(ACCOUNT, REGION, after=None, limit=1))

    async def main() -> list[int]:
        async with asyncio.TaskGroup() as group:
            starts = [group.create_task(start()) for _ in range(6)]
        return [start.result() for start in starts]

    assert asyncio.run(main()) == [0] * 6


def test_a_database_of_a_newer_version_is_refused(location: str, clock: FakeClock) -> None:
    async def main() -> None:
        async with open_database(location) as database:
            await migrate(database, (*MIGRATIONS, (), ()))
        async with open_store(location, clock=clock):
            pass

    with pytest.raises(
        SchemaError, match=f"has schema {len(MIGRATIONS) + 2};.* up to {len(MIGRATIONS)}"
    ):
        asyncio.run(main())


def test_a_migration_that_fails_leaves_nothing_behind(location: str) -> None:
    broken = (*MIGRATIONS, ("CREATE TABLE half (number BIGINT)", "CREATE NONSENSE"))

    async def version(transaction: Transaction) -> object:
        return (await transaction.fetch("SELECT version FROM schema_version"))[0][0]

    async def main() -> object:
        async with open_database(location) as database:
            await migrate(database)
            with pytest.raises(Exception, match="NONSENSE"):
                await migrate(database, broken)
            await migrate(database, (*MIGRATIONS, ("CREATE TABLE half (number BIGINT)",)))
            return await database.write(version)

    assert asyncio.run(main()) == len(MIGRATIONS) + 1
