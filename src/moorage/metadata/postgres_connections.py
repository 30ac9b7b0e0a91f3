"""Connections to a PostgreSQL server, bounded, and kept between uses.

asyncpg's own pool sends a statement and starts a task each time a connection comes back; ours come back clean.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

# Seconds, all arbitrary: what a client waits for before it hears of it, and less than firewalls forget a connection in.
_CONNECT_PATIENCE = 10.0
_TURN_PATIENCE = 20.0
_STATEMENT_PATIENCE = 30.0
_IDLE = 240.0


class Connections:
    """At most *most* connections to the server at *url*, of one process and one event loop."""

    def __init__(self, url: str, most: int) -> None:
        self._url = url
        self._most = most
        self._turns = asyncio.Semaphore(most)
        self._idle: list[tuple[float, asyncpg.Connection]] = []

    @asynccontextmanager
    async def take(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for one user at a time; one that may be in the middle of something is not used again.

        Raises TimeoutError when none becomes free, and whatever asyncpg raises when one cannot be made.
        """
        async with asyncio.timeout(_TURN_PATIENCE if self._turns.locked() else None):
            await self._turns.acquire()
        try:
            connection = self._pop() or await self._connect()
            clean = False
            try:
                yield connection
                clean = True
            except Exception as error:
                clean = not isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError)
                raise
            finally:
                self._give_back(connection, clean=clean)
        finally:
            self._turns.release()

    async def close(self) -> None:
        """Wait for those who have a connection or wait for one, then close all."""
        for _ in range(self._most):
            await self._turns.acquire()
        while self._idle:
            _, connection = self._idle.pop()
            await connection.close(timeout=_CONNECT_PATIENCE)

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            self._url,
            timeout=_CONNECT_PATIENCE,
            command_timeout=_STATEMENT_PATIENCE,
            server_settings={"application_name": "moorage"},
        )

    def _pop(self) -> asyncpg.Connection | None:
        """The connection that was used last, if it was not so long ago that something between may have dropped it."""
        while self._idle:
            since, connection = self._idle.pop()
            if not connection.is_closed() and asyncio.get_running_loop().time() - since < _IDLE:
                return connection
            connection.terminate()
        return None

    def _give_back(self, connection: asyncpg.Connection, *, clean: bool) -> None:
        if clean and not connection.is_closed() and not connection.is_in_transaction():
            self._idle.append((asyncio.get_running_loop().time(), connection))
        else:
            connection.terminate()
