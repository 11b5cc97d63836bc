"""The file of an SQLite database: made, and opened."""

import os
import sqlite3
import time
from asyncio import to_thread
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from pathlib import Path

from outcrop.store.errors import SchemaError, StoreUnavailableError
from outcrop.store.sqlite import SqliteDatabase, as_store_errors, is_busy

OLDEST = (3, 24, 0)
"""The first with upserts."""
_BUSY_S = 10.0
_CACHE_KB = 64 * 1024
"""Of the database, at most, in memory for reading. A small one takes what it has."""
_MAPPED_BYTES = 2**31 - 2**16
"""SQLite's own limit: what only the operating system remembers is read without a system call."""


@asynccontextmanager
async def open_sqlite(path: Path) -> AsyncGenerator[SqliteDatabase]:
    """Several processes may have the file open at once, on one machine."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise SchemaError(
            f"SQLite {sqlite3.sqlite_version} is too old: {'.'.join(map(str, OLDEST))} or newer"
        )
    writer = await to_thread(_connect, path)
    with closing(writer), closing(await to_thread(_connect, path)) as reader:
        reader.execute("PRAGMA query_only = 1")
        reader.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        reader.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
        database = SqliteDatabase(reader, writer)
        try:
            yield database
        finally:
            await to_thread(database.stop_writing)


def _connect(path: Path) -> sqlite3.Connection:
    with as_store_errors(f"{path}: "):
        _create(path)
        connection = sqlite3.connect(
            path,
            timeout=_BUSY_S,
            isolation_level=None,
            check_same_thread=False,  # each is used by one thread, but not the one that opens it
            cached_statements=512,
        )
        with ExitStack() as unusable:
            unusable.callback(connection.close)
            _use_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous = FULL")  # what is acknowledged survives
            connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
            unusable.pop_all()
        return connection


def _create(path: Path) -> None:
    """For its owner alone: it holds secret keys. SQLite gives the files beside it the same mode.

    One that is there is not opened: when a file is closed, POSIX drops all locks that the process
    has on it, those of SQLite too. Then any other program that reads the database and leaves takes
    itself for the last one, and removes the log that is still being written.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    # Where two processes do this at once SQLite refuses one without waiting for the other.
    for _ in range(100):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            time.sleep(_BUSY_S / 100)
        else:
            return
    raise StoreUnavailableError("the database stays locked by another process")
