"""Commits on the event loop itself, of what need not reach the disk before it is answered."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from moorage.metadata.database import CompiledStatements, Reader
from moorage.metadata.sqlite_connection import Transaction, connect_shortcut
from moorage.metadata.sqlite_writer import drive

T = TypeVar("T")

# So many commits may pass before the writer's thread gets one: it also carries the log over into the database, which
# waits for the disk (arbitrary; a commit of the kind that comes here is three or four pages, and SQLite's own measure
# is a log of a thousand).
_IN_A_ROW = 128


class Done(NamedTuple, Generic[T]):
    """What a transaction returned."""

    result: T


class Shortcut:
    """Runs a transaction without a thread and without a flush, while no process holds the writers' lock.

    A hop to the writer's thread and back costs as much as such a transaction itself.
    """

    def __init__(self, path: Path, lock: Path, compiled: CompiledStatements) -> None:
        self._path = path
        self._lock_path = lock
        self._compiled = compiled
        self._connection: sqlite3.Connection | None = None
        self._lock = -1
        self._count = 0

    def run(self, work: Callable[[Reader], Awaitable[T]]) -> Done[T] | None:
        """Commit *work*, or None where nothing was done and the writer's thread should do it.

        That is where others are writing, where the disk makes trouble, and once in a while. What the work raises, but
        for SQLite's own errors, is raised.
        """
        self._count += 1
        if self._count % _IN_A_ROW == 0:
            return None
        try:
            if self._lock < 0:
                self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return None
        try:
            return Done(self._transact(work))
        except sqlite3.Error:
            self._forget()
            return None
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _transact(self, work: Callable[[Reader], Awaitable[T]]) -> T:
        connection = self._connection
        if connection is None:
            connection = self._connection = connect_shortcut(self._path)
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = drive(work, Transaction(connection, self._compiled))
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return result

    def _forget(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Let go of everything; the next `run` opens it again."""
        self._forget()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
