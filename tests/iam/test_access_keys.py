import asyncio
import os
import re
from configparser import ConfigParser
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.credentials import SharedCredentialProvider

from outcrop.iam.access_keys import (
    RootAccessKey,
    RootAccessKeyError,
    ensure_root_access_key,
    exposed_paths,
    make_state_dir,
    new_root_access_key,
    read_root_access_key,
)
from outcrop.store.records import AccessKeyRecord
from outcrop.store.store import open_store
from tests.iam.signing import ACCESS_KEY_ID, ACCOUNT_ID, SECRET_ACCESS_KEY, known_key

NOW = datetime(2026, 11, 22, tzinfo=UTC)
GOOD = (
    "[default]\n"
    f"aws_access_key_id = {ACCESS_KEY_ID}\n"
    f"aws_secret_access_key = {SECRET_ACCESS_KEY}\n"
    f"aws_account_id = {ACCOUNT_ID}\n"
)
KEY = RootAccessKey(
    account_id=ACCOUNT_ID, access_key_id=ACCESS_KEY_ID, secret_access_key=SECRET_ACCESS_KEY
)


class AccountsInMemory:
    """A database of one account at most; of two first starts, one wins."""

    def __init__(self) -> None:
        self.root: AccessKeyRecord | None = None

    async def ensure_root(
        self,
        *,
        account_id: str,
        access_key_id: str,
        secret_access_key: str,
        created_at: datetime,
    ) -> AccessKeyRecord:
        await asyncio.sleep(0)
        if self.root is None:
            self.root = AccessKeyRecord(
                account_id=account_id,
                access_key_id=access_key_id,
                secret_access_key=secret_access_key,
                created_at=created_at,
            )
        await asyncio.sleep(0)
        return self.root


def ensured(accounts: AccountsInMemory, state_dir: Path) -> RootAccessKey:
    return asyncio.run(ensure_root_access_key(accounts, state_dir, lambda: NOW))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_first_start_makes_an_account_and_its_key_as_amazons_look() -> None:
    keys = [new_root_access_key() for _ in range(50)]

    for key in keys:
        assert re.fullmatch("[1-9][0-9]{11}", key.account_id)
        assert re.fullmatch("AKIA[A-Z2-7]{16}", key.access_key_id)
        assert re.fullmatch("[A-Za-z0-9+/]{40}", key.secret_access_key)
    assert len({key.secret_access_key for key in keys}) == 50


def test_a_first_start_stores_the_key_and_files_it_for_its_owner_alone(tmp_path: Path) -> None:
    accounts = AccountsInMemory()
    state_dir = tmp_path / "new" / "state"

    key = ensured(accounts, state_dir)

    assert accounts.root == AccessKeyRecord(
        account_id=key.account_id,
        access_key_id=key.access_key_id,
        secret_access_key=key.secret_access_key,
        created_at=NOW,
    )
    assert read_root_access_key(state_dir) == key
    assert mode(state_dir) == 0o700
    assert mode(state_dir / "credentials") == 0o600
    assert exposed_paths(state_dir) == []
    assert [path.name for path in state_dir.iterdir()] == ["credentials"]


def test_the_file_is_one_that_aws_tools_read(tmp_path: Path) -> None:
    key = ensured(AccountsInMemory(), tmp_path / "state")

    credentials = SharedCredentialProvider(str(tmp_path / "state" / "credentials")).load()

    assert credentials.access_key == key.access_key_id
    assert credentials.secret_key == key.secret_access_key
    assert credentials.account_id == key.account_id


def test_a_later_start_has_the_same_key(tmp_path: Path) -> None:
    accounts = AccountsInMemory()

    first = ensured(accounts, tmp_path / "state")

    assert ensured(accounts, tmp_path / "state") == first


@pytest.mark.parametrize("state_dirs", [("one", "one"), ("one", "two")])
def test_two_servers_that_start_at_once_have_one_key(
    tmp_path: Path, state_dirs: tuple[str, str]
) -> None:
    accounts = AccountsInMemory()
    first_dir, second_dir = (tmp_path / name for name in state_dirs)

    async def main() -> tuple[RootAccessKey, RootAccessKey]:
        async with asyncio.TaskGroup() as starts:
            first = starts.create_task(ensure_root_access_key(accounts, first_dir, lambda: NOW))
            second = starts.create_task(ensure_root_access_key(accounts, second_dir, lambda: NOW))
        return first.result(), second.result()

    first, second = asyncio.run(main())

    assert first == second == read_root_access_key(first_dir) == read_root_access_key(second_dir)


def test_two_servers_that_start_at_once_on_one_database_file_have_one_key(tmp_path: Path) -> None:
    async def start(state_dir: Path) -> RootAccessKey:
        async with open_store(tmp_path / "outcrop.db", clock=lambda: NOW) as store:
            return await ensure_root_access_key(store.access_keys, state_dir, lambda: NOW)

    async def main() -> tuple[RootAccessKey, RootAccessKey]:
        async with asyncio.TaskGroup() as starts:
            first = starts.create_task(start(tmp_path / "one"))
            second = starts.create_task(start(tmp_path / "two"))
        return first.result(), second.result()

    first, second = asyncio.run(main())

    assert first == second == read_root_access_key(tmp_path / "two")


