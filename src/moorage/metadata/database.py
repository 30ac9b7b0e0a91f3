"""The seam to the database: rows out, transactions in.

SQLAlchemy Core writes the SQL, once per statement and engine; the drivers run it. A Core execution costs 17 us on
SQLite, the same text given to the driver 3.5 us, and a manifest pull is one statement.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from sqlalchemy import Dialect, Insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

T = TypeVar("T")
Row = Sequence[Any]
Parameters = Mapping[str, Any]


class Compiled(NamedTuple):
    """A statement for one engine: its text, and what puts a call's parameters into the order of the text's places."""

    sql: str
    values: Callable[[Parameters], tuple[Any, ...]]


class Statement:
    """One SQL statement, written once for both engines.

    *build* gets the engine's own `insert`, which knows `ON CONFLICT`, and returns the Core expression; its bind
    parameters are the names that callers give values for. Parameters and columns carry only int, str, bytes and None.
    """

    def __init__(self, build: Callable[[Any], ClauseElement]) -> None:
        self._build = build

    def compile(self, dialect: Dialect) -> Compiled:
        """Write the statement in *dialect*, whose driver takes its values by place."""
        insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
        expression = self._build(insert)
        if isinstance(expression, Insert):  # gives back what it is told to, and not the new keys as well
            expression = expression.inline()
        compiled = cast("SQLCompiler", expression.compile(dialect=dialect))
        names = tuple(compiled.positiontup or ())
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        return Compiled(str(compiled), _values(names, constants))


def _values(names: tuple[str, ...], constants: Parameters) -> Callable[[Parameters], tuple[Any, ...]]:
    """What `Compiled.values` is; *constants* are what the expression itself holds, like SQLite's `OFFSET 0`."""
    if constants:
        return lambda parameters: tuple(constants[name] if name in constants else parameters[name] for name in names)
    if len(names) > 1:
        return cast("Callable[[Parameters], tuple[Any, ...]]", itemgetter(*names))
    return lambda parameters: tuple(parameters[name] for name in names)


class CompiledStatements(dict[Statement, Compiled]):
    """The statements that were used so far, each compiled once for *dialect*; `compiled[statement]` compiles a new one.

    Threads may share it: the worst is that two compile the same.
    """

    def __init__(self, dialect: Dialect) -> None:
        super().__init__()
        self._dialect = dialect

    def __missing__(self, statement: Statement) -> Compiled:
        compiled = self[statement] = statement.compile(self._dialect)
        return compiled


class Reader(Protocol):
    """Something that runs a statement: a database, or a transaction in it."""

    async def rows(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        """Run *statement* and return its rows, `[]` where it returns none.

        Raises StorageFull or Unavailable when the database cannot be used.
        """
        ...


class Database(Reader, Protocol):
    """A database that many processes use at once.

    `rows` sees everything that was committed before it was called, by any process; what writes belongs into `write`. On
    SQLite it answers without suspending, so that a handler which only reads needs no task.

    An object that was not used yet, or was closed, may cross a fork; one that is open fails in the child.
    """

    def version(self) -> bytes | None:
        """What stays the same while nobody commits, in any process; None where that cannot be told without asking.

        What was read after a version was taken still holds while there is no other.
        """
        ...

    async def write(self, work: Callable[[Reader], Awaitable[T]], *, durable: bool = True) -> T:
        """Run *work* in one transaction and return its result after the commit.

        *work* awaits nothing but its reader's `rows`, and may be run again after a conflict, so it has no other effect.
        When it raises, nothing of it is kept and the error is raised here. With *durable* the commit has reached the
        disk before this returns; without, it survives a killed process but perhaps not a power cut.
        Raises StorageFull or Unavailable when the database cannot be used; where the connection broke during the
        commit, or the caller was cancelled, the transaction may have been done all the same.
        """
        ...

    async def close(self) -> None:
        """Finish what is queued and let go of every connection; the next call opens it again."""
        ...
