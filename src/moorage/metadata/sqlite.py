"""SQLite: reads inline on the event loop, writes by one thread that commits in groups.

A read is a few microseconds of memory-mapped B-tree, less than a hop to a thread would cost. A commit is an fsync, so
writes queue for one thread per process, which commits all that wait in one transaction; what need not be durable is
committed inline too, while nobody else writes. Processes take turns on a lock
file and not on SQLite's own lock, whose waiters poll: that made the slowest wait a hundred times longer.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import weakref
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from moorage.errors import Unavailable
from moorage.metadata.database import CompiledStatements, Parameters, Reader, Row, Statement
from moorage.metadata.known_rows import KnownRows
from moorage.metadata.sqlite_connection import connect_reader, refuse
from moorage.metadata.sqlite_shortcut import Shortcut
from moorage.metadata.sqlite_writer import Job, Writer

T = TypeVar("T")


class SqliteDatabase:
    """A database file, and the lock file on which its writers queue.

    Connections and the writer thread are made on first use, so that an object made before a fork serves the child. One
    that was used before must be closed before: SQLite's connections and locks do not survive a fork, and the child is
    told so by RuntimeError.
    """

    def __init__(self, path: Path, lock: Path) -> None:
        self._path = path
        self._lock = lock
        self._compiled = CompiledStatements(sqlite_dialect())
        self._connection: sqlite3.Connection | None = None
        self._writer: Writer | None = None
        self._shortcut: Shortcut | None = None
        self._known: KnownRows
        self._watched = False

    async def rows(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        """See `Reader.rows`; never suspends."""
        try:
            connection = self._connection or self._open()
            sql, values = self._compiled[statement]
            given = values(parameters)
            known = self._known.get(statement, given)
            if known is None:
                known = connection.execute(sql, given).fetchall()
                self._known.put(statement, given, known)
            return known
        except sqlite3.Error as error:
            self._forget()
            refuse(error)
        except OSError as error:
            raise Unavailable("the registry's database is unavailable", detail=error.strerror) from error

    def version(self) -> bytes | None:
        """See `Database.version`."""
        return None if self._connection is None else self._known.version()

    async def write(self, work: Callable[[Reader], Awaitable[T]], *, durable: bool = True) -> T:
        """See `Database.write`. The work is done also where its caller is cancelled while it waits."""
        if not durable and (done := self._take_shortcut().run(work)) is not None:
            return done.result
        if self._writer is None:
            self._watch_forks()
            self._writer = Writer(self._path, self._lock, self._compiled)
        job = Job(work, durable=durable)
        self._writer.submit(job)
        result: T = await job.future
        return result

    def _take_shortcut(self) -> Shortcut:
        if self._shortcut is None:
            self._watch_forks()
            self._shortcut = Shortcut(self._path, self._lock, self._compiled)
        return self._shortcut

    async def close(self) -> None:
        """See `Database.close`; the next call opens it again."""
        writer, self._writer = self._writer, None
        shortcut, self._shortcut = self._shortcut, None
        self._forget()
        if shortcut is not None:
            shortcut.close()
        if writer is not None:
            await asyncio.to_thread(writer.stop)

    def _open(self) -> sqlite3.Connection:
        self._watch_forks()
        connection = connect_reader(self._path)
        # The first read makes the WAL index that is looked at from then on.
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
        self._known = KnownRows(self._path)
        self._connection = connection
        return connection

    def _forget(self) -> None:
        """Drop the reading connection: after an I/O error SQLite may keep a broken view of the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _watch_forks(self) -> None:
        if not self._watched:
            self._watched = True
            method = weakref.WeakMethod(self._disinherit)
            os.register_at_fork(after_in_child=lambda: _call(method))

    def _disinherit(self) -> None:
        if self._connection is not None:
            self._connection = self._known = cast("Any", _Inherited(self._connection))
        self._writer = self._writer and cast("Any", _Inherited(self._writer))
        self._shortcut = self._shortcut and cast("Any", _Inherited(self._shortcut))


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    alive = method()
    if alive is not None:
        alive()


class _Inherited:
    """Stands in a forked child for what its parent had open, and keeps it from being closed there."""

    def __init__(self, *held: object) -> None:
        self.held = held

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError("the database was open when this process was forked; close it before the fork")
