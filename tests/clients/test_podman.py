"""podman 4.3: login, push, pull, run, search, manifest lists."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.conftest import Registry
from tests.clients.images import Layout, busybox_tar, two_platforms
from tests.programs import Shell, need, need_root

# As little as a container can do with: neither a network, nor seccomp, nor a right to raise limits.
CONTAINER = (
    *("--network=none", "--security-opt=seccomp=unconfined"),
    *("--ulimit=nofile=256:256", "--ulimit=nproc=256:256"),
)


@dataclass(frozen=True)
class Podman:
    shell: Shell
    registry: Registry
    folders: tuple[str, ...]
    trust: tuple[str, ...]

    def __call__(self, *arguments: str | Path, stdin: str = "") -> str:
        return self.shell("podman", *self.folders, *arguments, stdin=stdin)

    def fails(self, *arguments: str | Path, stdin: str = "") -> str:
        return self.shell.fails("podman", *self.folders, *arguments, stdin=stdin)

    def login(self) -> str:
        registry = self.registry
        arguments = ("login", *self.trust, "--username", registry.user, "--password-stdin", registry.host)
        return self(*arguments, stdin=registry.password)

    def name(self, reference: str) -> str:
        return f"{self.registry.host}/{reference}"


@pytest.fixture
def podman(registry: Registry, containers_home: Shell, short_folder: Path) -> Podman:
    """With images and logins of its own, and the CA where podman looks for it by itself."""
    need_root()
    folders = (f"--root={short_folder}/root", f"--runroot={short_folder}/run", f"--tmpdir={short_folder}/tmp")
    quiet = ("--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none")
    if registry.ca is None:
        return Podman(containers_home, registry, (*folders, *quiet), ("--tls-verify=false",))
    certificates = containers_home.home / ".config/containers/certs.d" / registry.host
    certificates.mkdir(parents=True)
    shutil.copyfile(registry.ca, certificates / "ca.crt")
    return Podman(containers_home, registry, (*folders, *quiet), ())


def test_login_takes_the_right_password_only(podman: Podman, repository: str) -> None:
    """A wrong password is refused as one, the right one is taken; before it and after logout nothing can be pulled."""
    registry = podman.registry
    image = podman.name(f"{repository}:1")

    stranger = podman.fails("pull", *podman.trust, image)
    wrong = podman.fails("login", *podman.trust, "-u", registry.user, "--password-stdin", registry.host, stdin="no")
    taken = podman.login()
    known = podman.fails("pull", *podman.trust, image)
    podman("logout", registry.host)
    afterwards = podman.fails("pull", *podman.trust, image)

    assert "unauthorized" in stranger
    assert "invalid username/password" in wrong
    assert taken == "Login Succeeded!"
    assert "unknown" in known
    assert "unauthorized" in afterwards


def test_push_pull_and_run(podman: Podman, repository: str, tmp_path: Path) -> None:
    """An image is pushed, removed, pulled and runs; `search` finds its repository and lists its tags."""
    layout = Layout(tmp_path / "layout")
    layout.tag("box", layout.image(busybox_tar({"etc/hello": b"hello"}), command=("/bin/cat", "/etc/hello")))
    podman.login()
    image = podman.name(f"{repository}:1")
    built = podman("pull", "--quiet", f"oci:{layout.folder}:box")

    podman("push", *podman.trust, built, image)
    podman("rmi", "--all", "--force")
    podman("pull", *podman.trust, image)
    said = podman(f"--runtime={need('runc')}", "run", "--rm", *CONTAINER, image)

    assert said == "hello"
    assert podman.name(repository) in podman("search", *podman.trust, podman.name(repository))
    tags = podman("search", *podman.trust, "--list-tags", "--format=json", podman.name(repository))
    assert json.loads(tags) == [{"Name": podman.name(repository), "Tags": ["1"]}]


def test_manifest_list_of_two_platforms(podman: Podman, repository: str, tmp_path: Path) -> None:
    """`manifest push --all` uploads a list with its images, and `pull --platform` takes the one asked for."""
    layout, _ = two_platforms(tmp_path / "layout")
    podman.login()
    podman("manifest", "create", "both")
    podman("manifest", "add", "--all", "both", f"oci:{layout.folder}:multi")
    name = podman.name(f"{repository}:both")

    podman("manifest", "push", "--all", *podman.trust, "both", f"docker://{name}")
    pulled = []
    for architecture in ("amd64", "arm64"):
        podman("pull", *podman.trust, f"--platform=linux/{architecture}", name)
        pulled.append(podman("image", "inspect", "--format={{.Architecture}}", name))

    assert pulled == ["amd64", "arm64"]
