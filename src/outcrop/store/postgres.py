"""PostgreSQL: a pool of connections, and settings that keep the planner to the index we mean."""

from asyncio import timeout
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from typing import Any, Protocol, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs] -- it has none

from outcrop.store.database import Row, T, Value, Walk, Work
from outcrop.store.errors import StoreError, StoreUnavailableError

_CONNECTIONS = 10
_CONNECT_S = 10.0
_CLOSE_S = 2.0
_STATEMENT_S = 30.0
_ALONE = 0x6F757463726F70  # "outcrop": the advisory lock's number

# Every query here is answered by an index in the order of that index. A planner that may sort
# thinks, of a table it has not counted lately, that sorting a million rows is cheap.
_SETTINGS = {
    "application_name": "outcrop",
    "enable_bitmapscan": "off",
    "enable_incremental_sort": "off",
    "enable_seqscan": "off",
    "enable_sort": "off",
    "idle_in_transaction_session_timeout": "30s",  # a server that is cut off holds its locks
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}


class _Connection(Protocol):
    """What is used of asyncpg, which has no types."""

    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]: ...
    async def execute(self, sql: str, *values: Value) -> str: ...
    def transaction(self) -> AbstractAsyncContextManager[None]: ...
    async def copy_records_to_table(
        self, table: str, *, columns: Sequence[str], records: Sequence[tuple[Value, ...]]
    ) -> str: ...


class _Pool(Protocol):
    def acquire(self) -> AbstractAsyncContextManager[_Connection]: ...


@asynccontextmanager
async def open_postgres(url: str) -> AsyncGenerator["PostgresDatabase"]:
    creation = cast("Any", asyncpg).create_pool(
        url,
        min_size=1,
        max_size=_CONNECTIONS,
        timeout=_CONNECT_S,
        command_timeout=_STATEMENT_S,
        reset=_nothing,  # the default asks the server after every use; nothing here needs a reset
        server_settings=_SETTINGS,
    )
    with _as_store_errors():
        pool = await creation
    try:
        yield PostgresDatabase(pool)
    finally:
        with suppress(TimeoutError):
            async with timeout(_CLOSE_S):
                await pool.close()
        pool.terminate()


async def _nothing(_connection: object) -> None:
    pass


class PostgresDatabase:
    def __init__(self, pool: _Pool) -> None:
        self._pool = pool

    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]:
        with _as_store_errors():
            async with self._pool.acquire() as connection:
                return await connection.fetch(sql, *values)

    async def write(self, work: Work[T]) -> T:
        with _as_store_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                return await work(_Transaction(connection))

    def walk(self, columns: Sequence[str], by: str, *, descending: bool) -> Walk:
        # Compared row by row: with `status = …` the planner may walk an index over `by` alone and
        # pick from it, which takes for ever where few rows have the status.
        row = ", ".join((*columns, by))
        given = "".join(f"${i}, " for i in range(1, len(columns) + 1))
        low = len(columns) + 1
        direction = " DESC" if descending else ""
        return Walk(
            f"({row}) > ({given}${low}) AND ({row}) < ({given}${low + 1})",
            ", ".join(f"{column}{direction}" for column in (*columns, by)),
        )


class _Transaction:
    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]:
        return await self._connection.fetch(sql, *values)

    async def execute(self, sql: str, *values: Value) -> int:
        tag = await self._connection.execute(sql, *values)  # "UPDATE 1"
        count = tag.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def insert_many(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Value, ...]]
    ) -> None:
        await self._connection.copy_records_to_table(table, columns=columns, records=rows)

    async def alone(self) -> None:
        await self._connection.execute("SELECT pg_advisory_xact_lock($1)", _ALONE)


_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,  # the server shuts down, or ended the session
    asyncpg.InsufficientResourcesError,  # too many connections; a full disk, too
    asyncpg.LockNotAvailableError,
    OSError,
    TimeoutError,
)


@contextmanager
def _as_store_errors() -> Generator[None]:
    """What asyncpg and the network raise ends here."""
    try:
        yield
    except _GONE as error:
        raise StoreUnavailableError(f"PostgreSQL: {error or type(error).__name__}") from error
    except asyncpg.PostgresError as error:
        raise StoreError(f"PostgreSQL: {error}") from error
