"""Random secrets of this installation, shared by all servers on one database."""

from collections.abc import Callable
from secrets import token_bytes

from outcrop.store.database import Database, Transaction

_FIND = "SELECT secret FROM secrets WHERE name = $1"
_ADD = "INSERT INTO secrets (name, secret) VALUES ($1, $2) ON CONFLICT DO NOTHING"

_REPLACE = "UPDATE secrets SET secret = $2 WHERE name = $1"


class Secrets:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str, *, size_bytes: int = 32) -> bytes:
        """The secret of this name, made when it is first asked for."""
        return await self.adopt(name, lambda: token_bytes(size_bytes))

    async def adopt(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The secret of this name; `make` makes it when it is first asked for."""

        async def work(transaction: Transaction) -> bytes:
            await transaction.execute(_ADD, name, make())
            ((secret,),) = await transaction.fetch(_FIND, name)
            made: bytes = secret
            return made

        rows = await self._database.fetch(_FIND, name)
        return rows[0][0] if rows else await self._database.write(work)

    async def replace(self, name: str, secret: bytes) -> None:
        """Of one that is there."""

        async def work(transaction: Transaction) -> None:
            await transaction.execute(_REPLACE, name, secret)

        await self._database.write(work)
