"""Application inference profiles as they are stored."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from outcrop.store.client_tokens import first_record, remember
from outcrop.store.database import Database, Transaction, insertion
from outcrop.store.errors import QuotaReachedError
from outcrop.store.listed import Listed
from outcrop.store.records import ClientToken, InferenceProfileRecord
from outcrop.store.resource_policies import remove_policy
from outcrop.store.scopes import Scopes
from outcrop.store.tags import add_tags, remove_tags
from outcrop.wire.arn import Arn
from outcrop.wire.timestamps import Clock, from_micros, to_micros

KIND = "inference_profile"

TABLE = "inference_profiles"
COLUMNS = ("row_id", "scope_id", "inference_profile_id", "updated_at", "summary")
_INSERT = insertion(TABLE, COLUMNS)
_FIND = "SELECT summary FROM inference_profiles WHERE scope_id = $1 AND inference_profile_id = $2"
_DELETE = "DELETE FROM inference_profiles WHERE scope_id = $1 AND inference_profile_id = $2"


Position = tuple[int, str]
"""The place of a profile in every listing: `updatedAt` in microseconds, then its ARN."""


class _Model(Struct, frozen=True, rename="camel"):
    model_arn: str


class _Summary(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """InferenceProfileSummary, member by member. There is no rest: the ARN says whose it is."""

    inference_profile_name: str
    description: str | None = None
    created_at: datetime
    updated_at: datetime
    inference_profile_arn: str
    models: tuple[_Model, ...]
    inference_profile_id: str
    status: Literal["ACTIVE"]
    type: Literal["APPLICATION"]


class _Place(Struct, frozen=True, rename="camel"):
    updated_at: datetime
    inference_profile_arn: str


_decode_place = msgspec.json.Decoder(_Place).decode
_decode_summary = msgspec.json.Decoder(_Summary).decode
_encode = msgspec.json.Encoder().encode


class InferenceProfiles:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._scopes = Scopes(database, KIND)
        self._clock = clock
        walk = database.walk(("scope_id",), "updated_at", descending=False)
        self._page = (
            f"SELECT summary FROM inference_profiles WHERE {walk.where}"  # noqa: S608 -- ours
            f" ORDER BY {walk.order_by} LIMIT $4"
        )

    async def arns(self) -> list[tuple[str, str]]:
        """ARN and name of every profile, of all accounts and Regions."""
        rows = await self._database.fetch("SELECT summary FROM inference_profiles")
        summaries = [_decode_summary(summary) for (summary,) in rows]
        return [(one.inference_profile_arn, one.inference_profile_name) for one in summaries]

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
            first = await first_record(transaction, scope, client_token, to_micros(now), type(new))
            if first is not None:
                return first
            if scope.live_count >= quota:
                raise QuotaReachedError
            row_id, micros = scope.create(now)
            moment = from_micros(micros)
            record = replace(new, created_at=moment, updated_at=moment)
            row = row_of(row_id, scope.scope_id, record)
            await transaction.execute(_INSERT, *row)
            await add_tags(transaction, record.inference_profile_arn, tags)
            await remember(transaction, scope, client_token, record)
            await scope.save(transaction)
            return record

        return await self._database.write(work)

    async def find(
        self, account_id: str, region: str, inference_profile_id: str
    ) -> InferenceProfileRecord | None:
        scope_id = await self._scopes.find(account_id, region)
        rows = await self._database.fetch(_FIND, scope_id, inference_profile_id)
        return decode(rows[0][0]) if rows else None

    async def delete(self, account_id: str, region: str, inference_profile_id: str) -> bool:
        """Whether there was one. Its tags and its policy go with it."""

        async def work(transaction: Transaction) -> bool:
            scope = await self._scopes.lock(transaction, account_id, region)
            if scope is None:
                return False
            rows = await transaction.fetch(_FIND, scope.scope_id, inference_profile_id)
            if not rows:
                return False
            await transaction.execute(_DELETE, scope.scope_id, inference_profile_id)
            arn = decode(rows[0][0]).inference_profile_arn
            await remove_tags(transaction, arn)
            await remove_policy(transaction, arn)
            scope.live_count -= 1
            await scope.save(transaction)
            return True

        return await self._database.write(work)

    async def page(
        self,
        account_id: str,
        region: str,
        *,
        after: Position | None,
        until: int | None = None,
        limit: int,
    ) -> list[Listed]:
        """In order, those that come after `after`.

        `until`: none that is younger, in microseconds.
        """
        scope_id = await self._scopes.find(account_id, region)
        if scope_id is None:
            return []
        moment = after[0] if after else -1
        # At the very microsecond of `after` there is one at most: it may come before or after it.
        end = _END if until is None else until + 1
        rows = await self._database.fetch(self._page, scope_id, moment - 1, end, limit + 1)
        summaries: list[Listed] = [summary for (summary,) in rows]
        if after and summaries and position_of(summaries[0]) <= after:
            del summaries[0]
        return summaries[:limit]


_END = 1 << 62


@lru_cache(maxsize=1_024)
def position_of(summary: Listed) -> Position:
    """Remembered, since a page that is asked for again mostly ends where it ended before."""
    placed = _decode_place(summary)
    return to_micros(placed.updated_at), placed.inference_profile_arn


def decode(text: str) -> InferenceProfileRecord:
    summary = _decode_summary(text)
    arn = Arn.parse(summary.inference_profile_arn)
    return InferenceProfileRecord(
        account_id=arn.account_id,
        region=arn.region,
        inference_profile_id=summary.inference_profile_id,
        inference_profile_arn=summary.inference_profile_arn,
        inference_profile_name=summary.inference_profile_name,
        description=summary.description,
        model_arns=tuple(model.model_arn for model in summary.models),
        created_at=summary.created_at,
        updated_at=summary.updated_at,
    )


def encode(record: InferenceProfileRecord) -> str:
    summary = _Summary(
        inference_profile_name=record.inference_profile_name,
        description=record.description,
        created_at=record.created_at,
        updated_at=record.updated_at,
        inference_profile_arn=record.inference_profile_arn,
        models=tuple(map(_Model, record.model_arns)),
        inference_profile_id=record.inference_profile_id,
        status="ACTIVE",
        type="APPLICATION",
    )
    return _encode(summary).decode()


def row_of(
    row_id: int, scope_id: int, record: InferenceProfileRecord
) -> tuple[int, int, str, int, str]:
    return (
        row_id,
        scope_id,
        record.inference_profile_id,
        to_micros(record.updated_at),
        encode(record),
    )