def test_a_new_database_adopts_the_key_that_the_state_folder_has(tmp_path: Path) -> None:
    key = ensured(AccountsInMemory(), tmp_path)
    new_database = AccountsInMemory()

    assert ensured(new_database, tmp_path) == key
    assert new_database.root is not None
    assert new_database.root.access_key_id == key.access_key_id


def test_a_new_state_folder_is_given_the_databases_key(tmp_path: Path) -> None:
    accounts = AccountsInMemory()
    key = ensured(accounts, tmp_path / "old")

    assert ensured(accounts, tmp_path / "new") == key
    assert read_root_access_key(tmp_path / "new") == key


def test_a_file_that_is_not_the_databases_key_is_left_alone_and_named(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(GOOD)
    accounts = AccountsInMemory()
    accounts.root = known_key("AKIAANOTHERANOTHER12")

    with pytest.raises(RootAccessKeyError) as trouble:
        ensured(accounts, tmp_path)

    assert str(trouble.value) == (
        f"{tmp_path / 'credentials'} is not the root access key of this database."
        " Move it away: the next start writes the right one."
    )
    assert (tmp_path / "credentials").read_text() == GOOD
    assert accounts.root.access_key_id == "AKIAANOTHERANOTHER12"


def test_a_file_that_others_can_read_is_told_of_and_tightened(tmp_path: Path) -> None:
    accounts = AccountsInMemory()
    state_dir = tmp_path / "state"
    ensured(accounts, state_dir)
    (state_dir / "credentials").chmod(0o644)
    state_dir.chmod(0o755)

    exposed = exposed_paths(state_dir)
    ensured(accounts, state_dir)

    assert exposed == [state_dir, state_dir / "credentials"]
    assert exposed_paths(state_dir) == [state_dir]


def test_a_folder_that_was_there_keeps_its_permissions(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    state_dir.mkdir(mode=0o755)

    make_state_dir(state_dir)

    assert mode(state_dir) == 0o755


def test_the_umask_does_not_open_the_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ensured(AccountsInMemory(), tmp_path / "state")
    finally:
        os.umask(before)

    assert exposed_paths(tmp_path / "state") == []


def test_without_a_file_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(RootAccessKeyError, match="the first `outcrop serve` writes it"):
        read_root_access_key(tmp_path)

    assert exposed_paths(tmp_path / "nowhere") == []


def test_a_file_that_cannot_be_read_is_named_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()

    with pytest.raises(RootAccessKeyError) as trouble:
        read_root_access_key(tmp_path)

    assert str(trouble.value) == f"{tmp_path / 'credentials'} cannot be read: Is a directory."


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_bytes(b"\xff\xfe")

    with pytest.raises(RootAccessKeyError, match="it is not text"):
        read_root_access_key(tmp_path)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "aws_access_key_id, aws_secret_access_key, aws_account_id"),
        (GOOD.replace("[default]", "[other]"), "aws_access_key_id, aws_secret_access_key, "),
        (GOOD.replace("[default]\n", ""), "aws_access_key_id, aws_secret_access_key, "),
        (GOOD.replace(ACCESS_KEY_ID, "short"), "well-formed aws_access_key_id."),
        (GOOD.replace(SECRET_ACCESS_KEY, "a b"), "well-formed aws_secret_access_key."),
        (GOOD.replace(ACCOUNT_ID, "12345678901"), "well-formed aws_account_id."),
        (f"{GOOD}{GOOD}", ""),
        (f"{SECRET_ACCESS_KEY}\n{GOOD}", ""),
    ],
)
def test_a_file_that_is_not_well_formed_is_named_without_what_is_in_it(
    tmp_path: Path, text: str, wrong: str
) -> None:
    (tmp_path / "credentials").write_text(text)

    with pytest.raises(RootAccessKeyError) as trouble:
        read_root_access_key(tmp_path)

    message = str(trouble.value)
    assert wrong in message
    assert "move it away: the next start writes a new one" in message
    assert SECRET_ACCESS_KEY not in message
    assert trouble.value.__cause__ is None


def test_a_secret_with_a_percent_sign_is_taken_as_it_is(tmp_path: Path) -> None:
    secret = "%(aws_access_key_id)s%%%%"
    (tmp_path / "credentials").write_text(GOOD.replace(SECRET_ACCESS_KEY, secret))

    assert read_root_access_key(tmp_path).secret_access_key == secret


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    accounts = AccountsInMemory()
    in_the_way = tmp_path / "state" / "credentials"

    async def ensure_root(**_: object) -> AccessKeyRecord:
        in_the_way.mkdir()
        return known_key()

    accounts.ensure_root = ensure_root  # type: ignore[method-assign]  # a database slow enough

    with pytest.raises(OSError, match="directory"):
        ensured(accounts, tmp_path / "state")

    assert list((tmp_path / "state").iterdir()) == [in_the_way]


def test_the_secret_is_not_shown_where_the_key_is(tmp_path: Path) -> None:
    shown = f"{KEY!r} {KEY}"

    assert SECRET_ACCESS_KEY not in shown
    assert ACCESS_KEY_ID in shown


def test_the_file_is_plain_ini(tmp_path: Path) -> None:
    key = ensured(AccountsInMemory(), tmp_path)
    parser = ConfigParser(interpolation=None)

    parser.read(tmp_path / "credentials")

    assert dict(parser["default"]) == {
        "aws_access_key_id": key.access_key_id,
        "aws_secret_access_key": key.secret_access_key,
        "aws_account_id": key.account_id,
    }
