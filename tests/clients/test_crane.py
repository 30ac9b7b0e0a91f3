"""crane (go-containerregistry): validate reads every byte back; append, copy, mutate, tag, list, delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.conftest import Registry
from tests.clients.images import tar, two_platforms
from tests.programs import Shell


@dataclass(frozen=True)
class Crane:
    shell: Shell
    registry: Registry

    def __call__(self, *arguments: str | Path) -> str:
        return self.shell("crane", *arguments)

    def fails(self, *arguments: str | Path) -> str:
        return self.shell.fails("crane", *arguments)

    def login(self, password: str | None = None) -> None:
        arguments = ("auth", "login", "--username", self.registry.user, "--password-stdin", self.registry.host)
        self.shell("crane", *arguments, stdin=self.registry.password if password is None else password)

    def name(self, reference: str) -> str:
        return f"{self.registry.host}/{reference}"

    def append(self, reference: str, folder: Path) -> str:
        """Pushes an image of one small layer; its full name."""
        layer = folder / "layer.tar"
        layer.write_bytes(tar({"name": reference.encode(), "padding": b"\0" * 100_000}))
        name = self.name(reference)
        self("append", "--oci-empty-base", f"--new_layer={layer}", f"--new_tag={name}")
        return name


@pytest.fixture
def crane(registry: Registry, new_shell: Callable[..., Shell]) -> Crane:
    """Crane has no option for a CA; like every Go program it takes one from the environment."""
    return Crane(new_shell(**{"SSL_CERT_FILE": str(registry.ca)} if registry.ca else {}), registry)


def test_login_takes_the_right_password_only(crane: Crane, repository: str, tmp_path: Path) -> None:
    """With a wrong password, and without any, crane pushes nothing; with the right one it does."""
    layer = tmp_path / "layer.tar"
    layer.write_bytes(tar({"file": b"content"}))
    push = ("append", "--oci-empty-base", f"--new_layer={layer}", f"--new_tag={crane.name(repository)}:1")

    stranger = crane.fails(*push)
    crane.login("not-the-password")
    wrong = crane.fails(*push)
    crane.login()
    right = crane(*push)

    assert "401 Unauthorized" in stranger
    assert "401 Unauthorized" in wrong
    assert f"{crane.name(repository)}@sha256:" in right


def test_validate_reads_back_every_byte(crane: Crane, repository: str, tmp_path: Path) -> None:
    """`validate --remote` fetches manifest, configuration and layers and checks each digest."""
    crane.login()

    name = crane.append(f"{repository}:1", tmp_path)

    assert f"PASS: {name}" in crane("validate", "--remote", name)


def test_push_and_pull_of_an_index(crane: Crane, repository: str, tmp_path: Path) -> None:
    """A layout with two platforms is pushed as an index, validated, and pulled again as the same layout."""
    crane.login()
    layout, digest = two_platforms(tmp_path / "layout")
    name = crane.name(f"{repository}:multi")

    pushed = crane("push", "--index", layout.folder, name)
    valid = crane("validate", "--remote", f"{name}")
    crane("pull", "--format=oci", name, tmp_path / "back")

    indexed = crane("manifest", pushed)
    assert digest in indexed
    assert f"PASS: {name}" in valid
    assert (tmp_path / "back/blobs/sha256" / digest.removeprefix("sha256:")).is_file()


def test_copy_tag_list_and_delete(crane: Crane, repository: str, tmp_path: Path) -> None:
    """`copy` mounts layers from the other repository; tags and repositories are listed; one tag is deleted alone."""
    crane.login()
    name = crane.append(f"{repository}:1", tmp_path)
    digest = crane("digest", name)
    copy = crane.name(f"{repository}-copy")

    crane("copy", name, f"{copy}:1")
    crane("tag", f"{copy}:1", "2")
    crane("delete", f"{copy}:1")

    assert crane("ls", copy).split() == ["2"]
    assert crane("digest", f"{copy}:2") == digest
    assert {repository, f"{repository}-copy"} <= set(crane("catalog", crane.registry.host).split())
    assert "MANIFEST_UNKNOWN" in crane.fails("manifest", f"{copy}:1")


def test_deleting_by_digest_takes_the_tags_with_it(crane: Crane, repository: str, tmp_path: Path) -> None:
    """After a delete by digest neither the digest nor a tag that named it can be read."""
    crane.login()
    name = crane.append(f"{repository}:1", tmp_path)
    by_digest = f"{crane.name(repository)}@{crane('digest', name)}"

    crane("delete", by_digest)

    assert "MANIFEST_UNKNOWN" in crane.fails("manifest", by_digest)
    assert "MANIFEST_UNKNOWN" in crane.fails("manifest", name)


def test_mutate_and_export(crane: Crane, repository: str, tmp_path: Path) -> None:
    """A label is added in the registry, and the file system of the result is exported."""
    crane.login()
    name = crane.append(f"{repository}:1", tmp_path)

    crane("mutate", "--label=colour=blue", f"--tag={name}-blue", name)
    crane("export", f"{name}-blue", tmp_path / "export.tar")

    assert '"colour":"blue"' in crane("config", f"{name}-blue")
    assert f"{repository}:1".encode() in (tmp_path / "export.tar").read_bytes()


def test_unknown_authority_is_refused(tls_registry: Registry, new_shell: Callable[..., Shell]) -> None:
    """Without the CA crane does not talk to the registry."""
    said = new_shell().fails("crane", "catalog", tls_registry.host)

    assert "x509: certificate signed by unknown authority" in said
