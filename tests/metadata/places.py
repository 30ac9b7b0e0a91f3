"""Databases without a schema, for the tests that make one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from moorage.metadata.migrate import VERSION_TABLE
from tests.metadata.postgres_server import PostgresServer

_CATALOG = (
    """
    SELECT table_name, column_name, data_type, is_nullable, collation_name, column_default
    FROM information_schema.columns WHERE table_schema = 'public'
    """,
    """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    """,
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
)


class Place(Protocol):
    """A database that nobody has made a schema in, and how an administrator looks into it."""

    @property
    def url(self) -> str | None:
        """What `bring_up_to_date` is given, and *data* beside it."""
        ...

    @property
    def data(self) -> Path:
        """The data folder."""
        ...

    def execute(self, *statements: str) -> None:
        """Run SQL as an administrator would."""
        ...

    def inspect(self, look: Callable[[sqlalchemy.Connection], Any]) -> Any:
        """What *look* returns for a connection to it."""
        ...

    def definitions(self) -> set[tuple[str, ...]]:
        """All that the engine keeps about tables, columns, constraints and indexes."""
        ...


class File:
    """A database file that does not exist yet."""

    url = None

    def __init__(self, data: Path) -> None:
        self.data = data
        self.path = data / "moorage" / "moorage.db"

    def execute(self, *statements: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    def inspect(self, look: Callable[[sqlalchemy.Connection], Any]) -> Any:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        engine = sqlalchemy.create_engine("sqlite://", creator=lambda: sqlite3.connect(self.path))
        try:
            with engine.begin() as connection:
                return look(connection)
        finally:
            engine.dispose()

    def definitions(self) -> set[tuple[str, ...]]:
        sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL"

        def look(connection: sqlalchemy.Connection) -> set[tuple[str, ...]]:
            # The parts of a table are what counts, not their order: constraints follow each other as they were written.
            return {(*row[:3], *sorted(_parts(row[3]))) for row in connection.exec_driver_sql(sql)}

        return {row for row in self.inspect(look) if row[2] != VERSION_TABLE}


def _parts(sql: str) -> list[str]:
    lines = [" ".join(line.split()).removesuffix(",") for line in sql.split("\n")]
    return [line.replace("manifests.subject", "subject") for line in lines]


class Server:
    """An empty database on the PostgreSQL server."""

    def __init__(self, server: PostgresServer, data: Path) -> None:
        self._server = server
        self._name = server.create()
        self.url = server.url(self._name)
        self.data = data

    def execute(self, *statements: str) -> None:
        self._server.execute(*statements, database=self._name)

    def inspect(self, look: Callable[[sqlalchemy.Connection], Any]) -> Any:
        async def main() -> Any:
            engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(self.url))
            try:
                async with engine.begin() as connection:
                    return await connection.run_sync(look)
            finally:
                await engine.dispose()

        return asyncio.run(main())

    def definitions(self) -> set[tuple[str, ...]]:
        def look(connection: sqlalchemy.Connection) -> set[tuple[str, ...]]:
            return {tuple(row) for query in _CATALOG for row in connection.exec_driver_sql(query)}

        return {row for row in self.inspect(look) if row[0] != VERSION_TABLE}
