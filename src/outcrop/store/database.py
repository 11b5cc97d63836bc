"""What the tables ask of a database engine. SQL is written once, as PostgreSQL spells it."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

Value = int | str | bytes | None
Row = Sequence[Any]
"""Columns by position; the tables know their types."""

T = TypeVar("T")


class Transaction(Protocol):
    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]: ...

    async def execute(self, sql: str, *values: Value) -> int:
        """The number of rows it changed."""
        ...

    async def insert_many(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Value, ...]]
    ) -> None: ...

    async def alone(self) -> None:
        """From here to the end no other transaction is past its own `alone`, in any process."""
        ...


Work = Callable[[Transaction], Coroutine[Any, Any, T]]
"""What a transaction does. It awaits nothing but its transaction."""


class Walk(NamedTuple):
    """Two parts of a query that an index answers in its own order, row by row."""

    where: str
    order_by: str


class Database(Protocol):
    async def fetch(self, sql: str, *values: Value) -> Sequence[Row]:
        """Reads what is committed."""
        ...

    async def write(self, work: Work[T]) -> T:
        """Runs `work` in a transaction: all of it is kept, durably, or (when it raises) nothing.

        A caller that is cancelled may or may not have written; never half.
        """
        ...

    def walk(self, columns: Sequence[str], by: str, *, descending: bool) -> Walk:
        """The rows with given values in `columns`, within bounds of `by`, ordered by it.

        There is an index over `columns` and `by`, and the engine uses no other. Parameters: the
        values of `columns`, then the two bounds of `by`, both exclusive.
        """
        ...


def insertion(table: str, columns: Sequence[str]) -> str:
    """The statement that inserts a row, with the columns' values as parameters in their order."""
    places = ", ".join(f"${number}" for number, _ in enumerate(columns, 1))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 -- ours
