"""The container image: how it is made, and the tutorial's own lines on a real Docker Engine."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from moorage.settings.classic import load_classic
from tests.certificates import Authority
from tests.clients.engines import Engine
from tests.clients.hosts import Cable
from tests.clients.images import busybox_tar
from tests.programs import Shell, need
from tests.servers import ROOT, Moorage

pytestmark = pytest.mark.slow

IMAGE = "moorage:0.1.0"
NAME = "registry.test"
UNCONFINED = "--security-opt=seccomp=unconfined"
STOP_SECONDS = 10
OVERRIDE = """
services:
  registry:
    security_opt: ["no-new-privileges:true", "seccomp=unconfined"]
"""


def build(folder: Path) -> Path:
    """Build the image as `make image` does; the archive."""
    need("apt-get")
    command = [sys.executable, "-m", "image.build", "--arch", "amd64", "--layout", "--output", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (archive,) = folder.glob("*-amd64.tar")
    return archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image."""
    return build(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    """The engine's host; nobody else is on it."""
    with Cable() as made:
        yield made


class Docker:
    """An engine with the image, and a home."""

    def __init__(self, engine: Engine, shell: Shell, folder: Path) -> None:
        self.engine = engine
        self.shell = shell
        self.folder = folder

    def __call__(self, *arguments: str, stdin: str | bytes = b"") -> str:
        return self.shell(self.engine.docker, *arguments, stdin=stdin)

    def fails(self, *arguments: str, stdin: str | bytes = b"") -> str:
        return self.shell.fails(self.engine.docker, *arguments, stdin=stdin)

    def logs(self, container: str) -> str:
        """Both streams."""
        return self.shell("sh", "-c", f"{self.engine.docker} logs {container} 2>&1")

    def serves(self, container: str) -> bool:
        """What the container says when it is asked."""
        probe = f"{self.engine.docker} exec {container} moorage-container health && echo serves || true"
        return self.shell("sh", "-c", probe).endswith("serves")

    def await_answer(self, container: str) -> None:
        """Return once it serves, which Docker itself sees half a minute later."""
        deadline = time.monotonic() + 120
        while not self.serves(container):
            assert time.monotonic() < deadline, self.logs(container)
            time.sleep(0.5)

    def await_health(self, container: str) -> None:
        """Return once it is healthy."""
        deadline = time.monotonic() + 180
        while (state := self("inspect", "-f", "{{.State.Health.Status}}", container)) != "healthy":
            assert time.monotonic() < deadline, f"{state}: {self.logs(container)}"
            time.sleep(0.5)


@pytest.fixture(scope="module", params=[False, True], ids=["20.10", "29"])
def docker(request: pytest.FixtureRequest, archive: Path, cable: Cable) -> Iterator[Docker]:
    """Either engine, with a network for its containers."""
    folder = Path(tempfile.mkdtemp(prefix="moorage-", dir="/tmp"))
    try:
        names = {NAME: cable.near.address}
        with Engine(folder, cable.near, names, modern=request.param, bridge=True) as engine:
            made = Docker(engine, engine.shell(folder / "home"), folder)
            made("load", "--input", str(archive))
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_same_commit_gives_the_same_image(archive: Path, tmp_path: Path) -> None:
    """A second build is the first one, byte for byte, with its bill of materials."""
    again = build(tmp_path)

    assert again.read_bytes() == archive.read_bytes()
    assert again.with_suffix(".spdx.json").read_bytes() == archive.with_suffix(".spdx.json").read_bytes()
    layouts = [path.with_name("moorage-0.1.0.oci.tar").read_bytes() for path in (again, archive)]
    assert layouts[0] == layouts[1]


def test_a_registry_lists_the_bill_of_materials(archive: Path, tmp_path: Path) -> None:
    """The layout goes into a registry with one command; there the bill is the image's referrer, and the image whole."""
    layout = f"{archive.with_name('moorage-0.1.0.oci.tar')}:0.1.0"
    shell = Shell(tmp_path / "home")
    with Moorage(tmp_path / "server", users={}) as server:
        where = f"{server.host}/moorage:0.1.0"
        shell("oras", "cp", "--recursive", "--from-oci-layout", layout, "--to-plain-http", where)
        found = shell("oras", "discover", "--plain-http", "--platform", "linux/amd64", "--format", "json", where)
        shell("crane", "validate", "--remote", where)
        config = json.loads(shell("crane", "config", "--platform", "linux/amd64", where))

    assert "application/spdx+json" in found
    assert config["config"]["Healthcheck"]["Test"][0] == "CMD"


def test_the_compose_file_names_what_there_is() -> None:
    """Its image is this version's, and its variables are settings that Moorage knows, without a warning but for TLS."""
    service = yaml.safe_load((ROOT / "deploy" / "compose.yml").read_text())["services"]["registry"]

    loaded = load_classic(None, service["environment"], {})

    assert service["image"] == IMAGE
    assert loaded.warnings == ()
    assert loaded.settings.auth.htpasswd == Path("/auth/htpasswd")
    assert loaded.settings.tls.certificate == Path("/certs/fullchain.pem")


def test_the_image_is_small_and_has_no_shell(archive: Path) -> None:
    """Less than 60 MB compressed, and nothing in it that a guest could use."""
    with tarfile.open(archive) as image:
        manifest = json.load(image.extractfile("manifest.json") or pytest.fail("no manifest"))[0]
        names: set[str] = set()
        size = 0
        for layer in manifest["Layers"]:
            data = (image.extractfile(layer) or pytest.fail(layer)).read()
            size += len(gzip.compress(data, 6, mtime=0))
            scratch = archive.with_name("layer")
            scratch.write_bytes(data)
            with tarfile.open(scratch) as members:
                names |= {member.name for member in members if member.isfile()}

    assert size < 60_000_000
    assert not {name for name in names if re.search(r"/(sh|bash|dash|apt|apt-get|dpkg|perl|pip)$", name)}


def test_the_bill_of_materials_names_everything(archive: Path) -> None:
    """Every locked package is in it, Debian's and Python's, by its package URL."""
    document = json.loads(archive.with_suffix(".spdx.json").read_text())
    urls = {package["externalRefs"][0]["referenceLocator"] for package in document["packages"]}

    for line in (ROOT / "image" / "packages-amd64.lock").read_text().splitlines():
        assert any(url.startswith(f"pkg:deb/debian/{line.split()[0].replace('+', '%2B')}@") for url in urls), line
    assert any(url.startswith("pkg:pypi/uvloop@") for url in urls)
    assert "pkg:pypi/moorage@0.1.0" in urls


def test_the_tutorials_own_line(docker: Docker, tmp_path: Path, cable: Cable) -> None:
    """`docker run ... registry:2` with only the image's name changed: health, login, push, pull, run; a killed
    container comes back with everything, and `docker stop` ends it in time."""
    auth, certificates, data = (docker.folder / name for name in ("auth", "certs", "registry"))
    for folder in (auth, certificates, data):
        folder.mkdir()
    pair = Authority(tmp_path).issue(NAME)
    shutil.copyfile(pair.certificate, certificates / "fullchain.pem")
    shutil.copyfile(pair.key, certificates / "privkey.pem")
    (certificates / "privkey.pem").chmod(0o600)
    docker.engine.trust(NAME, pair.ca)

    line = docker("run", "--rm", UNCONFINED, "--entrypoint", "htpasswd", IMAGE, "-Bbn", "alice", "c0rrect-horse")
    (auth / "htpasswd").write_text(line + "\n")
    docker(
        *("run", "-d", "-p", "443:5000", "--restart=always", "--name", "registry", UNCONFINED),
        *("-v", f"{auth}:/auth", "-v", f"{certificates}:/certs", "-v", f"{data}:/var/lib/registry"),
        *("-e", "REGISTRY_AUTH=htpasswd", "-e", "REGISTRY_AUTH_HTPASSWD_REALM=Registry Realm"),
        *("-e", "REGISTRY_AUTH_HTPASSWD_PATH=/auth/htpasswd"),
        *("-e", "REGISTRY_HTTP_TLS_CERTIFICATE=/certs/fullchain.pem"),
        *("-e", "REGISTRY_HTTP_TLS_KEY=/certs/privkey.pem", IMAGE),
    )
    try:
        docker.await_health("registry")
        users = docker("top", "registry", "-eo", "uid,pid,args").splitlines()[1:]
        assert sorted({line.split()[0] for line in users}) == ["0", "10001"]
        assert sum(line.split()[0] == "0" for line in users) == 2, users
        login = ("login", "--username", "alice", "--password-stdin", NAME)
        docker.fails(*login, stdin="wrong")
        docker(*login, stdin="c0rrect-horse")
        full = f"{NAME}/team/hello:1"
        files = {"etc/name": b"it runs", "padding": os.urandom(3_000_000)}
        docker("import", "-c", 'CMD ["/bin/cat", "/etc/name"]', "-", full, stdin=busybox_tar(files))
        docker("push", full)

        pid = docker("inspect", "-f", "{{.State.Pid}}", "registry")
        subprocess.run(["kill", "-9", pid], check=True)
        _await_another(docker, pid)
        docker.await_answer("registry")
        docker("rmi", full)
        docker("pull", full)
        said = docker("run", "--rm", "--network=none", UNCONFINED, full)
        before = time.monotonic()
        docker("stop", "registry")
        stopped = time.monotonic() - before

        assert "it runs" in said
        assert docker("inspect", "-f", "{{.State.ExitCode}}", "registry") == "0"
        assert stopped < STOP_SECONDS
        assert (data / "docker" / "registry" / "v2" / "repositories" / "team" / "hello").is_dir()
    finally:
        docker("rm", "-f", "registry")


def _await_another(docker: Docker, pid: str) -> None:
    deadline = time.monotonic() + 60
    while docker("inspect", "-f", "{{.State.Pid}}", "registry") in {pid, "0"}:
        assert time.monotonic() < deadline, docker.logs("registry")
        time.sleep(0.1)


@pytest.mark.parametrize("place", ["/etc/docker/registry/config.yml", "/etc/distribution/config.yml"])
def test_a_mounted_configuration_is_read(docker: Docker, place: str) -> None:
    """A config.yml where registry:2 or registry:3 looks for one is served without being named."""
    config = docker.folder / "config.yml"
    config.write_text(
        "version: 0.1\nstorage: {filesystem: {rootdirectory: /var/lib/registry}}\nhttp: {addr: ':5001'}\n"
    )
    docker("run", "-d", "--name", "configured", UNCONFINED, "-v", f"{config}:{place}", IMAGE)
    try:
        deadline = time.monotonic() + 120
        while "0.0.0.0:5001" not in (log := docker.logs("configured")) and ":::5001" not in log:
            assert time.monotonic() < deadline, log
            time.sleep(0.2)
    finally:
        docker("rm", "-f", "configured")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("version",), "moorage 0.1.0"),
        (("registry", "--version"), "moorage 0.1.0"),
        (("--version",), "moorage 0.1.0"),
        (("serve", "--help"), "Run the registry."),
        (("moorage", "user", "--help"), "Usage: moorage user"),
        (("htpasswd", "-Bbn", "ann", "secret"), "ann:$2y$"),
    ],
)
def test_the_image_knows_the_words_of_both(docker: Docker, words: tuple[str, ...], says: str) -> None:
    """What registry:2's image takes after its name, and what Moorage has."""
    assert says in docker("run", "--rm", UNCONFINED, IMAGE, *words)


