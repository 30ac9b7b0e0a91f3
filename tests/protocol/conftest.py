"""One server for the whole folder, since each test has a repository of its own, and its users."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.content import Client
from tests.protocol.transcript import USERS
from tests.secrecy import leaks
from tests.servers import Moorage


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moorage]:
    """A registry with its defaults and two users; in the end nothing has failed in it, and its log has no secret."""
    with Moorage(tmp_path_factory.mktemp("server"), "--workers", "4", users=USERS) as server:
        yield server
        assert server.stop() == 0
    log = server.log.read_text("utf-8")
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line for line in lines if "traceback" in line or line["level"] in {"error", "critical"}] == []
    assert [line for line in lines if line.get("status", 0) >= 500] == []
    assert any("status" in line for line in lines), "no request is logged: nothing was checked"
    assert leaks(log, USERS) == []


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
