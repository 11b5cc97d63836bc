"""Scopes: what one account has of one kind in one Region, its count and its order.

Whoever changes something in a scope first locks its row. That makes quotas, unique names and the
order of creation exact, on both engines and from any number of servers.
"""

from datetime import datetime

from msgspec import Struct

from outcrop.store.database import Database, Transaction
from outcrop.wire.timestamps import to_micros

_NUMBER_BITS = 36

_FIND = "SELECT scope_id FROM scopes WHERE kind = $1 AND account_id = $2 AND region = $3"
_LOCK = """
    SELECT scope_id, live_count, created_count, last_created_at, sealed_until FROM scopes
    WHERE kind = $1 AND account_id = $2 AND region = $3 FOR UPDATE
"""
_ADD = """
    INSERT INTO scopes (
        kind, account_id, region, live_count, created_count, last_created_at, sealed_until
    ) VALUES ($1, $2, $3, 0, 0, 0, 0) ON CONFLICT DO NOTHING
"""
_SAVE = """
    UPDATE scopes SET live_count = $2, created_count = $3, last_created_at = $4, sealed_until = $5
    WHERE scope_id = $1
"""


class Scope(Struct):
    """A locked scope; `save` keeps what was changed in it."""

    scope_id: int
    live_count: int
    created_count: int
    last_created_at: int
    """Microseconds, as `sealed_until`."""
    sealed_until: int
    """Creation of the last row that is in a full block (store/name_index.py)."""

    def create(self, now: datetime) -> tuple[int, int]:
        """The number of one more row, and the moment it counts as created, in microseconds.

        The moments of a scope differ and ascend even when the clock does not: they are the order
        of listings, and a place in it.
        """
        row_id = row_id_of(self.scope_id, self.created_count)
        self.live_count += 1
        self.created_count += 1
        self.last_created_at = max(to_micros(now), self.last_created_at + 1)
        return row_id, self.last_created_at

    async def save(self, transaction: Transaction) -> None:
        await transaction.execute(
            _SAVE,
            self.scope_id,
            self.live_count,
            self.created_count,
            self.last_created_at,
            self.sealed_until,
        )


class Scopes:
    def __init__(self, database: Database, kind: str) -> None:
        self._database = database
        self._kind = kind
        # A scope is never taken away.
        self._known: dict[tuple[str, str], int] = {}

    async def find(self, account_id: str, region: str) -> int | None:
        """Its id; None when nothing was ever created in it."""
        scope_id = self._known.get((account_id, region))
        if scope_id is None:
            rows = await self._database.fetch(_FIND, self._kind, account_id, region)
            if not rows:
                return None
            scope_id = self._known[account_id, region] = rows[0][0]
        return scope_id

    async def lock(self, transaction: Transaction, account_id: str, region: str) -> Scope | None:
        rows = await transaction.fetch(_LOCK, self._kind, account_id, region)
        return Scope(*rows[0]) if rows else None

    async def lock_or_add(self, transaction: Transaction, account_id: str, region: str) -> Scope:
        scope = await self.lock(transaction, account_id, region)
        if scope is None:
            await transaction.execute(_ADD, self._kind, account_id, region)
            scope = await self.lock(transaction, account_id, region)
        assert scope
        return scope


def row_id_of(scope_id: int, number: int) -> int:
    return scope_id << _NUMBER_BITS | number
