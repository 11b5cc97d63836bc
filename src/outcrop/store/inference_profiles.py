"""Application inference profiles as they are stored."""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from outcrop.store.client_tokens import first_record, remember
from outcrop.store.database import Database, Transaction, insertion
from outcrop.store.errors import QuotaReachedError
from outcrop.store.records import ClientToken, InferenceProfileRecord
from outcrop.store.scopes import Scopes
from outcrop.store.tags import add_tags, remove_tags
from outcrop.wire.timestamps import Clock, from_micros, to_micros

KIND = "inference_profile"

TABLE = "inference_profiles"
COLUMNS = ("row_id", "scope_id", "inference_profile_id", "updated_at", "record")
_INSERT = insertion(TABLE, COLUMNS)
_FIND = "SELECT record FROM inference_profiles WHERE scope_id = $1 AND inference_profile_id = $2"
_DELETE = "DELETE FROM inference_profiles WHERE scope_id = $1 AND inference_profile_id = $2"

_decode = msgspec.json.Decoder(InferenceProfileRecord).decode
_encode = msgspec.json.Encoder().encode


class InferenceProfiles:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._scopes = Scopes(database, KIND)
        self._clock = clock
        walk = database.walk(("scope_id",), "updated_at", descending=False)
        self._page = (
            f"SELECT record FROM inference_profiles WHERE {walk.where}"  # noqa: S608 -- ours
            f" ORDER BY {walk.order_by} LIMIT $4"
        )

    async def create(
        self,
        new: InferenceProfileRecord,
        *,
        tags: Mapping[str, str],
        client_token: ClientToken | None,
        quota: int,
    ) -> InferenceProfileRecord:
        """The record as stored, its times set; for a client token seen before, its first record.

        Raises ClientTokenMismatchError and QuotaReachedError.
        """

        async def work(transaction: Transaction) -> InferenceProfileRecord:
            now = self._clock()
            scope = await self._scopes.lock_or_add(transaction, new.account_id, new.region)
            first = await first_record(transaction, scope, client_token, to_micros(now))
            if first is not None:
                return _decode(first)
            if scope.live_count >= quota:
                raise QuotaReachedError
            row_id, micros = scope.create(now)
            moment = from_micros(micros)
            record = replace(new, created_at=moment, updated_at=moment)
            row = row_of(row_id, scope.scope_id, record)
            await transaction.execute(_INSERT, *row)
            await add_tags(transaction, record.inference_profile_arn, tags)
            await remember(transaction, scope, client_token, row[-1])
            await scope.save(transaction)
            return record

        return await self._database.write(work)

    async def find(
        self, account_id: str, region: str, inference_profile_id: str
    ) -> InferenceProfileRecord | None:
        scope_id = await self._scopes.find(account_id, region)
        rows = await self._database.fetch(_FIND, scope_id, inference_profile_id)
        return _decode(rows[0][0]) if rows else None

    async def delete(self, account_id: str, region: str, inference_profile_id: str) -> bool:
        """Whether there was one. Its tags go with it."""

        async def work(transaction: Transaction) -> bool:
            scope = await self._scopes.lock(transaction, account_id, region)
            if scope is None:
                return False
            rows = await transaction.fetch(_FIND, scope.scope_id, inference_profile_id)
            if not rows:
                return False
            await transaction.execute(_DELETE, scope.scope_id, inference_profile_id)
            await remove_tags(transaction, _decode(rows[0][0]).inference_profile_arn)
            scope.live_count -= 1
            await scope.save(transaction)
            return True

        return await self._database.write(work)

    async def page(
        self, account_id: str, region: str, *, after: tuple[int, str] | None, limit: int
    ) -> list[InferenceProfileRecord]:
        """In order of (`updated_at` in microseconds, ARN), those that come after `after`."""
        scope_id = await self._scopes.find(account_id, region)
        if scope_id is None:
            return []
        after = after or (-1, "")
        # At the very microsecond of `after` there is one at most: it may come before or after it.
        rows = await self._database.fetch(self._page, scope_id, after[0] - 1, _END, limit + 1)
        records = [_decode(record) for (record,) in rows]
        return [record for record in records if position(record) > after][:limit]


_END = 1 << 62


def position(record: InferenceProfileRecord) -> tuple[int, str]:
    return to_micros(record.updated_at), record.inference_profile_arn


def row_of(
    row_id: int, scope_id: int, record: InferenceProfileRecord
) -> tuple[int, int, str, int, str]:
    return (
        row_id,
        scope_id,
        record.inference_profile_id,
        to_micros(record.updated_at),
        _encode(record).decode(),
    )
