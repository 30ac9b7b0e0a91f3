"""Every test that takes `volume` has a foreign volume of its own, with a database on each engine in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adopt.volume import Adopted
from tests.metadata.postgres_server import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    server = PostgresServer()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Adopted:
    """An empty folder, and a database that does not exist yet."""
    if request.param == "sqlite":
        return Adopted(tmp_path / "data")
    server: PostgresServer = request.getfixturevalue("postgres")
    return Adopted(tmp_path / "data", server.url(server.create()))
