"""The seam to the database: rows out, transactions in.

SQLAlchemy Core writes the SQL, once per statement and engine; the drivers run it. A Core execution costs 17 us on
SQLite, the same text given to the driver 3.5 us, and a manifest pull is one statement.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Dialect, Executable
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")
Row = Sequence[Any]
Parameters = Mapping[str, Any]


class Statement:
    """One SQL statement, written once for both engines.

    *build* gets the engine's own `insert`, which knows `ON CONFLICT`, and returns the Core expression; its bind
    parameters are the names that callers give values for. Parameters and columns carry only int, str, bytes and None.
    """

    def __init__(self, build: Callable[[Any], Executable]) -> None:
        self._build = build

    def compile(self, dialect: Dialect) -> tuple[str, tuple[str, ...]]:
        """The SQL text for *dialect* and its parameters' names in the order of their places."""
        insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
        compiled = self._build(insert).compile(dialect=dialect)  # type: ignore[attr-defined]
        return str(compiled), tuple(compiled.positiontup or ())


class Reader(Protocol):
    """Something that runs a statement: a database, or a transaction in it."""

    async def rows(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        """Run *statement* and return its rows, `[]` where it returns none.

        Raises StorageFull or Unavailable when the database cannot be used.
        """
        ...


class Database(Reader, Protocol):
    """A database that many processes use at once.

    `rows` sees everything that was committed before it was called, by any process. On SQLite it answers without
    suspending, so that a handler which only reads needs no task.
    """

    async def write(self, work: Callable[[Reader], Awaitable[T]], *, durable: bool = True) -> T:
        """Run *work* in one transaction and return its result after the commit.

        *work* awaits nothing but its reader's `rows`, and may be run again after a conflict, so it has no other effect.
        When it raises, nothing of it is kept and the error is raised here. With *durable* the commit has reached the
        disk before this returns; without, it survives a killed process but perhaps not a power cut.
        """
        ...

    async def close(self) -> None:
        """Finish what is queued and let go of every connection."""
        ...
