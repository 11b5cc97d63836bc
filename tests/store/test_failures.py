import asyncio
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from outcrop.store.database import Database, Row, Transaction
from outcrop.store.errors import QuotaReachedError, StoreError, StoreUnavailableError
from outcrop.store.migrations import migrate
from outcrop.store.store import Store, open_database, open_store
from tests.clocks import FakeClock
from tests.postgres import new_database
from tests.store.samples import ACCOUNT, REGION, profile

ADD = "INSERT INTO secrets (name, secret) VALUES ($1, $2)"


async def create(store: Store, quota: int = 1000) -> str:
    new = profile()
    await store.inference_profiles.create(new, tags={"a": "1"}, client_token=None, quota=quota)
    return new.inference_profile_arn


async def count(store: Store) -> int:
    return len(await store.inference_profiles.page(ACCOUNT, REGION, after=None, limit=1000))


async def create_until_full(store: Store) -> int:
    for made in range(1000):
        try:
            await create(store)
        except StoreError:
            return made
    return 1000


async def secrets(database: Database) -> list[str]:
    return [row[0] for row in await database.fetch("SELECT name FROM secrets ORDER BY name")]


@pytest.mark.parametrize("steps", range(0, 30, 3))
def test_a_caller_that_goes_away_leaves_all_or_nothing(
    location: str, clock: FakeClock, steps: int
) -> None:
    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            await create(store)
            writing = asyncio.ensure_future(create(store))
            for _ in range(steps):
                await asyncio.sleep(0)
            writing.cancel()
            await asyncio.wait([writing])

            arn = await create(store)
            stored = await count(store)
            assert stored in {2, 3}
            assert await store.tags.of(arn) == [("a", "1")]
            with pytest.raises(QuotaReachedError):
                await create(store, quota=stored)

    asyncio.run(main())


def test_a_transaction_that_raises_leaves_nothing(location: str) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.execute(ADD, "a", b"1")
        raise LookupError

    async def main() -> Sequence[Row]:
        async with open_database(location) as database:
            await migrate(database)
            with pytest.raises(LookupError):
                await database.write(work)
            return await secrets(database)

    assert asyncio.run(main()) == []


def test_a_failure_is_its_transactions_own(location: str) -> None:
    async def add(database: Database, name: str) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.execute(ADD, f"before {name}", b"1")
            await transaction.execute(ADD, name, b"1")

        await database.write(work)

    async def main() -> tuple[list[str], list[str]]:
        async with open_database(location) as database:
            await migrate(database)
            await add(database, "a")
            names = ["b", "a", "c", "a", "d"]
            done = await asyncio.gather(
                *(add(database, name) for name in names), return_exceptions=True
            )
            return [type(each).__name__ for each in done], await secrets(database)

    outcomes, stored = asyncio.run(main())

    assert outcomes == ["NoneType", "StoreError", "NoneType", "StoreError", "NoneType"]
    assert stored == ["a", "b", "before a", "before b", "before c", "before d", "c", "d"]


def test_an_unknown_statement_is_an_error_of_the_store(location: str) -> None:
    async def main() -> None:
        async with open_database(location) as database:
            with pytest.raises(StoreError, match="syntax"):
                await database.fetch("SELEKT 1")

    asyncio.run(main())


def test_sqlite_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def pages(transaction: Transaction) -> int:
        return int((await transaction.fetch("PRAGMA page_count"))[0][0])

    async def allow(database: Database, more: int) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.fetch(f"PRAGMA max_page_count = {await pages(transaction) + more}")

        await database.write(work)

    async def main() -> tuple[int, int]:
        async with open_database(str(tmp_path / "outcrop.db")) as database:
            await migrate(database)
            store = Store(database, clock)
            await allow(database, 3)
            made = await create_until_full(store)
            with pytest.raises(StoreError, match="full"):
                await create(store)
            stored = await count(store)
            await allow(database, 1000)
            await create(store)
            with pytest.raises(QuotaReachedError):
                await create(store, quota=made + 1)
            return made, stored

    made, stored = asyncio.run(main())

    assert 0 < made == stored < 1000


def test_sqlite_files_are_their_owners_alone(tmp_path: Path, clock: FakeClock) -> None:
    def modes() -> list[int]:
        return [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()]

    async def main() -> list[int]:
        async with open_store(tmp_path / "outcrop.db", clock=clock) as store:
            await create(store)
            return modes()

    assert asyncio.run(main()) == [0o600] * 3


def test_a_folder_that_is_not_there_is_an_error_that_names_the_file(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        async with open_store(tmp_path / "no" / "outcrop.db", clock=clock):
            pass

    with pytest.raises(StoreError, match=r"/no/outcrop\.db"):
        asyncio.run(main())


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "outcrop.db"
    path.write_text("A letter, not a database. " * 100)

    async def main() -> None:
        async with open_store(path, clock=clock):
            pass

    with pytest.raises(StoreError, match="not a database"):
        asyncio.run(main())


def test_sqlite_transactions_await_nothing_else(tmp_path: Path) -> None:
    async def work(_transaction: Transaction) -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        async with open_database(tmp_path / "outcrop.db") as database:
            await database.write(work)

    with pytest.raises(RuntimeError, match="other than its statements"):
        asyncio.run(main())


def test_a_lost_connection_to_postgresql_is_replaced(postgres: str, clock: FakeClock) -> None:
    url = new_database(postgres, "lost")

    async def cut(transaction: Transaction) -> None:
        await transaction.fetch("SELECT pg_terminate_backend(pg_backend_pid())")

    async def main() -> int:
        async with open_database(url) as database:
            await migrate(database)
            store = Store(database, clock)
            for _ in range(3):
                with pytest.raises(StoreUnavailableError):
                    await database.write(cut)
                await create(store)
            return await count(store)

    assert asyncio.run(main()) == 3


def test_a_postgresql_that_is_not_there_is_unavailable(tmp_path: Path, clock: FakeClock) -> None:
    async def main() -> None:
        async with open_store(f"postgresql://postgres@/x?host={tmp_path}", clock=clock):
            pass

    with pytest.raises(StoreUnavailableError):
        asyncio.run(main())
