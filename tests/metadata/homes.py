"""Where a test's database is, and how to run a scenario on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from moorage.metadata.database import Database
from moorage.metadata.open import open_database

T = TypeVar("T")


@dataclass(frozen=True)
class Home:
    """An empty database with today's schema; *engine* is "sqlite" or "postgresql"."""

    engine: str
    url: str | None
    data: Path

    def open(self) -> Database:
        """Another object for the same database, as another worker has."""
        return open_database(self.url, self.data)

    def run(self, scenario: Callable[[Database], Awaitable[T]]) -> T:
        """Run *scenario* on one object, in an event loop of its own."""
        return self.run_many(1, lambda databases: scenario(databases[0]))

    def run_many(self, count: int, scenario: Callable[[list[Database]], Awaitable[T]]) -> T:
        """Run *scenario* on *count* objects for the same database."""

        async def main() -> T:
            async with AsyncExitStack() as stack:
                databases = [self.open() for _ in range(count)]
                for database in databases:
                    stack.push_async_callback(database.close)
                return await scenario(databases)

        return asyncio.run(main())
