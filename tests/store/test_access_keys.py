import asyncio

from outcrop.store.access_keys import AccessKeys
from outcrop.store.identities import Editor
from outcrop.store.identity_records import AccountRecord, UserRecord
from outcrop.store.records import AccessKeyRecord
from outcrop.store.store import Store, open_store
from tests.clocks import FakeClock


async def ensure(store: Store, clock: FakeClock, number: int) -> AccessKeyRecord:
    return await store.access_keys.ensure_root(
        account_id=f"{number:012}",
        access_key_id=f"AKIA{number}",
        secret_access_key=f"secret {number}",
        created_at=clock(),
    )


def test_the_first_start_stores_its_key(location: str, clock: FakeClock) -> None:
    async def main() -> list[object]:
        async with open_store(location, clock=clock) as store:
            keys: AccessKeys = store.access_keys
            before = await keys.find("AKIA1")
            return [before, await ensure(store, clock, 1), await keys.find("AKIA1")]

    before, made, found = asyncio.run(main())

    assert before is None
    assert found == made
    assert found == AccessKeyRecord(
        account_id="000000000001",
        access_key_id="AKIA1",
        secret_access_key="secret 1",
        created_at=clock(),
    )


def test_later_starts_get_the_first_key(location: str, clock: FakeClock) -> None:
    async def main() -> tuple[AccessKeyRecord, object]:
        async with open_store(location, clock=clock) as store:
            await ensure(store, clock, 1)
            clock.advance(seconds=1)
            return await ensure(store, clock, 2), await store.access_keys.find("AKIA2")

    key, other = asyncio.run(main())

    assert key.access_key_id == "AKIA1"
    assert other is None


def test_servers_that_start_together_get_one_key(location: str, clock: FakeClock) -> None:
    async def start(number: int) -> str:
        async with open_store(location, clock=clock) as store:
            return (await ensure(store, clock, number)).access_key_id

    async def main() -> set[str]:
        async with asyncio.TaskGroup() as group:
            starts = [group.create_task(start(number)) for number in range(5)]
        return {start.result() for start in starts}

    assert len(asyncio.run(main())) == 1


def test_a_secret_key_does_not_show_in_a_representation(clock: FakeClock) -> None:
    key = AccessKeyRecord(
        account_id="1" * 12, access_key_id="AKIA", secret_access_key="hush", created_at=clock()
    )

    assert "hush" not in repr(key)


def key(number: int, *, declared: bool = False, secret: str = "x") -> AccessKeyRecord:
    return AccessKeyRecord(
        account_id="1" * 12,
        access_key_id=f"AKIA{number}",
        secret_access_key=secret,
        created_at=FakeClock()(),
        user_name="ada",
        declared=declared,
    )


def test_what_is_declared_is_told_apart_and_a_change_of_it_counts(
    location: str, clock: FakeClock
) -> None:
    user = UserRecord(user_id="AIDA", created_at=clock(), declared=True)

    async def write(editor: Editor) -> None:
        await editor.put("1" * 12, "", AccountRecord(account_name="ours"))
        await editor.put("1" * 12, "ada", user)
        await editor.put("1" * 12, "grace", UserRecord(user_id="AIDB", created_at=clock()))
        for one in (key(1), key(2, declared=True)):
            await editor.keys.put(one)

    async def replace_key(editor: Editor) -> None:
        await editor.keys.put(key(2, declared=True, secret="another"))

    async def main() -> None:
        async with open_store(location, clock=clock) as store:
            await store.identities.edit(write)
            version = await store.identities.version()

            found = await store.identities.edit(lambda editor: editor.declared())
            keys = await store.identities.edit(lambda editor: editor.keys.declared())
            assert found == {("1" * 12, UserRecord, "ada"): user}
            assert keys == {"AKIA2": key(2, declared=True)}
            assert await store.identities.version() == version

            await store.identities.edit(replace_key)
            assert await store.access_keys.find("AKIA2") == key(2, declared=True, secret="another")
            assert await store.identities.version() > version

    asyncio.run(main())


def test_keys_that_another_sealing_key_has_sealed_are_found(
    location: str, clock: FakeClock
) -> None:
    ours, older, newer = "sealed:" + "M" * 12, "sealed:" + "A" * 12, "sealed:" + "z" * 12
    secrets = [f"{ours}rest", f"{older}rest", f"{newer}rest", "plain", f"{ours}another"]

    async def write(editor: Editor) -> None:
        await editor.put("1" * 12, "", AccountRecord(account_name="ours"))
        for number, secret in enumerate(secrets):
            await editor.keys.put(key(number, secret=secret))

    async def main() -> list[str]:
        async with open_store(location, clock=clock) as store:
            await store.identities.edit(write)
            return [one.access_key_id for one in await store.access_keys.sealed_otherwise(ours)]

    assert sorted(asyncio.run(main())) == ["AKIA1", "AKIA2", "AKIA3"]
