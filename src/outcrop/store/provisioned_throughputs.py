"""Provisioned model throughputs as they are stored."""

from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import replace

from outcrop.store.capacity import Capacity, Room, RoomForAll
from outcrop.store.client_tokens import first_record, remember
from outcrop.store.database import Database, Row, Transaction
from outcrop.store.errors import NameTakenError, QuotaReachedError
from outcrop.store.listed import Page
from outcrop.store.name_index import BLOCK_BITS, LIVE, row_features
from outcrop.store.name_search import NameSearch
from outcrop.store.records import (
    ClientToken,
    ProvisionedModelThroughputFilters,
    ProvisionedModelThroughputRecord,
)
from outcrop.store.resource_policies import remove_policy
from outcrop.store.scopes import Scope, Scopes
from outcrop.store.tags import add_tags, remove_tags
from outcrop.store.throughput_history import keep_deleted
from outcrop.store.throughput_pages import LOOKED_AT_MOST, Listing, ThroughputPages
from outcrop.store.throughput_rows import INSERT, UPDATE, change_of, decode, features_of, row_of
from outcrop.wire.timestamps import Clock, from_micros, to_micros

KIND = "provisioned_model_throughput"

_DELETE = "DELETE FROM provisioned_model_throughputs WHERE row_id = $1"
_BY_ID = """
    SELECT summary, rest FROM provisioned_model_throughputs
    WHERE scope_id = $1 AND provisioned_model_id = $2
"""
_BY_NAME = """
    SELECT summary, rest FROM provisioned_model_throughputs
    WHERE scope_id = $1 AND provisioned_model_name = $2
"""
_CURRENT = """
    SELECT row_id, provisioned_model_name, status, model_arn FROM provisioned_model_throughputs
    WHERE scope_id = $1 AND provisioned_model_id = $2 AND version = $3
"""
_DUE = """
    SELECT summary, rest FROM provisioned_model_throughputs
    WHERE due_at <= $1 ORDER BY due_at LIMIT $2
"""
_NEXT_DUE = """
    SELECT due_at FROM provisioned_model_throughputs WHERE due_at IS NOT NULL
    ORDER BY due_at LIMIT 1
"""

ROOM_FOR_ALL = RoomForAll()


