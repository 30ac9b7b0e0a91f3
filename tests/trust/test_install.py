"""The files of each client, below a folder that stands for a machine's root."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.errors import CertificateFailed, UserError
from moorage.trust.content import bundle, hosts_toml
from moorage.trust.fetch import fetch_authority, what_is_wrong
from moorage.trust.install import CLIENTS, Machine, found_clients, install, undo
from moorage.trust.place import Place, parse_place
from tests.certificates import Authority
from tests.trust.conftest import Server
from tests.trust.served import Answer, served

PLACE = parse_place("registry.example.com:5000")
FOLDERS = ("etc/docker/certs.d", "etc/containers/certs.d", "etc/containerd/certs.d")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Somebody else's file system, in a folder."""
    return Machine(tmp_path, tmp_path / "home", is_root=True, environment={})


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_each_client_gets_what_it_reads(machine: Machine, server: Server) -> None:
    """Docker and podman the certificate, containerd a hosts.toml that names it, the store one file for each."""
    both = [server.ca, server.old]

    done = install(CLIENTS, PLACE, both, machine)

    label = PLACE.label
    store = "usr/local/share/ca-certificates/moorage-registry.example.com_5000"
    assert tree(machine.root) == {
        **{f"{folder}/{label}/ca.crt": bundle(PLACE, both) for folder in FOLDERS},
        f"etc/containerd/certs.d/{label}/hosts.toml": hosts_toml(PLACE, f"/etc/containerd/certs.d/{label}/ca.crt"),
        **{f"{store}-{one.fingerprint[:12]}.crt": bundle(PLACE, [one]) for one in both},
    }
    assert {one.what for one in done} == {"written"}
    assert {str(one.path.relative_to(machine.root)) for one in done} == set(tree(machine.root))


def test_undo_leaves_a_machine_as_it_was(machine: Machine, server: Server) -> None:
    """With files of somebody else beside ours, in the place of ours, and folders that were not there."""
    theirs = {
        "etc/docker/certs.d/registry.example.com:5000/ca.crt": b"their authority",
        "etc/docker/certs.d/registry.example.com:5000/client.key": b"their key",
        "etc/containerd/certs.d/registry.example.com:5000/hosts.toml": b"their mirror",
        "usr/local/share/ca-certificates/company.crt": b"their store",
        "usr/local/share/ca-certificates/moorage-registry.example.com_5000-0.crt": b"theirs by our name",
    }
    for path, content in theirs.items():
        machine.at(path).parent.mkdir(parents=True, exist_ok=True)
        machine.at(path).write_bytes(content)

    install(CLIENTS, PLACE, [server.ca], machine)
    changed = tree(machine.root)
    undo(CLIENTS, PLACE, machine)

    assert changed["etc/containerd/certs.d/registry.example.com:5000/hosts.toml"] == b"their mirror"
    assert changed["etc/docker/certs.d/registry.example.com:5000/ca.crt"] == bundle(PLACE, [server.ca])
    assert tree(machine.root) == theirs
    assert not machine.at("etc/containers/certs.d/registry.example.com:5000").exists()


def test_a_hosts_toml_that_was_changed_after_us_stays(machine: Machine, server: Server) -> None:
    """Somebody has added to it; it is theirs then."""
    install(["containerd"], PLACE, [server.ca], machine)
    toml = machine.at(f"/etc/containerd/certs.d/{PLACE.label}/hosts.toml")
    toml.write_text(toml.read_text() + "  skip_verify = false\n")

    again = {one.path.name: one.what for one in install(["containerd"], PLACE, [server.ca], machine)}
    done = {one.path.name: one.what for one in undo(["containerd"], PLACE, machine)}

    assert again == {"ca.crt": "unchanged", "hosts.toml": "unchanged"}
    assert done == {"ca.crt": "removed", "hosts.toml": "left"}
    assert toml.exists()


def test_a_link_out_of_another_root_is_not_followed(machine: Machine, server: Server, tmp_path: Path) -> None:
    """Whoever made that file system does not choose what is written on this one."""
    outside = tmp_path / "outside"
    outside.mkdir()
    inner = Machine(tmp_path / "image", tmp_path, is_root=True, environment={})
    (inner.root / "etc").mkdir(parents=True)
    (inner.root / "etc" / "docker").symlink_to(outside)

    with pytest.raises(UserError, match="symbolic link"):
        install(["docker"], PLACE, [server.ca], inner)
    with pytest.raises(UserError, match="symbolic link"):
        undo(["docker"], PLACE, inner)

    assert list(outside.iterdir()) == []


def test_the_store_is_that_of_the_distribution(machine: Machine, server: Server) -> None:
    """Fedora, Arch and SUSE each have another folder."""
    for folder in ("etc/pki/trust/anchors", "etc/pki/ca-trust/source/anchors"):
        machine.at(folder).mkdir(parents=True)
        (done,) = install(["system"], PLACE, [server.ca], machine)
        assert done.path.parent == machine.at(folder)


def test_a_user_without_rights_has_podman_and_a_rootless_docker_trust(tmp_path: Path, server: Server) -> None:
    """In the home folder, where both look."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "docker.sock").touch()
    environment = {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    machine = Machine(Path("/"), tmp_path / "home", is_root=False, environment=environment)

    install(["docker", "podman"], PLACE, [server.ca], machine)

    assert set(tree(tmp_path / "home")) == {
        f".config/docker/certs.d/{PLACE.label}/ca.crt",
        f".config/containers/certs.d/{PLACE.label}/ca.crt",
    }


def test_the_clients_that_are_installed_are_found(machine: Machine) -> None:
    """By their programs; the system's store is nobody's to choose but a person's."""
    assert found_clients(machine) == []
    for name in ("usr/bin/skopeo", "usr/local/bin/nerdctl"):
        machine.at(name).parent.mkdir(parents=True, exist_ok=True)
        machine.at(name).touch(mode=0o755)
    assert found_clients(machine) == ["podman", "containerd"]


def test_the_authority_is_fetched_over_tls_and_over_plain_http(server: Server) -> None:
    """Believing nothing: it is the fingerprint that counts."""
    with served(Answer(server.ca.pem + server.old.pem), None) as plain:
        assert fetch_authority(server.place) == (server.ca,)
        assert fetch_authority(plain) == (server.ca, server.old)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"<html>", 200, "HTML"),
        (b"", 404, "with 404"),
        (b"", 302, "with 302"),
        (b"x" * 70_000, 200, "more than 65536 bytes"),
    ],
)
def test_what_is_no_authority_is_told(server: Server, body: bytes, status: int, said: str) -> None:
    """A page, no such thing, a redirect, a flood."""
    server.answer.body, server.answer.status = body, status

    with pytest.raises(CertificateFailed, match=said):
        fetch_authority(server.place)


def test_a_server_that_is_not_there_is_told(server: Server) -> None:
    """By address and reason."""
    with pytest.raises(CertificateFailed, match=r"https://127\.0\.0\.1:1/ca\.crt cannot be fetched: .*refused"):
        fetch_authority(Place("127.0.0.1", 1))


def test_what_clients_would_still_refuse_is_told(server: Server, authorities: tuple[Authority, Authority]) -> None:
    """A certificate for another name, or from another authority; nothing where all is well."""
    with served(server.answer, authorities[0].issue("registry.example.com")) as elsewhere:
        assert what_is_wrong(server.place, [server.ca]) == ""
        assert what_is_wrong(server.place, [server.old]) != ""
        assert "IP address mismatch" in what_is_wrong(elsewhere, [server.ca])
