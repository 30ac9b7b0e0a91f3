"""Connections to a SQLite file, what runs statements on them, and what their errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from moorage.errors import StorageFull, Unavailable
from moorage.metadata.database import CompiledStatements, Parameters, Row, Statement

# Halves a read's cost while others write (20 against 45 us), since each commit empties a connection's own cache. The
# price: where the disk fails to give a page, the kernel ends the process, and not SQLite the statement.
_MMAP_BYTES = 1 << 30
# Seconds. While a read waits the event loop stands still, but only another process's recovery makes it wait.
_READ_PATIENCE = 1.0
_WRITE_PATIENCE = 10.0
_DISK_TROUBLE = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
}


def connect(path: Path, *, patience: float) -> sqlite3.Connection:
    """A connection in autocommit mode to a database that exists; it waits *patience* seconds for SQLite's own locks."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=patience,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
    )


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection for the event loop, which cannot write."""
    connection = connect(path, patience=_READ_PATIENCE)
    connection.execute("PRAGMA query_only=ON")
    connection.execute(f"PRAGMA mmap_size={_MMAP_BYTES}")
    return connection


def connect_writer(path: Path) -> sqlite3.Connection:
    """A connection for a thread, whose commits are durable."""
    connection = connect(path, patience=_WRITE_PATIENCE)
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def connect_shortcut(path: Path) -> sqlite3.Connection:
    """A connection for the event loop, whose commits wait neither for the disk nor for anybody's lock."""
    connection = connect(path, patience=0)
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    return connection


def refuse(error: sqlite3.Error) -> NoReturn:
    """Raise what *error* means to a client: StorageFull, Unavailable, or *error* itself where it is our own fault."""
    primary = primary_code(error)
    if primary == sqlite3.SQLITE_FULL:
        raise StorageFull(detail="the database's disk is full") from error
    if primary in _DISK_TROUBLE:
        raise Unavailable("the registry's database is unavailable", detail=str(error)) from error
    raise error


def primary_code(error: BaseException) -> int:
    """The primary result code (sqlite.org/rescode.html), 0 for what SQLite did not say itself."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


class Transaction:
    """Runs a job's statements on the writer's connection, so that each sees what the ones before it wrote."""

    def __init__(self, connection: sqlite3.Connection, compiled: CompiledStatements) -> None:
        self._execute = connection.execute
        self._compiled = compiled

    async def rows(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        """See `Reader.rows`; never suspends."""
        sql, values = self._compiled[statement]
        return self._execute(sql, values(parameters)).fetchall()
