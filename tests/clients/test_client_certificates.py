"""Mutual TLS between two hosts: each client does what `moorage cert issue-client` prints, word for word."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from moorage.clock import SystemClock
from moorage.tls.private_ca import PrivateAuthority
from moorage.tls.store import CertificateStore
from tests.clients.engines import Engine
from tests.clients.hosts import Cable
from tests.clients.images import busybox_tar, two_platforms
from tests.clients.test_containerd import Containerd, containerd  # noqa: F401  (a fixture)
from tests.programs import Shell
from tests.servers import COMMAND, Moorage

NAME = "registry.lan"
USERS = {"alice": "c0rrect-horse"}
SECONDS = 60.0

# What one client after another finds at /etc, without a trace on this machine.
_VIEW = """
mkdir -p /etc/containers/certs.d /etc/containerd
mount --bind "$1/hosts" /etc/hosts
mount --bind "$1/containers" /etc/containers/certs.d
mount --bind "$1/containerd" /etc/containerd
shift
exec "$@"
"""


@dataclass(frozen=True)
class House:
    """A server with a private authority that lets nobody in without a certificate, and the host of its clients."""

    server: Moorage
    cable: Cable
    trusted: Path

    @property
    def host(self) -> str:
        return f"{NAME}:{self.server.port}"

    def moorage(self, *arguments: str | Path) -> str:
        return Shell(self.server.folder)(COMMAND, *arguments, "--data", self.server.data)

    def issue(self, name: str, home: Path) -> dict[str, str]:
        """The printed steps by their titles, with *name*'s two files in *home*."""
        home.mkdir(parents=True, exist_ok=True)
        printed = self.moorage("cert", "issue-client", name, "--out", home, "--host", self.host)
        blocks = re.findall(r"(?m)^(\S.*)\n((?:  .*\n?)+)", printed)
        return {title.split()[0].rstrip(","): commands for title, commands in blocks}

    def principals(self, repository: str) -> set[str]:
        """Whom the access log names for a repository."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            lines = [json.loads(line) for line in self.server.log.read_text().splitlines() if line.startswith("{")]
            found = {line["principal"] for line in lines if line.get("repository") == repository}
            if found:
                return found
            time.sleep(0.1)
        return set()

    def user(self, folder: Path) -> Shell:
        """A shell on the clients' host, with an empty folder where each client looks for certificates."""
        for part in ("containers", "containerd"):
            (folder / part).mkdir(parents=True)
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{self.cable.far.address} {NAME}\n")
        view = (*self.cable.near.prefix, "unshare", "--mount", "sh", "-ec", _VIEW, "sh", str(folder))
        (folder / "auth.json").write_text("{}")
        return Shell(folder / "home", {"REGISTRY_AUTH_FILE": str(folder / "auth.json")}, view)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Client and server on two hosts."""
    folder = tmp_path_factory.mktemp("server")
    with Cable() as cable:
        server = Moorage(
            folder,
            *("--tls-name", NAME, "--tls-own-clients"),
            users=USERS,
            address=cable.far.address,
            prefix=cable.far.prefix,
            environment={"MOORAGE_TLS_CLIENT_PRINCIPAL": "cn"},
        )
        with server:
            authority = PrivateAuthority(CertificateStore(server.data / "moorage" / "tls"), SystemClock())
            (folder / "ca.crt").write_bytes(b"".join(authority.certificates()))
            yield House(server, cable, folder / "ca.crt")


@pytest.fixture(scope="module", params=["20.10", "29"])
def engine(request: pytest.FixtureRequest, house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Each engine in turn; it trusts the server's authority and has no certificate of its own."""
    names = {NAME: house.cable.far.address}
    engine = Engine(tmp_path_factory.mktemp("engine"), house.cable.near, names, modern=request.param == "29")
    engine.trust(house.host, house.trusted)
    with engine:
        yield engine


def test_docker_pushes_and_pulls_with_a_certificate_and_no_login(engine: Engine, house: House, tmp_path: Path) -> None:
    """Before the printed steps the handshake fails, after them all works without a restart; once revoked, nothing."""
    shell = engine.shell(tmp_path / "home")
    image = f"{house.host}/mutual/image:{'29' if engine.modern else '20'}"
    shell(engine.docker, "import", "-", image, stdin=busybox_tar({}))
    name = f"docker-{'29' if engine.modern else '20'}"
    steps = house.issue(name, shell.home)

    before = shell.fails(engine.docker, "push", image)
    _follow(shell, steps["Docker"])
    shell(engine.docker, "push", image)
    shell(engine.docker, "rmi", image)
    shell(engine.docker, "pull", image)

    assert "certificate required" in before
    house.moorage("cert", "revoke-client", name)
    _wait_until(lambda: "revoked" in _said(shell, engine.docker, "pull", image))
    _follow(shell, _undone(steps["Docker"]))


