"""containerd by its own `ctr`, Debian's 1.6 and a 2.x: what Kubernetes pulls with."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.conftest import Registry, unmount_below
from tests.clients.images import two_platforms
from tests.programs import Shell, need, need_root

START_SECONDS = 30.0

CONFIGURATION = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
[grpc]
address = "{folder}/sock"
[ttrpc]
address = "{folder}/ttrpc"
"""

HOSTS = """
server = "{url}"
[host."{url}"]
capabilities = ["pull", "resolve", "push"]
{ca}
"""


@dataclass(frozen=True)
class Containerd:
    """A running containerd; *folder* holds its configuration, its socket and `certs.d`."""

    folder: Path
    ctr: str

    def trust(self, url: str, ca: Path | None) -> None:
        """Writes the `hosts.toml` that containerd's documentation asks for."""
        folder = self.folder / "certs.d" / url.partition("://")[2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts.toml").write_text(HOSTS.format(url=url, ca=f'ca = "{ca}"' if ca else ""))


@dataclass(frozen=True)
class Ctr:
    containerd: Containerd
    shell: Shell
    registry: Registry

    def __call__(self, *arguments: str | Path) -> str:
        return self.shell(self.containerd.ctr, f"--address={self.containerd.folder}/sock", "images", *arguments)

    def fails(self, *arguments: str | Path) -> str:
        return self.shell.fails(self.containerd.ctr, f"--address={self.containerd.folder}/sock", "images", *arguments)

    def access(self, password: str | None = None) -> tuple[str, str]:
        registry = self.registry
        user = f"{registry.user}:{registry.password if password is None else password}"
        return f"--hosts-dir={self.containerd.folder}/certs.d", f"--user={user}"

    def name(self, reference: str) -> str:
        return f"{self.registry.host}/{reference}"


@pytest.fixture(scope="module", params=["1.6", "2"])
def containerd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """Each version in turn, with a store of its own."""
    need_root()
    programs = "/usr/bin" if request.param == "1.6" else str(Path(need("containerd", "engine29")).parent)
    folder = tmp_path_factory.mktemp("cd")
    (folder / "config.toml").write_text(CONFIGURATION.format(folder=folder))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [need(f"{programs}/containerd"), f"--config={folder}/config.toml"],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (folder / "sock").exists():
            alive = process.poll() is None and time.monotonic() < deadline
            assert alive, (folder / "log").read_text()[-4000:]
            time.sleep(0.05)
        yield Containerd(folder, f"{programs}/ctr")
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        unmount_below(folder)


@pytest.fixture
def ctr(containerd: Containerd, registry: Registry, tmp_path: Path) -> Ctr:
    """Each version with each kind of registry."""
    containerd.trust(registry.url, registry.ca)
    return Ctr(containerd, Shell(tmp_path / "home"), registry)


def load(ctr: Ctr, folder: Path, name: str) -> str:
    """Imports an image of two platforms as *name*; the digest of its index."""
    layout, digest = two_platforms(folder / "layout")
    archive = folder / "layout.tar"
    archive.write_bytes(layout.archive())
    ctr("import", "--all-platforms", "--base-name=local/layout", "--no-unpack", archive)
    ctr("tag", "--force", "local/layout:multi", name)
    return digest


def test_push_and_pull_with_the_right_password_only(ctr: Ctr, repository: str, tmp_path: Path) -> None:
    """An index with both platforms is pushed and pulled with a password, and with a wrong one neither."""
    name = ctr.name(f"{repository}:1")
    digest = load(ctr, tmp_path, name)

    wrong_push = ctr.fails("push", *ctr.access("not-it"), name)
    ctr("push", *ctr.access(), name)
    ctr("rm", "--sync", name, "local/layout:multi")
    wrong_pull = ctr.fails("pull", *ctr.access("not-it"), name)
    ctr("pull", "--all-platforms", *ctr.access(), name)

    assert "401" in wrong_push
    assert "401" in wrong_pull
    listed = next(line for line in ctr("ls").splitlines() if line.startswith(name))
    assert digest in listed
    assert "complete" in ctr("check", f"name=={name}")


def test_the_files_of_a_pulled_image_can_be_mounted(ctr: Ctr, repository: str, tmp_path: Path) -> None:
    """What was pulled is unpacked and holds the files that were pushed."""
    name = ctr.name(f"{repository}:1")
    load(ctr, tmp_path, name)
    ctr("push", *ctr.access(), name)
    ctr("rm", "--sync", name, "local/layout:multi")
    ctr("pull", *ctr.access(), name)
    target = tmp_path / "mounted"
    target.mkdir()

    ctr("mount", name, target)
    try:
        content = (target / "platform").read_text()
    finally:
        ctr("unmount", "--rm", target)

    assert content == "amd64"


def test_unknown_authority_is_refused(containerd: Containerd, tls_registry: Registry, tmp_path: Path) -> None:
    """Without the CA in `hosts.toml` containerd does not send the password."""
    ctr = Ctr(containerd, Shell(tmp_path / "home"), tls_registry)
    containerd.trust(tls_registry.url, None)

    said = ctr.fails("pull", *ctr.access(), ctr.name("any/image:1"))

    assert "x509: certificate signed by unknown authority" in said
