"""Keys that the configuration declares: their secrets are elsewhere, and sealed in the store."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from outcrop.iam.administration import Administration, NewIdentity, RefusedError
from outcrop.iam.api_keys import long_term_key
from outcrop.iam.declaration import check_declaration, declare, read_declaration
from outcrop.iam.sealed_keys import SealedKeys
from outcrop.iam.sealing import Sealer
from outcrop.server.config import ConfigurationError, load_config
from outcrop.store.database import Database, Row, Transaction, Value, Walk, Work
from outcrop.store.identity_records import UserRecord
from outcrop.store.records import AccessKeyRecord
from outcrop.store.store import Store, open_database, open_store
from tests.clocks import FakeClock

T = TypeVar("T")
ACCOUNT = "444455556666"
KEY_ID, SECRET = "AKIADECLARED00000001", "a-secret-of-the-environment-1"
USER = f"""
[[accounts]]
account_id = "{ACCOUNT}"
[[accounts.users]]
user_name = "ada"
"""
KEY = f"""
[[accounts.users.access_keys]]
access_key_id = "{KEY_ID}"
secret_access_key_env = "ADA_SECRET"
"""
API_KEY = """
[[accounts.users.api_keys]]
region = "eu-west-1"
api_key_env = "ADA_API_KEY"
expires_at = 2027-01-01T00:00:00Z
"""


class World:
    def __init__(self, store: Store, folder: Path, clock: FakeClock) -> None:
        self.store = store
        self.keys = SealedKeys(store.access_keys, Sealer([bytes(32)]))
        self.administration = Administration(store.identities, self.keys, clock)
        self.clock = clock
        self.environ: dict[str, str] = {"ADA_SECRET": SECRET}
        self._path = folder / "outcrop.toml"

    async def follow(self, text: str, environ: Mapping[str, str] = {}) -> None:
        self._path.write_text(text)
        accounts = load_config(self._path, {}).accounts
        declaration = read_declaration(accounts, {**self.environ, **environ}, self.clock)
        await check_declaration(self.store.identities, self.keys, declaration, self.clock)
        await declare(self.store.identities, self.keys, declaration, self.clock)

    async def secret(self, key_id: str = KEY_ID) -> str | None:
        found = await self.keys.find(key_id)
        return None if found is None else found.secret_access_key


def run(folder: Path, clock: FakeClock, main: Callable[[World], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with open_store(folder / "db", clock=clock) as store:
            await main(World(store, folder, clock))

    asyncio.run(opened())


def test_a_declared_key_is_there_sealed_and_goes_when_it_is_not(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main(world: World) -> None:
        await world.follow(USER + KEY)

        found = await world.keys.find(KEY_ID)
        stored = await world.store.access_keys.find(KEY_ID)
        assert found
        assert stored
        assert (found.user_name, found.secret_access_key) == ("ada", SECRET)
        assert stored.secret_access_key.startswith("sealed:")

        await world.follow(USER)
        assert await world.secret() is None
        assert await world.store.identities.find(ACCOUNT, UserRecord, "ada")

    run(tmp_path, clock, main)


def test_what_has_not_changed_is_not_written_and_what_has_counts(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main(world: World) -> None:
        version = world.store.identities.version
        await world.follow(USER + KEY)
        await world.store.access_keys.note_used({KEY_ID: clock()})
        first = await version()

        clock.advance(seconds=60)
        await world.follow(USER + KEY)
        assert await version() == first

        await world.follow(USER + KEY, {"ADA_SECRET": "another-secret-altogether"})
        assert await version() > first
        assert await world.secret() == "another-secret-altogether"

        await world.follow(USER + KEY + 'status = "Inactive"')
        found = await world.keys.find(KEY_ID)
        assert found
        assert found.status == "Inactive"
        assert found.last_used_at == found.created_at != clock()

    run(tmp_path, clock, main)


def test_a_secret_can_be_in_a_file(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    in_file = KEY.replace("_env", "_file").replace("ADA_SECRET", str(tmp_path / "secret"))

    async def main(world: World) -> None:
        await world.follow(USER + in_file, {"ADA_SECRET": ""})
        assert await world.secret() == SECRET

    run(tmp_path, clock, main)


def test_an_api_key_is_declared_by_its_own_text(tmp_path: Path, clock: FakeClock) -> None:
    key = AccessKeyRecord(
        account_id=ACCOUNT,
        access_key_id=f"BedrockAPIKey-1-at-{ACCOUNT}",
        secret_access_key="the-secret-of-an-api-key",
        created_at=clock(),
    )

    async def main(world: World) -> None:
        await world.follow(USER + API_KEY, {"ADA_API_KEY": long_term_key(key)})

        found = await world.keys.find(key.access_key_id)
        assert found
        assert (found.region, found.secret_access_key) == ("eu-west-1", key.secret_access_key)
        assert found.expires_at
        with pytest.raises(RefusedError, match="no long-term API key"):
            await world.follow(USER + API_KEY, {"ADA_API_KEY": "ABSKsomething"})
        with pytest.raises(RefusedError, match="is declared twice"):
            await world.follow(USER + API_KEY + API_KEY, {"ADA_API_KEY": long_term_key(key)})

    run(tmp_path, clock, main)


def test_who_declares_what_a_command_made_is_refused_by_name(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main(world: World) -> None:
        await world.follow(USER)
        made = await world.administration.create_key(ACCOUNT, "ada")
        with pytest.raises(RefusedError, match=f"The key {made.access_key_id} is there already"):
            await world.follow(USER + KEY.replace(KEY_ID, made.access_key_id))
        assert await world.secret(made.access_key_id) == made.secret_access_key

    run(tmp_path, clock, main)


def test_commands_leave_alone_what_is_declared(tmp_path: Path, clock: FakeClock) -> None:
    async def main(world: World) -> None:
        await world.follow(USER + KEY)
        for change in (
            world.administration.delete_key(KEY_ID),
            world.administration.set_key_status(KEY_ID, "Inactive"),
            world.administration.delete_user(ACCOUNT, "ada"),
        ):
            with pytest.raises(RefusedError, match="is declared in the configuration"):
                await change
        with pytest.raises(RefusedError, match="no such key"):
            await world.administration.delete_key("AKIANOBODY")
        assert await world.secret() == SECRET

    run(tmp_path, clock, main)


@pytest.mark.parametrize(
    ("key", "environ", "told"),
    [
        (KEY, {"ADA_SECRET": ""}, f"{KEY_ID}: the environment variable ADA_SECRET is empty"),
        (KEY, {"ADA_SECRET": "short"}, f"{KEY_ID}: its secret is not of 16 to 128"),
        (KEY.replace("_env", "_file"), {}, "the file ADA_SECRET cannot be read: No such file"),
    ],
)
def test_a_secret_that_is_not_there_is_told_and_nothing_changes(
    tmp_path: Path, clock: FakeClock, key: str, environ: dict[str, str], told: str
) -> None:
    async def main(world: World) -> None:
        await world.follow(USER)
        with pytest.raises(RefusedError, match=told):
            await world.follow(USER.replace("ada", "grace") + key, environ)
        assert await world.store.identities.find(ACCOUNT, UserRecord, "ada")

    run(tmp_path, clock, main)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (KEY.replace("_env", ""), "a secret does not belong into this file"),
        (API_KEY.replace("_env", ""), "with api_key_env or api_key_file"),
        (KEY + "secret_access_key_file = 'x'", "secret_access_key_env or secret_access_key_file"),
        (KEY.replace('secret_access_key_env = "ADA_SECRET"', ""), "needs secret_access_key_env"),
        (KEY.replace(KEY_ID, "x"), "access_key_id"),
        (KEY + KEY, f"the access key {KEY_ID} is declared twice"),
        (KEY * 3, "2 keys of a kind"),
        (API_KEY.replace("00Z", "00"), "expires_at"),
    ],
)
def test_a_table_that_cannot_be_is_refused_without_quoting_a_secret(
    tmp_path: Path, key: str, told: str
) -> None:
    (tmp_path / "outcrop.toml").write_text(USER + key)

    with pytest.raises(ConfigurationError, match=told) as refused:
        load_config(tmp_path / "outcrop.toml", {})

    assert "ADA_" not in str(refused.value)


class Counting:
    """A database that counts the rows it gives."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.rows = 0

    def _counted(self, rows: Sequence[Row]) -> Sequence[Row]:
        self.rows += len(rows)
        return rows

    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]:
        return self._counted(await self._database.fetch(sql, *values))

    async def write(self, work: Work[T]) -> T:
        async def counted(transaction: Transaction) -> T:
            fetch = transaction.fetch

            async def counting(sql: str, *values: Value) -> Sequence[Row]:
                return self._counted(await fetch(sql, *values))

            transaction.fetch = counting  # type: ignore[method-assign]
            try:
                return await work(transaction)
            finally:
                transaction.fetch = fetch  # type: ignore[method-assign]

        return await self._database.write(counted)

    def walk(self, columns: Sequence[str], by: str, *, descending: bool) -> Walk:
        return self._database.walk(columns, by, descending=descending)


def test_a_start_reads_none_of_those_that_stay_as_they_are(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> int:
        async with open_store(tmp_path / "db", clock=clock) as store:
            world = World(store, tmp_path, clock)
            await world.follow(USER)
            for number in range(50):
                name = f"user-{number}"
                await world.administration.put_user(NewIdentity(account_id=ACCOUNT, name=name))
                await world.administration.create_key(ACCOUNT, name)
        async with open_database(tmp_path / "db") as database:
            counting = Counting(database)
            world = World(Store(counting, clock), tmp_path, clock)
            assert await world.keys.reseal() == 0
            await world.follow(USER)
            return counting.rows

    # What is declared: the account and ada, to see that they can be and to make them so.
    assert asyncio.run(main()) <= 4
