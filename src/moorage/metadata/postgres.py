"""PostgreSQL: one database for any number of replicas, through asyncpg.

Every statement is a round trip, so a handler suspends at each. Transactions run at READ COMMITTED: where two push the
same at once, `ON CONFLICT` waits for the other's commit and the next statement sees it; what still collides is run
again.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect

from moorage.errors import StorageFull, Unavailable
from moorage.metadata.database import CompiledStatements, Parameters, Reader, Row, Statement
from moorage.metadata.postgres_connections import Connections

T = TypeVar("T")

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_BEGIN_RELAXED: Final = f"{_BEGIN}; SET LOCAL synchronous_commit = off"

# Times that a transaction is tried, and the longest wait, in seconds, after the first; it doubles (arbitrary).
_ATTEMPTS: Final = 6
_WAIT: Final = 0.005

_CONFLICTS: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    # A migration changed a table under a prepared statement.
    asyncpg.InvalidCachedStatementError,
)
# Between two of our statements another transaction made or removed a row. Where that comes again, it is our own fault.
_RACES: Final = (asyncpg.ForeignKeyViolationError, asyncpg.UniqueViolationError)
_TROUBLE: Final = (
    *_CONFLICTS,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)


@contextmanager
def _refusing() -> Iterator[None]:
    """Raise StorageFull and Unavailable for what happens to the server or on the way there.

    The driver's words go to the log only, as the cause: they may name hosts and users.
    """
    try:
        yield
    except ValueError:  # asyncpg's InterfaceErrors about our own values
        raise
    except asyncpg.DiskFullError as error:
        raise StorageFull(detail="the database's disk is full") from error
    except _TROUBLE as error:
        raise Unavailable("the registry's database is unavailable") from error


class PostgresDatabase:
    """A database on a PostgreSQL server, named by *url* as libpq does, with up to *connections* for each process.

    Connections are made when they are needed, so that an object made before a fork serves the child, and one whose
    server went away works again when it is back. It must be closed in the event loop that used it, and before a fork.
    """

    def __init__(self, url: str, *, connections: int = 8) -> None:
        self._url = url
        self._most = connections
        self._compiled = CompiledStatements(asyncpg_dialect())  # type: ignore[no-untyped-call]
        self._connections: Connections | None = None
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None

    async def rows(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        """See `Reader.rows`."""
        await _enter_task()
        with _refusing():
            async with self._here().take() as connection:
                return await _Transaction(connection, self._compiled).rows(statement, parameters)

    def version(self) -> None:
        """See `Database.version`: only the server could tell."""

    async def write(self, work: Callable[[Reader], Awaitable[T]], *, durable: bool = True) -> T:
        """See `Database.write`. Raises Unavailable when the transaction collided with others again and again."""
        await _enter_task()
        for attempt in range(1, _ATTEMPTS):
            try:
                with _refusing():
                    return await self._transact(work, _BEGIN if durable else _BEGIN_RELAXED)
            except _RACES:
                pass
            except Unavailable as error:
                if not isinstance(error.__cause__, _CONFLICTS):
                    raise
            # Apart from each other, so that those who collided do not do it again.
            await asyncio.sleep(random.uniform(0, _WAIT * 2**attempt))  # noqa: S311
        with _refusing():
            return await self._transact(work, _BEGIN if durable else _BEGIN_RELAXED)

    async def close(self) -> None:
        """See `Database.close`; the next call opens it again."""
        if self._connections is not None:
            connections = self._here()
            self._connections = None
            await connections.close()

    def _here(self) -> Connections:
        """The connections of this process and loop."""
        home = (os.getpid(), asyncio.get_running_loop())
        if self._connections is None or self._home != home:
            if self._connections is not None and self._home is not None and self._home[0] != home[0]:
                raise RuntimeError("the database was open when this process was forked; close it before the fork")
            self._connections = Connections(self._url, self._most)
            self._home = home
        return self._connections

    async def _transact(self, work: Callable[[Reader], Awaitable[T]], begin: str) -> T:
        async with self._here().take() as connection:
            try:
                await connection.execute(begin)
                result = await work(_Transaction(connection, self._compiled))
                # The server answers COMMIT with ROLLBACK when a statement had failed, whoever caught that error.
                if await connection.execute("COMMIT") != "COMMIT":
                    raise RuntimeError("a statement of this transaction failed, and its work went on")
            except Exception:
                if not connection.is_closed():
                    await connection.execute("ROLLBACK")
                raise
            return result


class _Transaction:
    """Runs statements on one connection."""

    def __init__(self, connection: asyncpg.Connection, compiled: CompiledStatements) -> None:
        self._connection = connection
        self._compiled = compiled

    async def rows(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:
        """See `Reader.rows`."""
        sql, values = self._compiled[statement]
        return [tuple(record) for record in await self._connection.fetch(sql, *values(parameters))]


async def _enter_task() -> None:
    """Be run by a task from here on.

    The server drives a handler without one until it first suspends, and asyncpg's timeouts need one.
    """
    if asyncio.current_task() is None:
        await asyncio.sleep(0)
