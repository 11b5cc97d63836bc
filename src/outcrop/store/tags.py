"""Tags on inference profiles and provisioned model throughputs, by the ARN of the resource."""

from collections.abc import Iterable, Mapping

from outcrop.store.database import Database, Transaction
from outcrop.store.errors import TooManyTagsError
from outcrop.store.resources import Resources

LIMIT = 50
"""Of tags on one resource (the shape documentation of TooManyTagsException)."""

_OF = "SELECT tag_key, tag_value FROM tags WHERE resource_arn = $1"
_PUT = """
    INSERT INTO tags (resource_arn, tag_key, tag_value) VALUES ($1, $2, $3)
    ON CONFLICT (resource_arn, tag_key) DO UPDATE SET tag_value = excluded.tag_value
"""
_REMOVE = "DELETE FROM tags WHERE resource_arn = $1 AND tag_key = $2"
_REMOVE_ALL = "DELETE FROM tags WHERE resource_arn = $1"


class Tags:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._resources = Resources(database)

    async def of(self, resource_arn: str) -> list[tuple[str, str]]:
        """By key. Raises ResourceGoneError, as all of these do where there is no such resource."""
        await self._resources.require(resource_arn)
        rows = await self._database.fetch(_OF, resource_arn)
        return sorted((key, value) for key, value in rows)

    async def current(self, resource_arn: str) -> tuple[tuple[str, str], ...]:
        """By key; none for what is not there."""
        rows = await self._database.fetch(_OF, resource_arn)
        return tuple(sorted((key, value) for key, value in rows))

    async def put(self, resource_arn: str, tags: Mapping[str, str], *, limit: int = LIMIT) -> None:
        """Adds tags, or gives those that are there their new values. Raises TooManyTagsError."""

        async def work(transaction: Transaction) -> None:
            await self._resources.lock(transaction, resource_arn)
            there = {key for key, _ in await transaction.fetch(_OF, resource_arn)}
            if len(there | set(tags)) > limit:
                raise TooManyTagsError
            await add_tags(transaction, resource_arn, tags)

        await self._database.write(work)

    async def remove(self, resource_arn: str, keys: Iterable[str]) -> None:
        """Keys that are not there do not matter."""

        async def work(transaction: Transaction) -> None:
            await self._resources.lock(transaction, resource_arn)
            for key in keys:
                await transaction.execute(_REMOVE, resource_arn, key)

        await self._database.write(work)


async def add_tags(transaction: Transaction, resource_arn: str, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        await transaction.execute(_PUT, resource_arn, key, value)


async def remove_tags(transaction: Transaction, resource_arn: str) -> None:
    await transaction.execute(_REMOVE_ALL, resource_arn)
