"""oras (oras-go v2): artifacts, referrers, copies with everything attached, single blobs and manifests."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.conftest import Registry
from tests.programs import Shell

ARTIFACT = "application/vnd.moorage.test.artifact"
SBOM = "application/vnd.moorage.test.sbom"


@dataclass(frozen=True)
class Oras:
    shell: Shell
    registry: Registry
    trust: str

    def __call__(self, command: str, *arguments: str | Path, stdin: str = "") -> str:
        return self.shell("oras", *command.split(), f"--{self.trust}", *arguments, stdin=stdin)

    def fails(self, command: str, *arguments: str | Path, stdin: str = "") -> str:
        return self.shell.fails("oras", *command.split(), f"--{self.trust}", *arguments, stdin=stdin)

    def login(self) -> str:
        registry = self.registry
        return self("login", "-u", registry.user, "--password-stdin", registry.host, stdin=registry.password)

    def push(self, reference: str, content: str = "content") -> str:
        """Pushes an artifact of one file; its full name."""
        name = f"{self.registry.host}/{reference}"
        (self.shell.home / "file.txt").write_text(content)
        self("push", f"--artifact-type={ARTIFACT}", name, "file.txt:text/plain")
        return name

    def attach(self, name: str, content: str) -> None:
        (self.shell.home / "sbom.json").write_text(content)
        self("attach", f"--artifact-type={SBOM}", name, "sbom.json:application/json")

    def referrers(self, name: str, *options: str) -> list[dict[str, str]]:
        found = json.loads(self("discover", "--format=json", *options, name))
        return list(found["referrers"])


@pytest.fixture
def oras(registry: Registry, new_shell: Callable[..., Shell]) -> Oras:
    """With a home for the files that it pushes."""
    shell = new_shell()
    shell.home.mkdir()
    return Oras(shell, registry, f"ca-file={registry.ca}" if registry.ca else "plain-http")


def test_login_takes_the_right_password_only(oras: Oras, repository: str) -> None:
    """A wrong password is refused, the right one is taken, and without a login nothing can be listed."""
    registry = oras.registry

    stranger = oras.fails("repo tags", f"{registry.host}/{repository}")
    wrong = oras.fails("login", "-u", registry.user, "--password-stdin", registry.host, stdin="not-it")
    taken = oras.login()

    assert "basic credential not found" in stranger
    assert "unauthorized" in wrong
    assert "Login Succeeded" in taken


def test_push_and_pull_of_an_artifact(oras: Oras, repository: str, tmp_path: Path) -> None:
    """A file is pushed as an artifact and pulled with its name and content."""
    oras.login()

    name = oras.push(f"{repository}:1", "the content")
    oras("pull", "--output", tmp_path / "out", name)

    assert (tmp_path / "out/file.txt").read_text() == "the content"


def test_attached_artifacts_are_discovered_by_type(oras: Oras, repository: str) -> None:
    """What is attached is listed by the referrers API, all of it and by its type, and no fallback tag is written."""
    oras.login()
    name = oras.push(f"{repository}:1")

    for number in range(3):
        oras.attach(name, f'{{"sbom": {number}}}')

    assert [entry["artifactType"] for entry in oras.referrers(name)] == [SBOM] * 3
    assert len(oras.referrers(name, f"--artifact-type={SBOM}")) == 3
    assert oras.referrers(name, "--artifact-type=application/vnd.moorage.test.other") == []
    assert oras("repo tags", f"{oras.registry.host}/{repository}").split() == ["1"]


def test_recursive_copy_takes_the_referrers_along(oras: Oras, repository: str) -> None:
    """`cp --recursive` to another repository brings the artifact and what refers to it."""
    oras.login()
    name = oras.push(f"{repository}:1")
    oras.attach(name, "{}")
    copy = f"{oras.registry.host}/{repository}-copy:1"

    sides = (f"--from-{oras.trust}", f"--to-{oras.trust}")
    oras.shell("oras", "cp", "--recursive", *sides, name, copy)

    assert len(oras.referrers(copy)) == 1
    assert f"{repository}-copy" in oras("repo ls", oras.registry.host).split()


def test_tags_manifests_and_blobs_are_deleted(oras: Oras, repository: str) -> None:
    """Tags are added, a manifest is deleted with all its tags, and a blob that was pushed alone is deleted alone."""
    oras.login()
    name = oras.push(f"{repository}:1")
    repo = f"{oras.registry.host}/{repository}"
    oras("tag", name, "2", "3")
    before = oras("repo tags", repo).split()
    (oras.shell.home / "blob").write_text("a lone blob")
    blob = json.loads(oras("blob push", "--descriptor", repo, "blob"))

    read = oras("blob fetch", "--output=-", f"{repo}@{blob['digest']}")
    oras("blob delete", "--force", f"{repo}@{blob['digest']}")
    digest = json.loads(oras("manifest fetch", "--descriptor", name))["digest"]
    oras("manifest delete", "--force", f"{repo}@{digest}")

    assert before == ["1", "2", "3"]
    assert read == "a lone blob"
    assert "not found" in oras.fails("blob fetch", "--output=-", f"{repo}@{blob['digest']}")
    assert "not found" in oras.fails("manifest fetch", f"{repo}:2")


def test_unknown_authority_is_refused(tls_registry: Registry, new_shell: Callable[..., Shell]) -> None:
    """Without the CA oras does not send the password."""
    login = ("login", "-u", "admin", "--password-stdin", tls_registry.host)

    said = new_shell().fails("oras", *login, stdin="any")

    assert "x509: certificate signed by unknown authority" in said
