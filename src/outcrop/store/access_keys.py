"""Accounts and the keys that sign for them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from outcrop.store.database import Database, Row, Transaction
from outcrop.store.errors import QuotaReachedError
from outcrop.store.identity_version import changed
from outcrop.store.records import AccessKeyRecord
from outcrop.wire.timestamps import from_micros, to_micros

_COLUMNS = (
    "account_id, access_key_id, secret_access_key, created_at, user_name, status, region,"
    " expires_at, last_used_at, declared"
)
_FIND = f"SELECT {_COLUMNS} FROM access_keys WHERE access_key_id = $1"  # noqa: S608 -- ours
_FIRST = f"""
    SELECT {_COLUMNS} FROM access_keys WHERE user_name IS NULL AND region IS NULL
    ORDER BY created_at, access_key_id LIMIT 1
"""  # noqa: S608 -- ours
_DECLARED = f"SELECT {_COLUMNS} FROM access_keys WHERE declared"  # noqa: S608 -- ours
# Written so that both engines use the index of the beginnings.
_SEALED_OTHERWISE = f"""
    SELECT {_COLUMNS} FROM access_keys
    WHERE substr(secret_access_key, 1, 19) < $1 OR substr(secret_access_key, 1, 19) > $1
"""  # noqa: S608 -- ours
_ALL = f"SELECT {_COLUMNS} FROM access_keys ORDER BY account_id, created_at"  # noqa: S608 -- ours
_OF_ROOT = "SELECT count(*) FROM access_keys WHERE account_id = $1 AND user_name IS NULL"
_OF_USER = "SELECT count(*) FROM access_keys WHERE account_id = $1 AND user_name = $2"
_ADD_ACCOUNT = """
    INSERT INTO accounts (account_id, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""
_ADD_KEY = f"""
    INSERT INTO access_keys ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""  # noqa: S608 -- ours
_SET_SECRET = "UPDATE access_keys SET secret_access_key = $2 WHERE access_key_id = $1"  # noqa: S105 -- SQL
_SET_USED = "UPDATE access_keys SET last_used_at = $2 WHERE access_key_id = $1"
_DELETE = "DELETE FROM access_keys WHERE access_key_id = $1"
_DELETE_OF = "DELETE FROM access_keys WHERE account_id = $1 AND user_name = $2"


class AccessKeys:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, access_key_id: str) -> AccessKeyRecord | None:
        rows = await self._database.fetch(_FIND, access_key_id)
        return _record(rows[0]) if rows else None

    async def all(self) -> list[AccessKeyRecord]:
        return [_record(row) for row in await self._database.fetch(_ALL)]

    async def sealed_otherwise(self, beginning: str) -> list[AccessKeyRecord]:
        """Those whose secrets do not begin so; of 19 characters."""
        return [_record(row) for row in await self._database.fetch(_SEALED_OTHERWISE, beginning)]

    async def ensure_root(
        self, *, account_id: str, access_key_id: str, secret_access_key: str, created_at: datetime
    ) -> AccessKeyRecord:
        """The first key of this database: this one, with its account, if there is none yet.

        Of servers that start at once on one database one stores its own; all are given that one.
        """
        key = AccessKeyRecord(
            account_id=account_id,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            created_at=created_at,
        )

        async def work(transaction: Transaction) -> AccessKeyRecord:
            await transaction.alone()
            rows = await transaction.fetch(_FIRST)
            if rows:
                return _record(rows[0])
            await transaction.execute(_ADD_ACCOUNT, account_id, to_micros(created_at))
            await transaction.execute(_ADD_KEY, *_row(key))
            await changed(transaction)
            return key

        return await self._database.write(work)

    async def add(self, key: AccessKeyRecord, *, most: int) -> None:
        """Raises QuotaReachedError when its owner has as many already."""

        async def work(transaction: Transaction) -> None:
            await transaction.alone()
            if key.user_name is None:
                ((there,),) = await transaction.fetch(_OF_ROOT, key.account_id)
            else:
                ((there,),) = await transaction.fetch(_OF_USER, key.account_id, key.user_name)
            if there >= most:
                raise QuotaReachedError
            await transaction.execute(_ADD_KEY, *_row(key))
            await changed(transaction)

        await self._database.write(work)

    async def replace_secrets(self, secrets: Mapping[str, str]) -> None:
        """By the key's id. Who calls and what they may do stays as it is."""
        await self._set(_SET_SECRET, list(secrets.items()))

    async def note_used(self, used: Mapping[str, datetime]) -> None:
        """When keys were last used, by id."""
        await self._set(_SET_USED, [(key, to_micros(at)) for key, at in used.items()])

    async def _set(self, sql: str, rows: Sequence[tuple[str, str | int]]) -> None:
        async def work(transaction: Transaction) -> None:
            for access_key_id, value in sorted(rows):
                await transaction.execute(sql, access_key_id, value)

        await self._database.write(work)


class KeyEditor:
    """Reads and writes within one transaction; whoever began it counts the change."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.has_changed = False

    async def find(self, access_key_id: str) -> AccessKeyRecord | None:
        rows = await self._transaction.fetch(_FIND, access_key_id)
        return _record(rows[0]) if rows else None

    async def declared(self) -> dict[str, AccessKeyRecord]:
        """By id, all that the configuration declared when it was last followed."""
        rows = await self._transaction.fetch(_DECLARED)
        return {key.access_key_id: key for key in map(_record, rows)}

    async def put(self, key: AccessKeyRecord) -> None:
        await self._transaction.execute(_DELETE, key.access_key_id)
        await self._transaction.execute(_ADD_KEY, *_row(key))
        self.has_changed = True

    async def delete(self, access_key_id: str) -> None:
        await self._transaction.execute(_DELETE, access_key_id)
        self.has_changed = True

    async def delete_of(self, account_id: str, user_name: str) -> None:
        """All of a user."""
        await self._transaction.execute(_DELETE_OF, account_id, user_name)
        self.has_changed = True


def _record(row: Row) -> AccessKeyRecord:
    return AccessKeyRecord(
        account_id=row[0],
        access_key_id=row[1],
        secret_access_key=row[2],
        created_at=from_micros(row[3]),
        user_name=row[4],
        status=row[5],
        region=row[6],
        expires_at=_moment(row[7]),
        last_used_at=_moment(row[8]),
        declared=bool(row[9]),
    )


def _row(key: AccessKeyRecord) -> tuple[str | int | None, ...]:
    return (
        key.account_id,
        key.access_key_id,
        key.secret_access_key,
        to_micros(key.created_at),
        key.user_name,
        key.status,
        key.region,
        None if key.expires_at is None else to_micros(key.expires_at),
        None if key.last_used_at is None else to_micros(key.last_used_at),
        key.declared,
    )


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
