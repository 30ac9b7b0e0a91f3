"""One server for the whole folder, since each test has a repository of its own, and its users."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.content import Client
from tests.protocol.transcript import USERS
from tests.servers import Moorage


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moorage]:
    """A registry with its defaults and two users."""
    with Moorage(tmp_path_factory.mktemp("server"), "--workers", "4", users=USERS) as server:
        yield server


@pytest.fixture(scope="session")
def alice(server: Moorage) -> Client:
    """Who may do everything."""
    return Client(server, "alice", USERS["alice"])


@pytest.fixture(scope="session")
def bob(server: Moorage) -> Client:
    """Who may do everything, too."""
    return Client(server, "bob", USERS["bob"])


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A repository of the test's own."""
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:200]
