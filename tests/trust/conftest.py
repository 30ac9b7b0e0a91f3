"""An authority, the one before it, and a server of the first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from moorage.trust.certificates import Certificate, read_certificates
from moorage.trust.place import Place
from tests.certificates import Authority
from tests.trust.served import Answer, served


@dataclass(frozen=True)
class Server:
    """Where it is, what it answers, and the two authorities that a test may have it answer with."""

    place: Place
    answer: Answer
    ca: Certificate
    old: Certificate


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """One that a server's certificate is from, and another."""
    return Authority(tmp_path_factory.mktemp("new"), "New"), Authority(tmp_path_factory.mktemp("old"), "Old")


@pytest.fixture
def server(authorities: tuple[Authority, Authority]) -> Iterator[Server]:
    """Speaks TLS on loopback, and serves its authority."""
    new, old = authorities
    ca, before = (read_certificates(one.path.read_bytes())[0] for one in (new, old))
    answer = Answer(ca.pem)
    with served(answer, new.issue("127.0.0.1")) as place:
        yield Server(place, answer, ca, before)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder
