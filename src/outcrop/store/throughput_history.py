"""When which model units were held, those that are given back by now included."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct, json

from outcrop.store.database import Database, Transaction, insertion
from outcrop.store.records import ProvisionedModelThroughputRecord
from outcrop.store.scopes import row_id_of
from outcrop.store.throughput_rows import decode, encode
from outcrop.wire.timestamps import from_micros, to_micros

_KEEP = insertion(
    "provisioned_model_history",
    ("account_id", "deleted_at", "provisioned_model_arn", "summary", "rest", "tags"),
)
_TAGS = "SELECT tag_key, tag_value FROM tags WHERE resource_arn = $1"
_SCOPES = "SELECT scope_id FROM scopes WHERE kind = $1 AND account_id = $2"
_LIVE = """
    SELECT summary, rest FROM provisioned_model_throughputs
    WHERE row_id >= $1 AND row_id < $2
"""
_GONE = """
    SELECT deleted_at, summary, rest, tags FROM provisioned_model_history
    WHERE account_id = $1 AND deleted_at > $2
"""
_ACCOUNTS = "SELECT DISTINCT account_id FROM scopes WHERE kind = $1"
_KIND = "provisioned_model_throughput"

_decode_tags = json.Decoder(tuple[tuple[str, str], ...]).decode


class Held(Struct, frozen=True, kw_only=True):
    """A provisioned model, and when it held its units."""

    record: ProvisionedModelThroughputRecord
    tags: tuple[tuple[str, str], ...]
    """As they are, or were when it was deleted."""
    until: datetime | None
    """None: it is still there."""


class ProvisionedHours:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def held(self, account_id: str, *, since: datetime) -> Sequence[Held]:
        """Those that were there after `since`; one whose creation failed never held any."""
        gone = [
            Held(
                record=decode(summary, rest),
                tags=_decode_tags(tags),
                until=from_micros(deleted_at),
            )
            for deleted_at, summary, rest, tags in await self._database.fetch(
                _GONE, account_id, to_micros(since)
            )
        ]
        return [held for held in (*gone, *await self._live(account_id)) if _holds(held.record)]

    async def accounts(self) -> list[str]:
        """Those that ever had a provisioned model."""
        return sorted(row[0] for row in await self._database.fetch(_ACCOUNTS, _KIND))

    async def _live(self, account_id: str) -> Sequence[Held]:
        live: list[Held] = []
        for (scope_id,) in await self._database.fetch(_SCOPES, _KIND, account_id):
            bounds = row_id_of(scope_id, 0), row_id_of(scope_id + 1, 0)
            for summary, rest in await self._database.fetch(_LIVE, *bounds):
                record = decode(summary, rest)
                rows = await self._database.fetch(_TAGS, record.provisioned_model_arn)
                tags = tuple(sorted((key, value) for key, value in rows))
                live.append(Held(record=record, tags=tags, until=None))
        return live


async def keep_deleted(
    transaction: Transaction, record: ProvisionedModelThroughputRecord, now: datetime
) -> None:
    """Before its tags go."""
    tags = await transaction.fetch(_TAGS, record.provisioned_model_arn)
    # A clock that was set back must not have it end before it began.
    deleted_at = max(now, record.creation_time)
    await transaction.execute(
        _KEEP,
        record.account_id,
        to_micros(deleted_at),
        record.provisioned_model_arn,
        *encode(record),
        json.encode(sorted((key, value) for key, value in tags)).decode(),
    )


def _holds(record: ProvisionedModelThroughputRecord) -> bool:
    """A creation that failed is a record's first change; a later failure is that of an update."""
    return record.status != "Failed" or record.version > 2
