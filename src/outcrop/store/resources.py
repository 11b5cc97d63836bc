"""What tags and policies can be attached to: whether it is there, and held for a transaction."""

from collections.abc import Mapping
from typing import NamedTuple

from outcrop.store.database import Database, Transaction
from outcrop.store.errors import ResourceGoneError
from outcrop.store.scopes import Scopes
from outcrop.wire.arn import Arn


class _Kind(NamedTuple):
    name: str
    find: str


_KINDS: Mapping[str, _Kind] = {
    "application-inference-profile": _Kind(
        "inference_profile",
        "SELECT 1 FROM inference_profiles WHERE scope_id = $1 AND inference_profile_id = $2",
    ),
    "provisioned-model": _Kind(
        "provisioned_model_throughput",
        "SELECT 1 FROM provisioned_model_throughputs"
        " WHERE scope_id = $1 AND provisioned_model_id = $2",
    ),
}


class Resources:
    """Raises ResourceGoneError where there is no such resource."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._scopes = {kind.name: Scopes(database, kind.name) for kind in _KINDS.values()}

    async def require(self, resource_arn: str) -> None:
        arn, kind = _parsed(resource_arn)
        scope_id = await self._scopes[kind.name].find(arn.account_id, arn.region)
        if not await self._database.fetch(kind.find, scope_id, arn.resource_id):
            raise ResourceGoneError

    async def lock(self, transaction: Transaction, resource_arn: str) -> None:
        """Until the transaction ends, nobody takes it away."""
        arn, kind = _parsed(resource_arn)
        scope = await self._scopes[kind.name].lock(transaction, arn.account_id, arn.region)
        if not scope or not await transaction.fetch(kind.find, scope.scope_id, arn.resource_id):
            raise ResourceGoneError


def _parsed(resource_arn: str) -> tuple[Arn, _Kind]:
    try:
        arn = Arn.parse(resource_arn)
        return arn, _KINDS[arn.resource_type]
    except (ValueError, KeyError):
        raise ResourceGoneError from None
