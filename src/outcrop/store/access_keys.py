"""Accounts and the keys that sign for them."""

from datetime import datetime

from outcrop.store.database import Database, Row, Transaction
from outcrop.store.records import AccessKeyRecord
from outcrop.wire.timestamps import from_micros, to_micros

_COLUMNS = "account_id, access_key_id, secret_access_key, created_at"
_FIND = f"SELECT {_COLUMNS} FROM access_keys WHERE access_key_id = $1"  # noqa: S608 -- ours
_FIRST = f"""
    SELECT {_COLUMNS} FROM access_keys
    WHERE created_at = (SELECT min(created_at) FROM access_keys) LIMIT 1
"""  # noqa: S608 -- ours
_ADD_ACCOUNT = """
    INSERT INTO accounts (account_id, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""
_ADD_KEY = f"INSERT INTO access_keys ({_COLUMNS}) VALUES ($1, $2, $3, $4)"  # noqa: S608 -- ours


class AccessKeys:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, access_key_id: str) -> AccessKeyRecord | None:
        rows = await self._database.fetch(_FIND, access_key_id)
        return _record(rows[0]) if rows else None

    async def ensure_root(
        self, *, account_id: str, access_key_id: str, secret_access_key: str, created_at: datetime
    ) -> AccessKeyRecord:
        """The first key of this database: this one, with its account, if there is none yet.

        Of servers that start at once on one database one stores its own; all are given that one.
        """

        async def work(transaction: Transaction) -> AccessKeyRecord:
            await transaction.alone()
            rows = await transaction.fetch(_FIRST)
            if rows:
                return _record(rows[0])
            row = (account_id, access_key_id, secret_access_key, to_micros(created_at))
            await transaction.execute(_ADD_ACCOUNT, account_id, row[-1])
            await transaction.execute(_ADD_KEY, *row)
            return _record(row)

        return await self._database.write(work)


def _record(row: Row) -> AccessKeyRecord:
    return AccessKeyRecord(
        account_id=row[0],
        access_key_id=row[1],
        secret_access_key=row[2],
        created_at=from_micros(row[3]),
    )