class ProvisionedModelThroughputs:
    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        block_bits: int = BLOCK_BITS,
        looked_at_most: int = LOOKED_AT_MOST,
    ) -> None:
        self._database = database
        self._scopes = Scopes(database, KIND)
        self._clock = clock
        self._capacity = Capacity(database)
        self._names = NameSearch(database, block_bits)
        self._pages = ThroughputPages(database, self._names, looked_at_most)

    async def create(
        self,
        new: ProvisionedModelThroughputRecord,
        *,
        tags: Mapping[str, str],
        client_token: ClientToken | None,
        quota: int | None,
    ) -> ProvisionedModelThroughputRecord:
        """The record as stored, its times set; for a client token seen before, its first record.

        Raises ClientTokenMismatchError, QuotaReachedError and NameTakenError, in this order.
        """

        async def work(transaction: Transaction) -> ProvisionedModelThroughputRecord:
            now = self._clock()
            scope = await self._scopes.lock_or_add(transaction, new.account_id, new.region)
            first = await first_record(transaction, scope, client_token, to_micros(now), type(new))
            if first is not None:
                return first
            if quota is not None and scope.live_count >= quota:
                raise QuotaReachedError
            await _require_free(transaction, scope, new.provisioned_model_name)
            row_id, micros = scope.create(now)
            moment = from_micros(micros)
            record = _created(new, moment)
            row = row_of(row_id, scope.scope_id, record)
            await transaction.execute(INSERT, *row)
            await add_tags(transaction, record.provisioned_model_arn, tags)
            await remember(transaction, scope, client_token, record)
            await self._names.created(transaction, scope, row_id)
            await scope.save(transaction)
            return record

        return await self._database.write(work)

    async def find(
        self,
        account_id: str,
        region: str,
        *,
        provisioned_model_id: str | None = None,
        name: str | None = None,
    ) -> ProvisionedModelThroughputRecord | None:
        """By one of the two."""
        scope_id = await self._scopes.find(account_id, region)
        query = _BY_ID if provisioned_model_id is not None else _BY_NAME
        rows = await self._database.fetch(query, scope_id, provisioned_model_id or name)
        return decode(*rows[0]) if rows else None

    async def replace(
        self,
        before: ProvisionedModelThroughputRecord,
        after: ProvisionedModelThroughputRecord,
        *,
        room: Room = ROOM_FOR_ALL,
    ) -> bool:
        """Stores `after`, its version raised, if the stored record still has `before`'s version.

        What it holds changes with it, in the same transaction. Raises NameTakenError, and
        NoRoomError where `room` refuses what `after` would hold.
        """

        async def work(transaction: Transaction) -> bool:
            scope, row = await self._lock_current(transaction, before)
            if scope is None or row is None:
                return False
            if after.provisioned_model_name != row[1]:
                await _require_free(transaction, scope, after.provisioned_model_name)
            await self._capacity.move(transaction, before, after, room)
            stored = replace(after, version=before.version + 1)
            await transaction.execute(UPDATE, *change_of(row[0], stored))
            had, has = row_features(row[1], row[2], row[3]), features_of(stored)
            await self._names.changed(transaction, scope, row[0], lost=had - has, won=has - had)
            return True

        return await self._database.write(work)

    async def delete(self, before: ProvisionedModelThroughputRecord) -> bool:
        """Whether it was there in `before`'s version.

        Its tags and its policy go with it; its units are free.
        """

        async def work(transaction: Transaction) -> bool:
            scope, row = await self._lock_current(transaction, before)
            if scope is None or row is None:
                return False
            await transaction.execute(_DELETE, row[0])
            await self._capacity.move(transaction, before, None, ROOM_FOR_ALL)
            await keep_deleted(transaction, before, self._clock())
            await remove_tags(transaction, before.provisioned_model_arn)
            await remove_policy(transaction, before.provisioned_model_arn)
            await self._names.changed(transaction, scope, row[0], lost={LIVE}, won=())
            scope.live_count -= 1
            await scope.save(transaction)
            return True

        return await self._database.write(work)

    async def page(
        self,
        account_id: str,
        region: str,
        *,
        filters: ProvisionedModelThroughputFilters,
        descending: bool,
        after: int | None,
        limit: int,
    ) -> Page:
        """In order of creation; `after` is where the page before it says that the listing goes on.

        A page takes milliseconds, whatever names there are: a search for a part of a name gives up
        after so many that could have it and do not, and goes on there with the next page.
        """
        scope_id = await self._scopes.find(account_id, region)
        if scope_id is None:
            return Page([], None)
        listing = Listing(scope_id=scope_id, filters=filters, descending=descending)
        return await self._pages.page(listing, after=after, limit=limit)

    async def due(self, now: datetime, limit: int) -> list[ProvisionedModelThroughputRecord]:
        """Of all accounts, those that something is to happen to, the longest overdue first."""
        rows = await self._database.fetch(_DUE, to_micros(now), limit)
        return [decode(*row) for row in rows]

    async def next_due(self) -> datetime | None:
        rows = await self._database.fetch(_NEXT_DUE)
        return from_micros(rows[0][0]) if rows else None

    async def _lock_current(
        self, transaction: Transaction, record: ProvisionedModelThroughputRecord
    ) -> tuple[Scope | None, Row | None]:
        scope = await self._scopes.lock(transaction, record.account_id, record.region)
        if scope is None:
            return None, None
        rows = await transaction.fetch(
            _CURRENT, scope.scope_id, record.provisioned_model_id, record.version
        )
        return scope, rows[0] if rows else None


async def _require_free(transaction: Transaction, scope: Scope, name: str) -> None:
    if await transaction.fetch(_BY_NAME, scope.scope_id, name):
        raise NameTakenError


def _created(
    new: ProvisionedModelThroughputRecord, moment: datetime
) -> ProvisionedModelThroughputRecord:
    """As created at `moment`: a term that was counted from the clock's moment moves along."""
    end = new.commitment_expiration_time
    return replace(
        new,
        creation_time=moment,
        last_modified_time=moment,
        commitment_expiration_time=end and end + (moment - new.creation_time),
        version=1,
    )
