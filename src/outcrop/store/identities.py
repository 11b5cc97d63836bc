"""Accounts, users, roles, policies and identity providers as they are stored."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec

from outcrop.store.database import Database, Transaction
from outcrop.store.identity_records import (
    AccountRecord,
    IdentityProviderRecord,
    IdentityRecord,
    PolicyRecord,
    RoleRecord,
    UserRecord,
)
from outcrop.wire.timestamps import Clock, to_micros

T = TypeVar("T")
R = TypeVar("R", AccountRecord, PolicyRecord, UserRecord, RoleRecord, IdentityProviderRecord)

KINDS: Mapping[type[IdentityRecord], str] = {
    AccountRecord: "account",
    PolicyRecord: "policy",
    UserRecord: "user",
    RoleRecord: "role",
    IdentityProviderRecord: "identity provider",
}

ITSELF = ""
"""The name of an account's own record."""

_FIND = "SELECT record FROM identities WHERE account_id = $1 AND kind = $2 AND name = $3"
_ALL = "SELECT name, record FROM identities WHERE account_id = $1 AND kind = $2 ORDER BY name"
_PUT = """
    INSERT INTO identities (account_id, kind, name, record) VALUES ($1, $2, $3, $4)
    ON CONFLICT (account_id, kind, name) DO UPDATE SET record = excluded.record
"""
_DELETE = "DELETE FROM identities WHERE account_id = $1 AND kind = $2 AND name = $3"
_DELETE_KEYS = "DELETE FROM access_keys WHERE account_id = $1 AND user_name = $2"
_ACCOUNTS = "SELECT account_id FROM accounts ORDER BY account_id"
_ADD_ACCOUNT = """
    INSERT INTO accounts (account_id, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""
_VERSION = "SELECT version FROM identity_version"
_CHANGED = "UPDATE identity_version SET version = version + 1"

Edit = Callable[["Editor"], Coroutine[Any, Any, T]]


class Identities:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def version(self) -> int:
        """Another one after every change of an identity or a key, whoever made it."""
        ((version,),) = await self._database.fetch(_VERSION)
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
            if editor.has_changed:
                await changed(transaction)
            return result

        return await self._database.write(work)


class Editor:
    """Reads and writes within one transaction."""

    def __init__(self, transaction: Transaction, clock: Clock) -> None:
        self._transaction = transaction
        self._clock = clock
        self.has_changed = False

    async def find(self, account_id: str, kind: type[R], name: str) -> R | None:
        rows = await self._transaction.fetch(_FIND, account_id, KINDS[kind], name)
        return msgspec.json.decode(rows[0][0], type=kind) if rows else None

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
        await self._transaction.execute(_PUT, account_id, kind, name, text)
        self.has_changed = True

    async def delete(self, account_id: str, kind: type[IdentityRecord], name: str) -> None:
        """A user's keys go with it."""
        await self._transaction.execute(_DELETE, account_id, KINDS[kind], name)
        if kind is UserRecord:
            await self._transaction.execute(_DELETE_KEYS, account_id, name)
        self.has_changed = True


async def changed(transaction: Transaction) -> None:
    """To be called in every transaction that changes who may do what."""
    await transaction.execute(_CHANGED)
