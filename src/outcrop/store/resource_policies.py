"""Policies at inference profiles and provisioned models, by the ARN of the resource."""

from outcrop.store.database import Database, Transaction
from outcrop.store.identity_version import changed
from outcrop.store.resources import Resources

_ARNS = "SELECT resource_arn FROM resource_policies"
_FIND = "SELECT document FROM resource_policies WHERE resource_arn = $1"
_PUT = """
    INSERT INTO resource_policies (resource_arn, document) VALUES ($1, $2)
    ON CONFLICT (resource_arn) DO UPDATE SET document = excluded.document
"""
_DELETE = "DELETE FROM resource_policies WHERE resource_arn = $1"


class ResourcePolicies:
    """A policy is its document, as the caller wrote it. Every change is one of identities."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._resources = Resources(database)

    async def arns(self) -> frozenset[str]:
        """Of every resource that has one."""
        return frozenset(arn for (arn,) in await self._database.fetch(_ARNS))

    async def find(self, resource_arn: str) -> str | None:
        rows = await self._database.fetch(_FIND, resource_arn)
        return rows[0][0] if rows else None

    async def put(self, resource_arn: str, document: str) -> None:
        """In place of the one that is there. Raises ResourceGoneError."""

        async def work(transaction: Transaction) -> None:
            await self._resources.lock(transaction, resource_arn)
            await transaction.execute(_PUT, resource_arn, document)
            await changed(transaction)

        await self._database.write(work)

    async def delete(self, resource_arn: str) -> bool:
        """Whether there was one."""

        async def work(transaction: Transaction) -> bool:
            return await remove_policy(transaction, resource_arn)

        return await self._database.write(work)


async def remove_policy(transaction: Transaction, resource_arn: str) -> bool:
    """Whether there was one."""
    if not await transaction.execute(_DELETE, resource_arn):
        return False
    await changed(transaction)
    return True
