"""SQLite: reads inline on the event loop, writes by one thread that commits in groups.

A read is a few microseconds of memory-mapped B-tree, less than a hop to a thread would cost. A commit is an fsync, so
writes queue for one thread per process, which commits all that wait in one transaction. Processes take turns on a lock
file and not on SQLite's own lock, whose waiters poll: that made the slowest wait a hundred times longer.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from moorage.errors import StorageFull, Unavailable
from moorage.metadata.database import Parameters, Reader, Row, Statement

T = TypeVar("T")

# Arbitrary, but bounded: a group holds the lock for a few milliseconds at most.
_GROUP = 256
_MMAP_BYTES = 1 << 30
_DIALECT = sqlite_dialect()


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode with the settings that every process must share."""
    connection = sqlite3.connect(
        path, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA mmap_size={_MMAP_BYTES}")
    return connection


def refuse(error: sqlite3.Error) -> NoReturn:
    """Raise what *error* means to a client: StorageFull, Unavailable, or *error* itself where it is our own fault."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if primary == sqlite3.SQLITE_FULL:
        raise StorageFull(detail="the database's disk is full") from error
    if primary in _DISK_TROUBLE:
        raise Unavailable("the registry's database is unavailable", detail=str(error)) from error
    raise error


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


class _Cursor:
    """Runs statements on one connection, each compiled once."""

    def __init__(self, connection: sqlite3.Connection, compiled: dict[Statement, tuple[str, tuple[str, ...]]]) -> None:
        self._execute = connection.execute
        self._compiled = compiled

    async def rows(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        """The statement's rows; never suspends."""
        entry = self._compiled.get(statement)
        if entry is None:
            entry = self._compiled[statement] = statement.compile(_DIALECT)
        return self._execute(entry[0], [parameters[name] for name in entry[1]]).fetchall()


class SqliteDatabase:
    """A database file, and the lock file on which its writers queue.

    Connections and the writer thread are made on first use, so that an object made before a fork serves the child.
    """

    def __init__(self, path: Path, lock: Path) -> None:
        self._path = path
        self._lock = lock
        self._compiled: dict[Statement, tuple[str, tuple[str, ...]]] = {}
        self._reader: _Cursor | None = None
        self._connection: sqlite3.Connection | None = None
        self._writer: _Writer | None = None

    async def rows(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        """See `Reader.rows`; never suspends."""
        reader = self._reader
        try:
            if reader is None:
                reader = self._open()
            return await reader.rows(statement, parameters)
        except sqlite3.Error as error:
            self._forget()
            refuse(error)

    async def write(self, work: Callable[[Reader], Awaitable[T]], *, durable: bool = True) -> T:
        """See `Database.write`."""
        if self._writer is None:
            self._writer = _Writer(self._path, self._lock, self._compiled)
        return await self._writer.submit(work, durable=durable)

    async def close(self) -> None:
        """See `Database.close`."""
        if self._writer is not None:
            await asyncio.to_thread(self._writer.stop)
            self._writer = None
        self._forget()

    def _open(self) -> _Cursor:
        self._connection = connect(self._path)
        self._reader = _Cursor(self._connection, self._compiled)
        return self._reader

    def _forget(self) -> None:
        """Drop the reading connection: after an I/O error SQLite may keep a broken view of the file."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._reader = None


class _Job:
    """A transaction that waits for the writer, and the future that waits for it."""

    __slots__ = ("durable", "error", "future", "loop", "result", "work")

    def __init__(self, work: Callable[[Reader], Awaitable[Any]], durable: bool) -> None:
        self.work = work
        self.durable = durable
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, reader: Reader) -> None:
        """Drive the work to its end; it cannot suspend, since the reader never does."""
        steps = self.work(reader).__await__()
        try:
            next(steps)
        except StopIteration as done:
            self.result = done.value
        else:
            raise RuntimeError("a transaction awaited something other than its reader")

    def settle(self) -> None:
        """Tell the waiting handler, on its own loop."""
        try:
            self.loop.call_soon_threadsafe(self._settle)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _settle(self) -> None:
        if self.future.done():  # the handler was cancelled meanwhile
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _Writer:
    """The one thread of this process that writes."""

    def __init__(self, path: Path, lock: Path, compiled: dict[Statement, tuple[str, tuple[str, ...]]]) -> None:
        self._path = path
        self._lock_path = lock
        self._compiled = compiled
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._synchronous = True
        self._thread = threading.Thread(target=self._loop, name="sqlite-writer", daemon=True)
        self._thread.start()

    async def submit(self, work: Callable[[Reader], Awaitable[T]], *, durable: bool) -> T:
        job = _Job(work, durable)
        self._jobs.put(job)
        result: T = await job.future
        return result

    def stop(self) -> None:
        """Write what is queued, then end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _loop(self) -> None:
        stopping = False
        while not stopping:
            group: list[_Job] = []
            job = self._jobs.get()
            while job is not None:
                group.append(job)
                if len(group) == _GROUP:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            else:
                stopping = True
            if group:
                self._commit(group)
        self._close()

    def _commit(self, group: list[_Job]) -> None:
        try:
            with self._turn() as connection:
                self._set_synchronous(connection, full=any(job.durable for job in group))
                connection.execute("BEGIN IMMEDIATE")
                self._run(connection, group)
                connection.execute("COMMIT")
        except BaseException as error:
            self._close()
            for job in group:
                job.error = job.error or self._meaning(error)
        for job in group:
            job.settle()

    def _run(self, connection: sqlite3.Connection, group: list[_Job]) -> None:
        cursor = _Cursor(connection, self._compiled)
        for job in group:
            connection.execute("SAVEPOINT job")
            try:
                job.run(cursor)
            except sqlite3.Error as error:
                job.error = self._meaning(error)
                if not connection.in_transaction:  # SQLite gave up the whole transaction
                    raise
            except BaseException as error:
                job.error = error
            if job.error is not None:
                connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")

    @staticmethod
    def _meaning(error: BaseException) -> BaseException:
        if not isinstance(error, sqlite3.Error):
            return Unavailable(detail=str(error)) if isinstance(error, OSError) else error
        try:
            refuse(error)
        except Exception as meaning:
            return meaning

    @contextmanager
    def _turn(self) -> Iterator[sqlite3.Connection]:
        if self._lock is None:
            self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            if self._connection is None:
                self._connection = connect(self._path)
                self._synchronous = True
            yield self._connection
        finally:
            if self._lock is not None:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _set_synchronous(self, connection: sqlite3.Connection, *, full: bool) -> None:
        if full is not self._synchronous:
            connection.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
            self._synchronous = full

    def _close(self) -> None:
        """Drop the connection, which rolls back what it had open; the next group makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
