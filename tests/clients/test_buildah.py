"""buildah 1.28: builds without a daemon, pushes what it built, and builds on what it pulled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.conftest import Registry
from tests.programs import Shell, need_root


@dataclass(frozen=True)
class Buildah:
    shell: Shell
    registry: Registry
    folders: tuple[str, ...]
    trust: str

    def __call__(self, command: str, *arguments: str | Path, stdin: str = "") -> str:
        return self.shell("buildah", *self.folders, command, *arguments, stdin=stdin)

    def fails(self, command: str, *arguments: str | Path, stdin: str = "") -> str:
        return self.shell.fails("buildah", *self.folders, command, *arguments, stdin=stdin)

    def login(self) -> str:
        registry = self.registry
        arguments = (self.trust, "--username", registry.user, "--password-stdin", registry.host)
        return self("login", *arguments, stdin=registry.password)

    def build(self, name: str, base: str, file: Path) -> None:
        """Commits *base* with *file* in its root as the local image *name*."""
        container = self("from", self.trust, base)
        self("copy", container, file, f"/{file.name}")
        self("commit", "--rm", container, name)


@pytest.fixture
def buildah(registry: Registry, containers_home: Shell, short_folder: Path) -> Buildah:
    """With images and logins of its own, and the CA in a folder that an option names."""
    need_root()
    folders = (f"--root={short_folder}/root", f"--runroot={short_folder}/run", "--storage-driver=vfs")
    trust = f"--cert-dir={registry.ca.parent}" if registry.ca else "--tls-verify=false"
    return Buildah(containers_home, registry, folders, trust)


def test_login_takes_the_right_password_only(buildah: Buildah, repository: str) -> None:
    """A wrong password is refused as one, the right one is taken, and without a login nothing can be pulled."""
    registry = buildah.registry

    stranger = buildah.fails("pull", buildah.trust, f"{registry.host}/{repository}:1")
    wrong = buildah.fails("login", buildah.trust, "-u", registry.user, "--password-stdin", registry.host, stdin="no")
    taken = buildah.login()

    assert "unauthorized" in stranger
    assert "invalid username/password" in wrong
    assert taken == "Login Succeeded!"


def test_an_image_is_built_on_one_that_was_pushed(buildah: Buildah, repository: str, tmp_path: Path) -> None:
    """What was built from scratch is pushed and pulled, and what is built on it holds the files of both."""
    for name in ("first", "second"):
        (tmp_path / name).write_text(f"the {name} file")
    base = f"{buildah.registry.host}/{repository}:base"
    top = f"{buildah.registry.host}/{repository}:top"
    buildah.login()

    buildah.build(base, "scratch", tmp_path / "first")
    buildah("push", buildah.trust, base)
    buildah("rmi", base)
    buildah.build(top, base, tmp_path / "second")
    buildah("push", buildah.trust, top)
    buildah("rmi", "--all", "--force")
    container = buildah("from", buildah.trust, top)
    root = Path(buildah("mount", container))

    assert (root / "first").read_text() == "the first file"
    assert (root / "second").read_text() == "the second file"
