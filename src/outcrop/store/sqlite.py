"""SQLite: reads where they are asked, on the event loop's thread; writes in one other thread."""

import re
import sqlite3
import threading
from asyncio import wrap_future
from collections.abc import Coroutine, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import lru_cache
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from outcrop.store.database import Row, T, Value, Walk, Work, insertion
from outcrop.store.errors import StoreError, StoreUnavailableError

REMEMBERED, ROWS_REMEMBERED = 1024, 32
"""So many answers, of at most so many rows: some 25 MB at the very most."""
_PER_COMMIT = 64
"""Transactions that share one fsync when they arrive faster than the disk can say yes."""

R = TypeVar("R")


class SqliteDatabase:
    def __init__(self, reader: sqlite3.Connection, writer: sqlite3.Connection) -> None:
        self._reader = _Reader(reader)
        self._jobs = SimpleQueue[_Job | None]()
        self._writer = _Writer(writer, self._jobs)
        self._writing = threading.Thread(target=self._writer.run, name="store-writer", daemon=True)
        self._writing.start()

    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]:
        # At once and here: a page takes a few microseconds, handing it to a thread takes fifty.
        try:
            return self._reader.fetch(sql, values)
        except (sqlite3.Error, OSError) as error:  # not `with`: that takes a tenth of the time
            raise _named(error) from error

    async def write(self, work: Work[T]) -> T:
        job = _Job(work)
        self._jobs.put(job)
        return await wrap_future(job.future)

    def walk(self, columns: Sequence[str], by: str, *, descending: bool) -> Walk:
        given = "".join(f"{column} = ${i} AND " for i, column in enumerate(columns, 1))
        low = len(columns) + 1
        direction = " DESC" if descending else ""
        return Walk(f"{given}{by} > ${low} AND {by} < ${low + 1}", f"{by}{direction}")

    def stop_writing(self) -> None:
        """Waits for what was asked before."""
        self._jobs.put(None)
        self._writing.join()


class _Reader:
    """Reads, and remembers what it read for as long as nobody has written.

    Whether anybody has, in any process, costs a quarter of what a page costs, and is asked only
    before what is remembered is believed. What is read in between is kept as of when it was asked
    last: should anybody have written since, it is forgotten too early.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._cursor = connection.cursor()
        self._version = -1
        self._read: dict[tuple[str, tuple[Value, ...]], Sequence[Row]] = {}

    def fetch(self, sql: str, values: tuple[Value, ...]) -> Sequence[Row]:
        rows = self._read.get((sql, values))
        if rows is None or self._has_changed():
            rows = self._cursor.execute(for_sqlite(sql), values).fetchall()
            if len(rows) <= ROWS_REMEMBERED:
                self._keep(sql, values, rows)
        return rows

    def _has_changed(self) -> bool:
        """Since this was asked last; then nothing is remembered any more."""
        ((version,),) = self._cursor.execute("PRAGMA data_version")
        if version == self._version:
            return False
        self._version = version
        self._read.clear()
        return True

    def _keep(self, sql: str, values: tuple[Value, ...], rows: Sequence[Row]) -> None:
        if len(self._read) >= REMEMBERED:
            self._read.clear()
        self._read[sql, values] = rows


class _Job:
    def __init__(self, work: Work[Any]) -> None:
        self.work = work
        self.future = Future[Any]()


class _Writer:
    """The thread that writes: it commits together what waits together."""

    def __init__(self, connection: sqlite3.Connection, jobs: "SimpleQueue[_Job | None]") -> None:
        self._connection = connection
        self._transaction = _Transaction(connection)
        self._jobs = jobs

    def run(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, last = self._waiting(first)
            self._settle(jobs)
            if last:
                return

    def _waiting(self, first: _Job) -> tuple[list[_Job], bool]:
        jobs = [first]
        while len(jobs) < _PER_COMMIT:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
        return jobs, False

    def _settle(self, jobs: list[_Job]) -> None:
        # One whose caller has gone before it began is not begun.
        wanted = [job for job in jobs if job.future.set_running_or_notify_cancel()]
        try:
            with as_store_errors(), self._committed():
                outcomes = [(job.future, *self._attempt(job.work)) for job in wanted]
        except StoreError as error:
            outcomes = [(job.future, None, error) for job in wanted]
        for future, result, failure in outcomes:
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)

    @contextmanager
    def _committed(self) -> Generator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _attempt(self, work: Work[Any]) -> tuple[Any, BaseException | None]:
        """One of the transactions that are committed together: its failure is its own."""
        self._connection.execute("SAVEPOINT attempt")
        try:
            with as_store_errors():
                return _run(work(self._transaction)), None
        except Exception as error:
            if not self._connection.in_transaction:  # SQLite gave up the whole (a full disk)
                raise StoreError(str(error)) from error
            self._connection.execute("ROLLBACK TO attempt")
            return None, error
        finally:
            if self._connection.in_transaction:
                self._connection.execute("RELEASE attempt")


class _Transaction:
    """Its methods are coroutines for PostgreSQL's sake: here they never wait."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]:
        return self._connection.execute(for_sqlite(sql), values).fetchall()

    async def execute(self, sql: str, *values: Value) -> int:
        return self._connection.execute(for_sqlite(sql), values).rowcount

    async def insert_many(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Value, ...]]
    ) -> None:
        self._connection.executemany(for_sqlite(insertion(table, columns)), rows)

    async def alone(self) -> None:
        """BEGIN IMMEDIATE has seen to it."""


@lru_cache(maxsize=512)
def for_sqlite(sql: str) -> str:
    """The few things that SQLite spells differently."""
    for theirs, ours in _SPELLINGS:
        sql = sql.replace(theirs, ours)
    return re.sub(r"\$(\d+)", r"?\1", sql)


_SPELLINGS = (
    ("BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "INTEGER PRIMARY KEY"),
    ("BIGINT", "INTEGER"),
    ("BYTEA", "BLOB"),
    ("/* WITHOUT ROWID */", "WITHOUT ROWID"),
    ("strpos(", "instr("),
    (" FOR UPDATE", ""),  # there is one writer at a time
)


def _run(coroutine: Coroutine[Any, Any, R]) -> R:
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: R = done.value
        return result
    coroutine.close()
    raise RuntimeError("a transaction awaited something other than its statements")


@contextmanager
def as_store_errors(prefix: str = "") -> Generator[None]:
    """What sqlite3 and the file system raise ends here."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _named(error, prefix) from error


def _named(error: Exception, prefix: str = "") -> StoreError:
    kind = StoreUnavailableError if is_busy(error) else StoreError
    return kind(f"{prefix}{error.strerror if isinstance(error, OSError) else error}")


def is_busy(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
