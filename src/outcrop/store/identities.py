"""Accounts, users, roles, policies and identity providers as they are stored."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec

from outcrop.store.access_keys import KeyEditor
from outcrop.store.database import Database, Transaction
from outcrop.store.identity_records import (
    AccountRecord,
    GroupRecord,
    IdentityProviderRecord,
    IdentityRecord,
    PolicyRecord,
    RoleRecord,
    UserRecord,
)
from outcrop.store.identity_version import VERSION, changed
from outcrop.wire.timestamps import Clock, to_micros

T = TypeVar("T")
R = TypeVar(
    "R",
    AccountRecord,
    PolicyRecord,
    GroupRecord,
    UserRecord,
    RoleRecord,
    IdentityProviderRecord,
)
Place: TypeAlias = tuple[str, type[IdentityRecord], str]
"""Of a record: account, kind and name."""

KINDS: Mapping[type[IdentityRecord], str] = {
    AccountRecord: "account",
    PolicyRecord: "policy",
    GroupRecord: "group",
    UserRecord: "user",
    RoleRecord: "role",
    IdentityProviderRecord: "identity provider",
}
_RECORDS = {kind: record for record, kind in KINDS.items()}

ITSELF = ""
"""The name of an account's own record."""

_FIND = "SELECT record FROM identities WHERE account_id = $1 AND kind = $2 AND name = $3"
_ALL = "SELECT name, record FROM identities WHERE account_id = $1 AND kind = $2 ORDER BY name"
_PUT = """
    INSERT INTO identities (account_id, kind, name, record, declared) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (account_id, kind, name)
    DO UPDATE SET record = excluded.record, declared = excluded.declared
"""
_DECLARED = "SELECT account_id, kind, name, record FROM identities WHERE declared"
_DELETE = "DELETE FROM identities WHERE account_id = $1 AND kind = $2 AND name = $3"
_ACCOUNTS = "SELECT account_id FROM accounts ORDER BY account_id"
_ADD_ACCOUNT = """
    INSERT INTO accounts (account_id, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""

Edit = Callable[["Editor"], Coroutine[Any, Any, T]]


class Identities:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def version(self) -> int:
        """Another one after every change of an identity or a key, whoever made it."""
        ((version,),) = await self._database.fetch(VERSION)
        number: int = version
        return number

    async def find(self, account_id: str, kind: type[R], name: str) -> R | None:
        rows = await self._database.fetch(_FIND, account_id, KINDS[kind], name)
        return msgspec.json.decode(rows[0][0], type=kind) if rows else None

    async def all(self, account_id: str, kind: type[R]) -> dict[str, R]:
        """By name."""
        rows = await self._database.fetch(_ALL, account_id, KINDS[kind])
        return {name: msgspec.json.decode(text, type=kind) for name, text in rows}

    async def accounts(self) -> list[str]:
        return [account_id for (account_id,) in await self._database.fetch(_ACCOUNTS)]

    async def edit(self, edit: Edit[T]) -> T:
        """One transaction, alone; whatever it raises, nothing has changed then."""

        async def work(transaction: Transaction) -> T:
            await transaction.alone()
            editor = Editor(transaction, self._clock)
            result = await edit(editor)
            if editor.has_changed or editor.keys.has_changed:
                await changed(transaction)
            return result

        return await self._database.write(work)


class Editor:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: Transaction, clock: Clock) -> None:
        self._transaction = transaction
        self._clock = clock
        self.keys = KeyEditor(transaction)
        self.has_changed = False

    async def find(self, account_id: str, kind: type[R], name: str) -> R | None:
        rows = await self._transaction.fetch(_FIND, account_id, KINDS[kind], name)
        return msgspec.json.decode(rows[0][0], type=kind) if rows else None

    async def exists(self, place: Place) -> bool:
        account_id, kind, name = place
        return bool(await self._transaction.fetch(_FIND, account_id, KINDS[kind], name))

    async def all(self, account_id: str, kind: type[R]) -> dict[str, R]:
        rows = await self._transaction.fetch(_ALL, account_id, KINDS[kind])
        return {name: msgspec.json.decode(text, type=kind) for name, text in rows}

    async def accounts(self) -> list[str]:
        return [account_id for (account_id,) in await self._transaction.fetch(_ACCOUNTS)]

    async def put(self, account_id: str, name: str, record: IdentityRecord) -> None:
        if type(record) is AccountRecord:
            now = to_micros(self._clock())
            await self._transaction.execute(_ADD_ACCOUNT, account_id, now)
        kind, text = KINDS[type(record)], msgspec.json.encode(record).decode()
        if await self._transaction.fetch(_FIND, account_id, kind, name) == [(text,)]:
            return
        await self._transaction.execute(_PUT, account_id, kind, name, text, record.declared)
        self.has_changed = True

    async def declared(self) -> dict[Place, IdentityRecord]:
        """All that the configuration declared when it was last followed."""
        found: dict[Place, IdentityRecord] = {}
        for account_id, kind, name, text in await self._transaction.fetch(_DECLARED):
            record = _RECORDS[kind]
            found[account_id, record, name] = msgspec.json.decode(text, type=record)
        return found

    async def delete(self, account_id: str, kind: type[IdentityRecord], name: str) -> None:
        """A user's keys go with it."""
        await self._transaction.execute(_DELETE, account_id, KINDS[kind], name)
        if kind is UserRecord:
            await self.keys.delete_of(account_id, name)
        self.has_changed = True
