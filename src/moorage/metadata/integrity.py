"""Whether the database holds together by itself: its own structures, and its foreign keys."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import ClauseElement, Column, Executable, Table, delete, exists, func, literal_column, select
from sqlalchemy.ext.compiler import compiles

from moorage.metadata.database import Reader, Statement
from moorage.metadata.schema import metadata


class Orphans(NamedTuple):
    """*rows* rows of *table* whose *column* leads to no row of *parent*."""

    table: str
    column: str
    parent: str
    rows: int


class _IntegrityCheck(Executable, ClauseElement):
    """Ask the engine whether its own structures hold; one row, `ok`, where they do or where it cannot tell."""

    inherit_cache = False

    def __init__(self, pragma: str) -> None:
        self.pragma = pragma


@compiles(_IntegrityCheck)
def _cannot_tell(element: _IntegrityCheck, compiler: Any, **words: Any) -> str:
    return "SELECT 'ok'"


@compiles(_IntegrityCheck, "sqlite")
def _ask_sqlite(element: _IntegrityCheck, compiler: Any, **words: Any) -> str:
    return f"PRAGMA {element.pragma}"


_INTEGRITY = Statement(lambda insert: _IntegrityCheck("integrity_check(20)"))
_QUICK_INTEGRITY = Statement(lambda insert: _IntegrityCheck("quick_check(20)"))


class _ForeignKey:
    """One foreign key, and the statements that find and remove the rows for which it does not hold."""

    def __init__(self, table: Table, column: Column[Any], parent: Column[Any]) -> None:
        self.name = Orphans(table.name, column.name, parent.table.name, 0)
        broken = column.is_not(None) & ~exists(select(literal_column("1")).where(parent == column))
        self.count = Statement(lambda insert: select(func.count()).select_from(table).where(broken))
        self.removal = Statement(lambda insert: delete(table).where(broken))


_FOREIGN_KEYS = [
    _ForeignKey(table, key.parent, key.column)
    for table in metadata.sorted_tables
    for key in sorted(table.foreign_keys, key=lambda key: key.parent.name)
]


async def complaints(reader: Reader, *, quick: bool) -> list[str]:
    """What the engine finds wrong with its own structures, in its words; *quick* leaves the indexes out."""
    rows = await reader.rows(_QUICK_INTEGRITY if quick else _INTEGRITY, {})
    return [str(row[0]) for row in rows if row[0] != "ok"]


async def orphans(reader: Reader) -> list[Orphans]:
    """Rows whose foreign key leads nowhere."""
    found = []
    for key in _FOREIGN_KEYS:
        rows = await reader.rows(key.count, {})
        if rows[0][0]:
            found.append(key.name._replace(rows=rows[0][0]))
    return found


async def remove_orphans(transaction: Reader, table: str, column: str) -> None:
    """Remove the rows that `orphans` counts for *table* and *column*."""
    for key in _FOREIGN_KEYS:
        if (key.name.table, key.name.column) == (table, column):
            await transaction.rows(key.removal, {})