def test_an_unknown_word_is_a_sentence(docker: Docker) -> None:
    """A word that is no command and no program is named."""
    assert "moorage: nonsense: No such file" in docker.fails("run", "--rm", UNCONFINED, IMAGE, "nonsense")


@pytest.mark.parametrize(
    "options",
    [
        ("--read-only",),
        ("--read-only", "--cap-drop=ALL", "--cap-add=DAC_OVERRIDE", "--security-opt=no-new-privileges"),
        ("--user=10001:10001",),
        ("--init",),
    ],
    ids=lambda options: options[0].strip("-"),
)
def test_it_needs_little(docker: Docker, options: tuple[str, ...]) -> None:
    """A read-only root, next to no capabilities, another user, an init before it: it serves, and knows that it does."""
    data = Path(tempfile.mkdtemp(dir=docker.folder))
    data.chmod(0o777)
    docker("run", "-d", "--name", "modest", "-v", f"{data}:/var/lib/registry", *options, UNCONFINED, IMAGE)
    try:
        docker.await_answer("modest")
        listed = docker("exec", "modest", "moorage", "ls", "--data", "/var/lib/registry")
        docker("stop", "modest")

        assert "Traceback" not in listed
        assert docker("inspect", "-f", "{{.State.ExitCode}}", "modest") == "0"
    finally:
        docker("rm", "-f", "-v", "modest")


