"""A registry on plain loopback and one behind TLS, and a home for the client under test."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.programs import Shell
from tests.servers import Moorage


@dataclass(frozen=True)
class Registry:
    """Where a client finds the server, and what it needs to get in."""

    server: Moorage
    ca: Path | None

    @property
    def host(self) -> str:
        return self.server.host

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def user(self) -> str:
        return self.server.user

    @property
    def password(self) -> str:
        return self.server.password


@pytest.fixture(scope="session")
def plain_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Plain HTTP on loopback, users in an htpasswd file."""
    with Moorage(tmp_path_factory.mktemp("plain"), users={"alice": "c0rrect-horse"}) as server:
        yield Registry(server, None)


@pytest.fixture(scope="session")
def tls_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """TLS with a CA that nobody trusts yet, built-in users with the administrator of first start."""
    authority = Authority(tmp_path_factory.mktemp("ca"))
    # A folder with nothing but the CA, as containers/image wants it.
    ca = tmp_path_factory.mktemp("trust") / "ca.crt"
    shutil.copyfile(authority.path, ca)
    with Moorage(tmp_path_factory.mktemp("tls"), pair=authority.issue("127.0.0.1", "localhost")) as server:
        yield Registry(server, ca)


@pytest.fixture(params=["plain", "tls"])
def registry(request: pytest.FixtureRequest) -> Registry:
    """Both kinds, one after the other: each test that asks for it runs twice."""
    chosen = request.getfixturevalue(f"{request.param}_registry")
    assert isinstance(chosen, Registry)
    return chosen


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository name of this test's own."""
    return re.sub(r"[^a-z0-9]+", "-", f"{request.path.stem}-{request.node.name}".lower()).strip("-")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for unix sockets and for podman, which takes 50 characters at most."""
    with tempfile.TemporaryDirectory(prefix="moorage-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
        unmount_below(Path(folder))


@pytest.fixture
def containers_home(new_shell: Callable[..., Shell], tmp_path: Path) -> Shell:
    """A shell for the clients of containers/image, with a file of logins of its own."""
    logins = tmp_path / "auth.json"
    logins.write_text("{}")
    return new_shell(REGISTRY_AUTH_FILE=str(logins))


def unmount_below(folder: Path) -> None:
    """Detaches what a client left mounted in *folder*, so that it can be deleted."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for target in sorted(filter(lambda path: path.startswith(f"{folder}/"), mounted), reverse=True):
        subprocess.run(["umount", "--lazy", target], check=False, capture_output=True)


@pytest.fixture
def new_shell(tmp_path: Path) -> Callable[..., Shell]:
    """Makes a shell with a home of this test's own and the given variables."""

    def make(**environment: str) -> Shell:
        return Shell(tmp_path / "home", environment)

    return make
