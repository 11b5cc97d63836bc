"""What SQLite's reader remembers, while others write."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pytest
from hypothesis import given, settings, strategies as some

from outcrop.store.database import Transaction
from outcrop.store.sqlite_file import open_sqlite

Step = tuple[Literal["read", "write", "write elsewhere"], Literal["a", "b"]]

_STEPS: some.SearchStrategy[list[Step]] = some.lists(
    some.tuples(some.sampled_from(["read", "write", "write elsewhere"]), some.sampled_from("ab")),
    max_size=12,
)
_READ = "SELECT value FROM things WHERE name = $1"
_WRITE = "UPDATE things SET value = value + 1 WHERE name = $1"


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(steps=_STEPS)
def test_a_read_sees_whatever_was_written_before_it(steps: list[Step]) -> None:
    async def main(path: Path) -> None:
        values = {"a": 0, "b": 0}

        async def write(transaction: Transaction) -> int:
            return await transaction.execute(_WRITE, name)

        async with open_sqlite(path) as database:
            with closing(sqlite3.connect(path, isolation_level=None)) as elsewhere:
                elsewhere.execute("CREATE TABLE things (name TEXT, value INTEGER)")
                elsewhere.execute("INSERT INTO things VALUES ('a', 0), ('b', 0)")
                for step, name in steps:
                    if step == "write":
                        await database.write(write)
                    elif step == "write elsewhere":
                        elsewhere.execute(_WRITE.replace("$1", "?"), (name,))
                    values[name] += step != "read"
                    if step == "read":
                        assert await database.fetch(_READ, name) == [(values[name],)]

    with TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder) / "things.db"))
