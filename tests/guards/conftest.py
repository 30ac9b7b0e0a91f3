"""The table of limits, and a PostgreSQL server for those that need one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.metadata.migrate import bring_up_to_date
from tests.guards.renew import Renewal
from tests.guards.table import Table
from tests.metadata.postgres_server import PostgresServer


@pytest.fixture(scope="session")
def limits(request: pytest.FixtureRequest) -> Table:
    """What every counter may come to; while it is renewed, where the new figures go."""
    for plugin in request.config.pluginmanager.get_plugins():
        if type(plugin).__name__ == Renewal.__name__:
            table: Table = plugin.table
            return table
    return Table()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """An empty database with today's schema on a PostgreSQL server."""
    server = PostgresServer()
    try:
        url = server.url(server.create())
        asyncio.run(bring_up_to_date(url, Path("/nonexistent")))
        yield url
    finally:
        server.remove()