def test_docker_is_who_its_certificate_says_even_after_a_login(engine: Engine, house: House, tmp_path: Path) -> None:
    """`docker login` succeeds, and no password is ever sent: docker waits to be asked for one."""
    shell = engine.shell(tmp_path / "home")
    version = "29" if engine.modern else "20"
    name, repository = f"login-{version}", f"mutual/login-{version}"
    steps = house.issue(name, shell.home)
    _follow(shell, steps["Docker"])
    shell(engine.docker, "import", "-", f"{house.host}/{repository}:1", stdin=busybox_tar({}))

    said = shell(engine.docker, "login", "-u", "alice", "--password-stdin", house.host, stdin=USERS["alice"])
    shell(engine.docker, "push", f"{house.host}/{repository}:1")

    assert "Login Succeeded" in said
    assert house.principals(repository) == {name}
    _follow(shell, _undone(steps["Docker"]))


def test_skopeo_podman_and_curl(house: House, short_folder: Path, tmp_path: Path) -> None:
    """The same files and steps, read at once by each."""
    layout, _ = two_platforms(tmp_path / "layout")
    shell = house.user(tmp_path / "view")
    folder = tmp_path / "view" / "containers" / house.host
    folder.mkdir()
    shutil.copyfile(house.trusted, folder / "ca.crt")
    steps = house.issue("podman", shell.home)
    image = f"docker://{house.host}/mutual/skopeo:1"
    storage = (f"--root={short_folder}/root", f"--runroot={short_folder}/run", f"--tmpdir={short_folder}/tmp")
    quiet = ("--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none")
    pull = ("podman", *storage, *quiet, "pull", f"{house.host}/mutual/skopeo:1")

    assert shell("curl", "-sS", f"http://{house.host}/ca.crt") == house.trusted.read_text().strip()
    before = shell.fails("skopeo", "copy", "--all", f"oci:{layout.folder}:multi", image)
    _follow(shell, steps["podman"])
    shell("skopeo", "copy", "--all", f"oci:{layout.folder}:multi", image)
    pulled = shell(*pull)

    assert "certificate required" in before
    assert re.fullmatch(r"[0-9a-f]{64}", pulled.splitlines()[-1])
    assert shell("sh", "-c", f"CURL_CA_BUNDLE={house.trusted} {steps['curl']}") == "{}"
    house.moorage("cert", "revoke-client", "podman")
    _wait_until(lambda: "403 (Forbidden)" in _said(shell, "skopeo", "inspect", image))


def test_containerd(house: House, containerd: Containerd, tmp_path: Path) -> None:  # noqa: F811  (the fixture)
    """With a hosts.toml that has the authority already, and with none."""
    layout, digest = two_platforms(tmp_path / "layout")
    archive = tmp_path / "layout.tar"
    archive.write_bytes(layout.archive())
    shell = house.user(tmp_path / "view")
    name = f"{house.host}/mutual/containerd:1"
    folder = tmp_path / "view" / "containerd" / "certs.d" / house.host
    folder.mkdir(parents=True)
    url = f"https://{house.host}"
    (folder / "hosts.toml").write_text(f'server = "{url}"\n[host."{url}"]\n  ca = "{house.trusted}"\n')
    client = f"containerd-{time.monotonic_ns()}"
    steps = house.issue(client, shell.home)
    ctr = (containerd.ctr, f"--address={containerd.folder}/sock", "images")
    # The daemon of version 2 does not see this view; its client does.
    local = ("--local",) if "engine29" in containerd.ctr else ()
    hosts = "--hosts-dir=/etc/containerd/certs.d"
    shell(*ctr, "import", "--all-platforms", "--base-name=local/layout", "--no-unpack", archive)
    shell(*ctr, "tag", "--force", "local/layout:multi", name)

    before = shell.fails(*ctr, "push", *local, hosts, name)
    _follow(shell, steps["containerd"])
    shell(*ctr, "push", *local, hosts, name)
    shell(*ctr, "rm", "--sync", name, "local/layout:multi")
    shell(*ctr, "pull", *local, hosts, name)

    assert "certificate required" in before
    assert digest in shell(*ctr, "list")
    (folder / "hosts.toml").unlink()
    _follow(shell, steps["containerd"])
    written = (folder / "hosts.toml").read_text().splitlines()
    assert written[:2] == [f'server = "{url}"', f'[host."{url}"]']
    assert written[2].startswith("  client = ")


def _follow(shell: Shell, commands: str) -> None:
    """Type the printed lines where the client's files lie."""
    shell("sh", "-ec", f'sudo() {{ "$@"; }}\n{commands}')


def _undone(commands: str) -> str:
    """Lines that remove what the printed ones put somewhere."""
    return "\n".join(f"rm {line.split()[-1]}" for line in commands.splitlines() if " install " in line)


def _said(shell: Shell, *command: str | Path) -> str:
    done = shell._run(command, b"", SECONDS)
    return (done.stdout + done.stderr).decode(errors="replace") if done.returncode else ""


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)
