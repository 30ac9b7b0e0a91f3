"""The thread that writes to a SQLite file, for the handlers of one process."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from moorage.errors import StorageFull, Unavailable
from moorage.metadata.database import CompiledStatements, Reader
from moorage.metadata.sqlite_connection import Transaction, connect_writer, primary_code, refuse

T = TypeVar("T")

# Arbitrary, but bounded: a group holds the lock for a few milliseconds at most.
_GROUP = 256


def drive(work: Callable[[Reader], Awaitable[T]], reader: Reader) -> T:
    """Run *work* to its end; it cannot suspend, since the reader never does."""
    steps = work(reader).__await__()
    try:
        next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    steps.close()
    raise RuntimeError("a transaction awaited something other than its reader")


class Job:
    """A transaction that waits for the writer, and the future that waits for it."""

    __slots__ = ("durable", "error", "future", "loop", "result", "work")

    def __init__(self, work: Callable[[Reader], Awaitable[Any]], *, durable: bool) -> None:
        self.work = work
        self.durable = durable
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, reader: Reader) -> None:
        """Drive the work to its end, which is a result or an error."""
        self.result = self.error = None
        try:
            self.result = drive(self.work, reader)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the handler that waits
            self.error = error

    def settle(self) -> None:
        """Tell the waiting handler; runs on its own loop."""
        if self.future.done():  # the handler was cancelled meanwhile
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """The one thread of this process that writes."""

    def __init__(self, path: Path, lock: Path, compiled: CompiledStatements) -> None:
        self._path = path
        self._lock_path = lock
        self._compiled = compiled
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._synchronous = True
        self._thread = threading.Thread(target=self._loop, name="sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue the job; not after `stop`."""
        self._jobs.put(job)

    def stop(self) -> None:
        """Write what is queued, then end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _loop(self) -> None:
        stopping = False
        while not stopping:
            group: list[Job] = []
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
        self._drop_connection()
        if self._lock is not None:
            os.close(self._lock)

    def _commit(self, group: list[Job], *, last: bool = False) -> None:
        """Commit the group at once or, where the disk refused that, each job alone: a small one may still fit.

        A connection that was opened while the disk failed can be read-only for good, so a job that it refuses is tried
        on a new one.
        """
        try:
            with self._turn() as connection:
                self._transact(connection, group)
        except sqlite3.Error as error:
            code = primary_code(error)
            alone = len(group) > 1 and code != sqlite3.SQLITE_BUSY
            if alone or (code == sqlite3.SQLITE_READONLY and not last):
                for job in group:
                    self._commit([job], last=not alone)
                return
            _fail(group, error)
        except OSError as error:
            _fail(group, _lock_trouble(error))
        except BaseException as error:  # noqa: BLE001 - the thread lives on, and the handlers that wait must hear of it
            _fail(group, error)
        _answer(group)

    def _transact(self, connection: sqlite3.Connection, group: list[Job]) -> None:
        """Commit the group; where a job fails, which is seldom, once more and each so that it can be undone alone."""
        self._set_synchronous(connection, full=any(job.durable for job in group))
        transaction = Transaction(connection, self._compiled)
        connection.execute("BEGIN IMMEDIATE")
        for job in group:
            job.run(transaction)
            if job.error is not None:
                break
        else:
            connection.execute("COMMIT")
            return
        _require_transaction(connection, job)
        connection.execute("ROLLBACK")
        if len(group) > 1:
            self._transact_each(connection, transaction, group)

    def _transact_each(self, connection: sqlite3.Connection, transaction: Transaction, group: list[Job]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for job in group:
            connection.execute("SAVEPOINT job")
            job.run(transaction)
            if job.error is not None:
                _require_transaction(connection, job)
                connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
        connection.execute("COMMIT")

    @contextmanager
    def _turn(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock that the writers of all processes share; an error drops the connection and what it began."""
        if self._lock is None:
            self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            if self._connection is None:
                self._connection = connect_writer(self._path)
                self._synchronous = True
            yield self._connection
        except BaseException:
            self._drop_connection()
            raise
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _set_synchronous(self, connection: sqlite3.Connection, *, full: bool) -> None:
        if full is not self._synchronous:
            connection.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
            self._synchronous = full

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _require_transaction(connection: sqlite3.Connection, job: Job) -> None:
    if not connection.in_transaction:  # SQLite gave up everybody's work, as on a full disk
        raise sqlite3.OperationalError("the transaction was rolled back") from job.error


def _fail(group: list[Job], error: BaseException) -> None:
    for job in group:
        job.error = job.error or error


def _lock_trouble(error: OSError) -> StorageFull | Unavailable:
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    trouble = StorageFull() if full else Unavailable("the registry's database is unavailable")
    trouble.__cause__ = error
    return trouble


def _meaning(error: sqlite3.Error) -> Exception:
    """What `refuse` raises for *error*."""
    try:
        refuse(error)
    except (StorageFull, Unavailable, sqlite3.Error) as meaning:
        return meaning


def _answer(group: list[Job]) -> None:
    """Give every job's outcome to its handler, with one wake-up for each event loop."""
    loops: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in group:
        if isinstance(job.error, sqlite3.Error):
            job.error = _meaning(job.error)
        loops.setdefault(job.loop, []).append(job)
    for loop, jobs in loops.items():
        try:
            loop.call_soon_threadsafe(_settle, jobs)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _settle(jobs: list[Job]) -> None:
    for job in jobs:
        job.settle()
