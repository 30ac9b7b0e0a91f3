"""Every test that takes `home` runs on both engines."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.metadata.migrate import bring_up_to_date
from moorage.metadata.schema import metadata
from tests.metadata.homes import Home
from tests.metadata.postgres_server import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    server = PostgresServer()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """The name of a database with today's schema, to copy."""
    name = postgres.create()
    asyncio.run(bring_up_to_date(postgres.url(name), Path("/nonexistent")))
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a database file of today's schema, to copy."""
    data = tmp_path_factory.mktemp("template")
    asyncio.run(bring_up_to_date(None, data))
    return data


@pytest.fixture
def sqlite_home(sqlite_template: Path, tmp_path: Path) -> Home:
    """An empty database file."""
    data = tmp_path / "data"
    shutil.copytree(sqlite_template, data)
    return Home("sqlite", None, data)


@pytest.fixture
def postgres_home(postgres: PostgresServer, postgres_template: str, tmp_path: Path) -> Home:
    """A database of the test's own on the PostgreSQL server, empty."""
    return Home("postgresql", postgres.url(postgres.create(postgres_template)), tmp_path)


@pytest.fixture(scope="session")
def shared_database(postgres: PostgresServer, postgres_template: str) -> str:
    """The name of a database that one test after another fills: making one takes longer than most tests."""
    return postgres.create(postgres_template)


@pytest.fixture
def shared_postgres_home(postgres: PostgresServer, shared_database: str, tmp_path: Path) -> Iterator[Home]:
    """An empty database on the PostgreSQL server, whose schema the test leaves as it is."""
    yield Home("postgresql", postgres.url(shared_database), tmp_path)
    postgres.execute(*(f"DELETE FROM {table}" for table in reversed(metadata.sorted_tables)), database=shared_database)


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest) -> Home:
    """An empty database of each engine in turn."""
    fixture = "sqlite_home" if request.param == "sqlite" else "shared_postgres_home"
    home: Home = request.getfixturevalue(fixture)
    return home
