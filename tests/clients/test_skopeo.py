"""skopeo 1.9, the plainest user of containers/image: copy, inspect, list-tags, sync, delete."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.conftest import Registry
from tests.clients.images import two_platforms
from tests.programs import Shell


@dataclass(frozen=True)
class Skopeo:
    shell: Shell
    registry: Registry
    trust: str

    def __call__(self, command: str, *arguments: str | Path) -> str:
        return self.shell("skopeo", command, *arguments)

    def fails(self, command: str, *arguments: str | Path) -> str:
        return self.shell.fails("skopeo", command, *arguments)

    def flag(self, side: str = "") -> str:
        """The option by which skopeo trusts this registry, as source (`src-`), destination (`dest-`) or alone."""
        return f"--{side}{self.trust}"

    def login(self) -> str:
        arguments = ("login", self.flag(), "--username", self.registry.user, "--password-stdin", self.registry.host)
        return self.shell("skopeo", *arguments, stdin=self.registry.password)

    def name(self, reference: str) -> str:
        return f"docker://{self.registry.host}/{reference}"


@pytest.fixture
def skopeo(registry: Registry, containers_home: Shell) -> Skopeo:
    """With the CA in a folder that an option names."""
    return Skopeo(containers_home, registry, f"cert-dir={registry.ca.parent}" if registry.ca else "tls-verify=false")


def test_login_takes_the_right_password_only(skopeo: Skopeo) -> None:
    """A wrong password is refused as one, the right one is taken, and a logout ends it."""
    registry = skopeo.registry
    wrong = ("login", skopeo.flag(), "--username", registry.user, "--password", "not-it", registry.host)

    refused = skopeo.fails(*wrong)
    taken = skopeo.login()
    skopeo("logout", registry.host)
    afterwards = skopeo.fails("list-tags", skopeo.flag(), skopeo.name("any/thing"))

    assert "invalid username/password" in refused
    assert taken == "Login Succeeded!"
    assert "unauthorized" in afterwards


def test_copy_of_all_platforms_keeps_every_byte(skopeo: Skopeo, repository: str, tmp_path: Path) -> None:
    """An index goes in with `copy --all`, comes out byte for byte, and its tags can be listed."""
    layout, digest = two_platforms(tmp_path / "layout")
    skopeo.login()
    name = skopeo.name(repository)

    skopeo("copy", "--all", skopeo.flag("dest-"), f"oci:{layout.folder}:multi", f"{name}:1")
    skopeo("copy", "--all", skopeo.flag("src-"), f"{name}:1", f"oci:{tmp_path / 'back'}:multi")
    skopeo("copy", "--all", skopeo.flag("src-"), skopeo.flag("dest-"), f"{name}:1", f"{name}:2")

    tags = json.loads(skopeo("list-tags", skopeo.flag(), name))
    raw = skopeo("inspect", "--raw", skopeo.flag(), f"{name}:2")
    blob = Path("blobs/sha256") / digest.removeprefix("sha256:")
    assert (tmp_path / "back" / blob).read_bytes() == (layout.folder / blob).read_bytes()
    assert tags["Tags"] == ["1", "2"]
    assert raw.encode() == (layout.folder / blob).read_bytes()


def test_docker_schema_2_is_made_from_an_oci_image(skopeo: Skopeo, repository: str, tmp_path: Path) -> None:
    """`--format v2s2` uploads another manifest for the same layers, and the registry gives back that media type."""
    layout, _ = two_platforms(tmp_path / "layout")
    skopeo.login()
    name = skopeo.name(f"{repository}:v2s2")

    skopeo("copy", "--format=v2s2", skopeo.flag("dest-"), f"oci:{layout.folder}:multi", name)

    manifest = json.loads(skopeo("inspect", "--raw", skopeo.flag(), name))
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"


def test_sync_takes_a_whole_repository(skopeo: Skopeo, repository: str, tmp_path: Path) -> None:
    """`sync` copies every tag of a repository to a folder."""
    layout, _ = two_platforms(tmp_path / "layout")
    skopeo.login()
    name = skopeo.name(repository)
    for tag in ("one", "two"):
        skopeo("copy", skopeo.flag("dest-"), f"oci:{layout.folder}:multi", f"{name}:{tag}")

    source = f"{skopeo.registry.host}/{repository}"
    skopeo("sync", "--src=docker", "--dest=dir", skopeo.flag("src-"), source, tmp_path / "synced")

    assert sorted(folder.name.partition(":")[2] for folder in (tmp_path / "synced").iterdir()) == ["one", "two"]


def test_delete(skopeo: Skopeo, repository: str, tmp_path: Path) -> None:
    """`delete` removes the manifest that a tag names; afterwards it is unknown."""
    layout, _ = two_platforms(tmp_path / "layout")
    skopeo.login()
    name = skopeo.name(f"{repository}:gone")
    skopeo("copy", "--all", skopeo.flag("dest-"), f"oci:{layout.folder}:multi", name)

    skopeo("delete", skopeo.flag(), name)

    assert "manifest unknown" in skopeo.fails("inspect", "--raw", skopeo.flag(), name)


def test_unknown_authority_is_refused(tls_registry: Registry, containers_home: Shell) -> None:
    """Without the CA, skopeo does not send the password."""
    login = ("login", "-u", "admin", "--password-stdin", tls_registry.host)

    said = containers_home.fails("skopeo", *login, stdin="any")

    assert "x509: certificate signed by unknown authority" in said
