"""Where invocations are logged to: one configuration for each account and Region."""

from collections.abc import Mapping

from outcrop.store.database import Database, Transaction

_ALL = "SELECT account_id, region, configuration FROM logging_configurations"
_FIND = """
    SELECT configuration FROM logging_configurations WHERE account_id = $1 AND region = $2
"""
_PUT = """
    INSERT INTO logging_configurations (account_id, region, configuration) VALUES ($1, $2, $3)
    ON CONFLICT (account_id, region) DO UPDATE SET configuration = excluded.configuration
"""
_DELETE = "DELETE FROM logging_configurations WHERE account_id = $1 AND region = $2"


class LoggingConfigurations:
    """A configuration is JSON, as the caller wrote it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Mapping[tuple[str, str], str]:
        """By account and Region."""
        rows = await self._database.fetch(_ALL)
        return {(account_id, region): configuration for account_id, region, configuration in rows}

    async def find(self, account_id: str, region: str) -> str | None:
        rows = await self._database.fetch(_FIND, account_id, region)
        return rows[0][0] if rows else None

    async def put(self, account_id: str, region: str, configuration: str) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.execute(_PUT, account_id, region, configuration)

        await self._database.write(work)

    async def delete(self, account_id: str, region: str) -> None:
        """What is not there need not be."""

        async def work(transaction: Transaction) -> None:
            await transaction.execute(_DELETE, account_id, region)

        await self._database.write(work)
