"""Servers for the tests of the wire: one on plain loopback, one over TLS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.certificates import Authority
from tests.content import Client
from tests.servers import Moorage
from tests.wire.served import USERS, Served, check_log, fill, trusting


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the certificates here."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server on plain loopback; its log must stay clean."""
    with Moorage(tmp_path_factory.mktemp("plain") / "server", users=USERS) as server:
        yield fill(server, None)
        server.stop()
        check_log(server)


@pytest.fixture(scope="session")
def secure(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Served]:
    """A server over TLS; its log must stay clean."""
    pair = authority.issue("127.0.0.1", "registry.test")
    with Moorage(tmp_path_factory.mktemp("secure") / "server", users=USERS, pair=pair) as server:
        yield fill(server, trusting(authority))
        server.stop()
        check_log(server)


@pytest.fixture(params=["plain", "secure"])
def served(request: pytest.FixtureRequest) -> Served:
    """Each of the two."""
    found: Served = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def client(plain: Served) -> Client:
    """Alice, on plain loopback."""
    return plain.alice
