from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import asyncpg
import pytest
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from moorage.metadata import blobs, leases, manifests, outbox, repositories, tags, uploads, users
from moorage.metadata.database import CompiledStatements, Statement
from tests.metadata.homes import Home

MODULES = (blobs, leases, manifests, outbox, repositories, tags, uploads, users)


def _name_of(module: ModuleType, name: str) -> str:
    return f"{module.__name__.rpartition('.')[2]}.{name.removeprefix('_').lower()}"


STATEMENTS = {
    _name_of(module, name): statement
    for module in MODULES
    for name, statement in vars(module).items()
    if isinstance(statement, Statement)
}
# These read a table in the order of its key, from its beginning; the last of them reads the constants it is given.
WHOLE_TABLES = {"outbox.next", "users.all", "manifests.add_references"}

BYTES = {"digest", "body", "referrer", "key", "subject", *(f"digest_{place}" for place in range(8))}
NUMBERS = {
    *("count", "now", "until", "before", "size", "offset", "new_offset", "created_at", "started_at", "updated_at"),
    *("repository_id", "manifest_id", "blob_id", "change", "kind", "admin", "disabled", "new_disabled"),
}


class Samples(Mapping[str, Any]):
    """A value of the right type for every parameter."""

    def __init__(self, statement: str) -> None:
        # An upload's digest is text; everywhere else digests are keys.
        self._texts = {"digest"} if statement.startswith("uploads.") else set()
        # Bytes after which a list goes on are a digest, text is a name.
        self._bytes = BYTES | ({"after"} if statement.startswith("manifests.") else set())

    def __getitem__(self, name: str) -> Any:
        if name in self._bytes - self._texts:
            return b"\x01"
        return 1 if name in NUMBERS or name.startswith("change_") else "a"

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


def _plan_on_sqlite(home: Home, name: str) -> list[str]:
    sql, values = CompiledStatements(sqlite_dialect())[STATEMENTS[name]]
    connection = sqlite3.connect(home.data / "moorage" / "moorage.db")
    try:
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values(Samples(name)))]
    finally:
        connection.close()


def _plan_on_postgres(home: Home, name: str) -> list[str]:
    dialect = asyncpg_dialect()  # type: ignore[no-untyped-call]
    sql, values = CompiledStatements(dialect)[STATEMENTS[name]]

    async def explain() -> Sequence[Any]:
        connection = await asyncpg.connect(home.url)
        try:
            # Tables are empty here, and to read an empty one is always cheapest.
            await connection.execute("SET enable_seqscan = off")
            return list(await connection.fetch(f"EXPLAIN {sql}", *values(Samples(name))))
        finally:
            await connection.close()

    return [row[0] for row in asyncio.run(explain())]


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_sqlite_never_reads_a_whole_table(sqlite_home: Home, name: str) -> None:
    """Every statement finds its rows by an index on SQLite, and sorts nothing."""
    plan = _plan_on_sqlite(sqlite_home, name)

    scans = [line for line in plan if line.startswith("SCAN") or "TEMP B-TREE" in line or "AUTOMATIC" in line]
    assert not scans or name in WHOLE_TABLES, plan


def test_postgres_never_reads_a_whole_table(postgres_home: Home) -> None:
    """Every statement is accepted by PostgreSQL with the types of its parameters, and finds its rows by an index."""
    plans = {name: _plan_on_postgres(postgres_home, name) for name in STATEMENTS}

    scans = {name: plan for name, plan in plans.items() if any("Seq Scan" in line for line in plan)}
    assert scans.keys() <= WHOLE_TABLES, scans
