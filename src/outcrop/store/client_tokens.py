"""Client tokens: a request that is sent again is answered as it was the first time."""

from datetime import timedelta
from typing import TypeVar

import msgspec
from msgspec import Struct

from outcrop.store.database import Transaction
from outcrop.store.errors import ClientTokenMismatchError
from outcrop.store.records import ClientToken
from outcrop.store.scopes import Scope

RecordT = TypeVar("RecordT", bound=Struct)

LIFETIME = timedelta(hours=24)
"""Amazon documents none for Bedrock, and mostly this elsewhere. The resource may go before."""

_LIFETIME_MICROS = LIFETIME // timedelta(microseconds=1)
_AT_A_TIME = 8

_FIND = """
    SELECT fingerprint, record FROM client_tokens
    WHERE scope_id = $1 AND operation = $2 AND token = $3 AND created_at > $4
"""
_ADD = """
    INSERT INTO client_tokens (scope_id, operation, token, fingerprint, record, created_at)
    VALUES ($1, $2, $3, $4, $5, $6)
"""
_OLD = """
    SELECT operation, token FROM client_tokens WHERE scope_id = $1 AND created_at <= $2
    ORDER BY scope_id, created_at LIMIT $3
"""
_DROP = "DELETE FROM client_tokens WHERE scope_id = $1 AND operation = $2 AND token = $3"


async def first_record(
    transaction: Transaction,
    scope: Scope,
    client_token: ClientToken | None,
    now: int,
    record_type: type[RecordT],
) -> RecordT | None:
    """The record that the first request with this token created.

    Raises ClientTokenMismatchError where its parameters were others. `now` in microseconds.
    """
    if client_token is None:
        return None
    oldest = _oldest(scope, now)
    rows = await transaction.fetch(
        _FIND, scope.scope_id, client_token.operation, client_token.token, oldest
    )
    if not rows:
        return None
    fingerprint, record = rows[0]
    if fingerprint != client_token.fingerprint:
        raise ClientTokenMismatchError
    return msgspec.json.decode(record, type=record_type)


async def remember(
    transaction: Transaction, scope: Scope, client_token: ClientToken | None, record: Struct
) -> None:
    """Keeps the token of a record that was just created, and drops a few that are too old."""
    now = scope.last_created_at
    for operation, token in await transaction.fetch(
        _OLD, scope.scope_id, _oldest(scope, now), _AT_A_TIME
    ):
        await transaction.execute(_DROP, scope.scope_id, operation, token)
    if client_token is None:
        return
    await transaction.execute(_DROP, scope.scope_id, client_token.operation, client_token.token)
    await transaction.execute(
        _ADD,
        scope.scope_id,
        client_token.operation,
        client_token.token,
        client_token.fingerprint,
        msgspec.json.encode(record).decode(),
        now,
    )


def _oldest(scope: Scope, now: int) -> int:
    return max(now, scope.last_created_at) - _LIFETIME_MICROS
