"""regctl (regclient): single tags, artifacts, indexes, chunked uploads, and copies with referrers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.conftest import Registry
from tests.clients.images import two_platforms
from tests.programs import Shell

SIGNATURE = "application/vnd.moorage.test.signature"


@dataclass(frozen=True)
class Regctl:
    shell: Shell
    registry: Registry

    def __call__(self, command: str, *arguments: str | Path, stdin: str | bytes = b"") -> str:
        return self.shell("regctl", "--verbosity=error", *command.split(), *arguments, stdin=stdin)

    def fails(self, command: str, *arguments: str | Path, stdin: str | bytes = b"") -> str:
        return self.shell.fails("regctl", "--verbosity=error", *command.split(), *arguments, stdin=stdin)

    def login(self) -> None:
        registry = self.registry
        self("registry login", "-u", registry.user, "--pass-stdin", registry.host, stdin=registry.password)

    def name(self, reference: str) -> str:
        return f"{self.registry.host}/{reference}"


@pytest.fixture
def regctl(registry: Registry, new_shell: Callable[..., Shell], tmp_path: Path) -> Regctl:
    """With a configuration of its own, which says how to reach the registry."""
    shell = new_shell(REGCTL_CONFIG=str(tmp_path / "regctl.json"))
    trust = f"--cacert={registry.ca.read_text()}" if registry.ca else "--tls=disabled"
    shell("regctl", "registry", "set", "--skip-check", trust, registry.host)
    return Regctl(shell, registry)


def test_login_takes_the_right_password_only(regctl: Regctl) -> None:
    """A wrong password is refused at login, the right one is taken."""
    registry = regctl.registry

    wrong = regctl.fails("registry login", "-u", registry.user, "--pass-stdin", registry.host, stdin="not-it")
    regctl.login()

    assert "unauthorized" in wrong
    assert regctl("repo ls", registry.host) is not None


def test_one_tag_of_two_is_deleted(regctl: Regctl, repository: str, tmp_path: Path) -> None:
    """`tag delete` removes a tag and leaves the manifest, which another tag names."""
    layout, digest = two_platforms(tmp_path / "layout")
    regctl.login()
    for tag in ("keep", "drop"):
        regctl("image copy", f"ocidir://{layout.folder}:multi", regctl.name(f"{repository}:{tag}"))

    regctl("tag delete", regctl.name(f"{repository}:drop"))

    assert regctl("tag ls", regctl.name(repository)).split() == ["keep"]
    assert regctl("image digest", regctl.name(f"{repository}:keep")) == digest
    assert "not found" in regctl.fails("manifest head", regctl.name(f"{repository}:drop"))


def test_artifacts_are_listed_and_copied_with_their_subject(regctl: Regctl, repository: str, tmp_path: Path) -> None:
    """An artifact put on an image is in the list of its referrers, and `image copy --referrers` brings it along."""
    layout, _ = two_platforms(tmp_path / "layout")
    regctl.login()
    image, copy = regctl.name(f"{repository}:1"), regctl.name(f"{repository}-copy:1")
    regctl("image copy", f"ocidir://{layout.folder}:multi", image)

    regctl("artifact put", f"--subject={image}", f"--artifact-type={SIGNATURE}", stdin="signed")
    regctl("image copy", "--referrers", image, copy)

    for name in (image, copy):
        listed = json.loads(regctl("artifact list", "--format={{json .}}", name))
        assert [entry["artifactType"] for entry in listed["descriptors"]] == [SIGNATURE]
    assert regctl("artifact get", f"--subject={copy}", f"--filter-artifact-type={SIGNATURE}") == "signed"


def test_an_index_is_made_in_the_registry(regctl: Regctl, repository: str, tmp_path: Path) -> None:
    """`index create` makes an index from images that are there, and its platforms can be asked for."""
    layout, _ = two_platforms(tmp_path / "layout")
    regctl.login()
    source, made = regctl.name(f"{repository}:source"), regctl.name(f"{repository}:made")
    regctl("image copy", f"ocidir://{layout.folder}:multi", source)

    regctl("index create", made, f"--ref={source}", "--platform=linux/amd64", "--platform=linux/arm64")

    for architecture in ("amd64", "arm64"):
        inspected = json.loads(regctl("image inspect", f"--platform=linux/{architecture}", made))
        assert inspected["architecture"] == architecture


def test_a_blob_is_uploaded_in_chunks(regctl: Regctl, repository: str) -> None:
    """With a limit on chunks regctl sends a blob in several PATCH requests, and reads it back equal."""
    content = os.urandom(1_000_000)
    regctl.login()
    regctl("registry set", "--skip-check", "--blob-chunk=300000", "--blob-max=400000", regctl.registry.host)

    digest = regctl("blob put", regctl.name(repository), stdin=content)
    read = regctl.shell.output("regctl", "blob", "get", regctl.name(repository), digest)

    assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert read == content


def test_unknown_authority_is_refused(tls_registry: Registry, new_shell: Callable[..., Shell], tmp_path: Path) -> None:
    """Without the CA regctl does not send the password."""
    shell = new_shell(REGCTL_CONFIG=str(tmp_path / "regctl.json"))
    login = ("registry", "login", "-u", "admin", "--pass-stdin", tls_registry.host)

    said = shell.fails("regctl", *login, stdin="any")

    assert "x509: certificate signed by unknown authority" in said