def test_the_compose_file_as_it_is(docker: Docker, cable: Cable) -> None:
    """`docker compose up -d` with deploy/compose.yml: healthy, login, push; down and up again, and it is all there."""
    folder = docker.folder / "composed"
    for name in ("auth", "certs"):
        (folder / name).mkdir(parents=True)
    shutil.copyfile(ROOT / "deploy" / "compose.yml", folder / "compose.yml")
    (folder / "unconfined.yml").write_text(OVERRIDE)
    pair = Authority(folder).issue(NAME)
    shutil.copyfile(pair.certificate, folder / "certs" / "fullchain.pem")
    shutil.copyfile(pair.key, folder / "certs" / "privkey.pem")
    (folder / "certs" / "privkey.pem").chmod(0o600)
    docker.engine.trust(NAME, pair.ca)
    line = docker("run", "--rm", UNCONFINED, "--entrypoint", "htpasswd", IMAGE, "-Bbn", "alice", "c0rrect-horse")
    (folder / "auth" / "htpasswd").write_text(line + "\n")
    files = ("-f", "compose.yml", "-f", "unconfined.yml")

    def compose(*words: str) -> str:
        # It asks where it is, and cannot be told inside of the engine's mounts.
        there = f'cd {folder} && exec "$0" "$@"'
        return docker.shell("sh", "-c", there, need("docker-compose"), "--project-name", "moorage", *files, *words)

    try:
        compose("up", "--detach", "--wait")
        docker("login", "--username", "alice", "--password-stdin", NAME, stdin="c0rrect-horse")
        full = f"{NAME}/team/composed:1"
        docker("import", "-", full, stdin=busybox_tar({"etc/name": b"it runs"}))
        docker("push", full)
        compose("down")
        gone = docker("ps", "--all", "--quiet")
        compose("up", "--detach", "--wait")
        docker("rmi", full)
        docker("pull", full)

        assert gone == ""
        assert compose("ps", "--format", "{{.Service}} {{.Health}}") == "registry healthy"
    finally:
        compose("down", "--volumes")
