import asyncio
from pathlib import Path

import pytest

from outcrop.iam.administration import Administration, NewIdentity, RefusedError
from outcrop.iam.declaration import Declaration, declare
from outcrop.iam.sealed_keys import SealedKeys, shared_key
from outcrop.iam.sealing import Sealer, SealError
from outcrop.server.config import ConfigurationError, load_config
from outcrop.store.identity_records import PolicyRecord, RoleRecord, UserRecord
from outcrop.store.store import Store, open_store
from tests.clocks import FakeClock

ACCOUNT = "444455556666"
ALLOW = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'
TRUST = (
    '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole",'
    '"Principal":{"AWS":"444455556666"}}}'
)
DECLARED = f"""
[[accounts]]
account_id = "{ACCOUNT}"
account_name = "search"
policies = {{ All = '{ALLOW}' }}
[[accounts.users]]
user_name = "ada"
policies = ["All"]
tags = {{ team = "search" }}
[[accounts.roles]]
role_name = "App"
trust_policy = '{TRUST}'
"""


async def follow(store: Store, folder: Path, text: str, clock: FakeClock) -> None:
    (folder / "outcrop.toml").write_text(text)
    config = load_config(folder / "outcrop.toml", {})
    keys = SealedKeys(store.access_keys, Sealer([bytes(32)]))
    await declare(store.identities, keys, Declaration(accounts=config.accounts), clock)


def test_what_is_declared_is_there_and_goes_when_it_is_not(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        async with open_store(tmp_path / "db", clock=clock) as store:
            await follow(store, tmp_path, DECLARED, clock)
            before = await store.identities.find(ACCOUNT, UserRecord, "ada")
            version = await store.identities.version()
            clock.advance(seconds=60)
            await follow(store, tmp_path, DECLARED, clock)

            assert before
            assert before.policies == ("All",)
            assert await store.identities.find(ACCOUNT, UserRecord, "ada") == before
            assert await store.identities.find(ACCOUNT, RoleRecord, "App")
            assert await store.identities.version() == version

            await follow(store, tmp_path, DECLARED.partition("[[accounts.users]]")[0], clock)
            assert await store.identities.find(ACCOUNT, UserRecord, "ada") is None
            assert await store.identities.find(ACCOUNT, PolicyRecord, "All")

    asyncio.run(main())


def test_what_commands_made_stays(tmp_path: Path, clock: FakeClock) -> None:
    async def main() -> None:
        async with open_store(tmp_path / "db", clock=clock) as store:
            await follow(store, tmp_path, DECLARED, clock)
            keys = SealedKeys(store.access_keys, Sealer([bytes(32)]))
            administration = Administration(store.identities, keys, clock)
            await administration.put_user(NewIdentity(account_id=ACCOUNT, name="grace"))
            key = await administration.create_key(ACCOUNT, "ada")
            await follow(store, tmp_path, DECLARED, clock)

            assert await keys.find(key.access_key_id) == key
            await follow(store, tmp_path, "", clock)
            assert await keys.find(key.access_key_id) is None
            assert await store.identities.find(ACCOUNT, UserRecord, "grace")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (DECLARED.replace('["All"]', '["Nil"]'), "there is no policy Nil"),
        (DECLARED.replace('"Action":"*"', '"Action":"bedrock"'), "prefaced by a vendor"),
        (DECLARED.replace("account_name", "nam"), "accounts"),
        (DECLARED.replace(ACCOUNT, "1"), "account_id"),
        (
            DECLARED.replace('["All"]', '["arn:aws:iam::aws:policy/Nil"]'),
            "no policy arn:aws:iam::aws",
        ),
        (DECLARED.replace("policies = [", 'groups = ["nobody"]\npolicies = ['), "no group nobody"),
        (DECLARED.replace('"ada"', '"ada"\npath = "team"'), r"users\[0\].path"),
        (DECLARED + DECLARED, f"the account {ACCOUNT} is declared twice"),
        (
            DECLARED.replace(
                "[[accounts.roles]]", "[[accounts.users]]\nuser_name='ada'\n[[accounts.roles]]"
            ),
            "the user ada is declared twice",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(tmp_path: Path, wrong: str, told: str) -> None:
    (tmp_path / "outcrop.toml").write_text(wrong)

    with pytest.raises(ConfigurationError, match=told):
        load_config(tmp_path / "outcrop.toml", {})


def test_a_user_has_so_many_keys_at_most(tmp_path: Path, clock: FakeClock) -> None:
    async def main() -> None:
        async with open_store(tmp_path / "db", clock=clock) as store:
            await follow(store, tmp_path, DECLARED, clock)
            keys = SealedKeys(store.access_keys, Sealer([bytes(32)]))
            administration = Administration(store.identities, keys, clock)
            for _ in range(4):
                await administration.create_key(ACCOUNT, "ada")
            with pytest.raises(RefusedError, match="delete one first"):
                await administration.create_key(ACCOUNT, "ada")

    asyncio.run(main())


def test_a_secret_of_an_older_version_is_sealed_and_opens_the_same(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def main() -> None:
        async with open_store(tmp_path / "db", clock=clock) as store:
            rows = store.access_keys
            await rows.ensure_root(
                account_id=ACCOUNT,
                access_key_id="AKIAOLD",
                secret_access_key="plain-secret",
                created_at=clock(),
            )
            old, new = Sealer([b"1" * 32]), Sealer([b"2" * 32, b"1" * 32])

            assert await SealedKeys(rows, old).reseal() == 1
            stored = await rows.find("AKIAOLD")
            assert stored
            assert "plain-secret" not in stored.secret_access_key
            assert await SealedKeys(rows, new).reseal() == 1
            assert await SealedKeys(rows, new).reseal() == 0
            opened = await SealedKeys(rows, Sealer([b"2" * 32])).find("AKIAOLD")
            assert opened
            assert opened.secret_access_key == "plain-secret"

    asyncio.run(main())


def test_a_shared_key_outlives_a_change_of_the_sealing_key(
    tmp_path: Path, clock: FakeClock
) -> None:
    one, both, other = Sealer([b"1" * 32]), Sealer([b"2" * 32, b"1" * 32]), Sealer([b"2" * 32])

    async def main() -> None:
        async with open_store(tmp_path / "db", clock=clock) as store:
            key = await shared_key(store.secrets, one, "session tokens")

            with pytest.raises(SealError, match="sealing-keys"):
                await shared_key(store.secrets, other, "session tokens")
            assert await shared_key(store.secrets, both, "session tokens") == key
            assert await shared_key(store.secrets, other, "session tokens") == key

    asyncio.run(main())
