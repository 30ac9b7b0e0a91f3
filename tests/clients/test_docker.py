"""Docker Engine 20.10 (classic image store) and 29 (containerd's): two clients that differ in every detail."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.clients import cutting_proxy
from tests.clients.engines import Engine
from tests.clients.hosts import Cable
from tests.clients.images import busybox_tar, tar, two_platforms
from tests.programs import Shell
from tests.servers import Moorage, free_port

NAME = "registry.test"
BUILDKIT_DOCKER = "/usr/bin/docker"  # 20.10 brings BuildKit's client; later ones want the buildx plugin for it
BIG_LAYER = 30_000_000


@dataclass(frozen=True)
class Docker:
    """One engine, a registry that it reaches, and a home for its command."""

    engine: Engine
    shell: Shell
    server: Moorage
    host: str
    ca: Path | None

    def __call__(self, *arguments: str, stdin: str | bytes = b"") -> str:
        return self.shell(self.engine.docker, *arguments, stdin=stdin)

    def fails(self, *arguments: str, stdin: str | bytes = b"") -> str:
        return self.shell.fails(self.engine.docker, *arguments, stdin=stdin)

    def login(self) -> str:
        return self("login", "--username", self.server.user, "--password-stdin", self.host, stdin=self.server.password)

    def image(self, reference: str, *, padding: int = 0) -> str:
        """Imports a small image that prints its own name; its reference on this registry."""
        full = f"{self.host}/{reference}"
        files = {"etc/name": reference.encode(), "padding": os.urandom(padding)}
        self("import", "-c", 'CMD ["/bin/cat", "/etc/name"]', "-", full, stdin=busybox_tar(files))
        return full

    def run(self, reference: str) -> str:
        return self("run", "--rm", "--network=none", "--security-opt=seccomp=unconfined", reference)


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    """The engine's host and another."""
    with Cable() as cable:
        yield cable


@pytest.fixture(scope="module")
def plain_server(cable: Cable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moorage]:
    """On the engine's own loopback, where docker allows plain HTTP."""
    users = {"alice": "c0rrect-horse"}
    with Moorage(tmp_path_factory.mktemp("plain"), users=users, prefix=cable.near.prefix) as server:
        yield server


@pytest.fixture(scope="module")
def tls_server(cable: Cable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moorage]:
    """On another host, behind TLS."""
    pair = Authority(tmp_path_factory.mktemp("ca")).issue(NAME)
    folder, address = tmp_path_factory.mktemp("tls"), cable.far.address
    with Moorage(folder, pair=pair, address=address, prefix=cable.far.prefix) as server:
        yield server


@pytest.fixture(scope="module", params=["20.10", "29"])
def engine(
    request: pytest.FixtureRequest, cable: Cable, tls_server: Moorage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """Each engine in turn, with the CA from its start, because 20.10's BuildKit looks for it only once."""
    assert tls_server.pair is not None
    folder, names = tmp_path_factory.mktemp("engine"), {NAME: cable.far.address}
    engine = Engine(folder, cable.near, names, modern=request.param == "29")
    engine.trust(f"{NAME}:{tls_server.port}", tls_server.pair.ca)
    with engine:
        yield engine


@pytest.fixture
def bad_line(cable: Cable, plain_server: Moorage) -> Iterator[str]:
    """`127.0.0.1:PORT` of a relay to the plain server that breaks one connection after 10 MB of an answer."""
    port = free_port()
    numbers = (str(number) for number in (port, plain_server.port, BIG_LAYER // 3, 1))
    relay = subprocess.Popen([*cable.near.prefix, sys.executable, cutting_proxy.__file__, *numbers])
    try:
        plain_server.await_port(port)
        yield f"127.0.0.1:{port}"
    finally:
        relay.kill()
        relay.wait()


@pytest.fixture(params=["plain", "tls"])
def docker(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Docker:
    """Both engines on both kinds of wire."""
    server = request.getfixturevalue(f"{request.param}_server")
    assert isinstance(server, Moorage)
    shell = engine.shell(tmp_path / "home")
    if server.pair is None:
        return Docker(engine, shell, server, server.host, None)
    return Docker(engine, shell, server, f"{NAME}:{server.port}", server.pair.ca)


def test_login_takes_the_right_password_only(docker: Docker) -> None:
    """`docker login` refuses a wrong password, accepts the right one, and without a login nothing is pushed."""
    image = docker.image("login/image:1")

    wrong = docker.fails("login", "-u", docker.server.user, "--password-stdin", docker.host, stdin="not-the-password")
    stranger = docker.fails("push", image)
    right = docker.login()

    assert "401" in wrong or "unauthorized" in wrong.lower()
    assert "no basic auth credentials" in stranger or "authorization failed" in stranger.lower()
    assert "Login Succeeded" in right


def test_push_pull_and_run(docker: Docker) -> None:
    """An image of 30 MB is pushed, removed, pulled by tag and by digest, and runs; after logout it cannot be pulled."""
    docker.login()
    image = docker.image("walk/image:1", padding=BIG_LAYER)

    pushed = docker("push", image)
    docker("rmi", image)
    docker("pull", image)
    said = docker.run(image)

    digest = re.search(r"sha256:[0-9a-f]{64}", pushed)
    assert digest is not None
    assert said == "walk/image:1"
    docker("rmi", image)
    by_digest = f"{docker.host}/walk/image@{digest[0]}"
    docker("pull", by_digest)
    assert docker.run(by_digest) == "walk/image:1"
    docker("rmi", "--force", by_digest)
    docker("logout", docker.host)
    refused = docker.fails("pull", image)
    assert "no basic auth credentials" in refused or "authorization failed" in refused.lower()


@pytest.mark.parametrize("docker", ["plain"], indirect=True)
def test_a_pull_that_is_cut_goes_on_where_it_was(docker: Docker, bad_line: str) -> None:
    """When the line breaks in a layer, docker asks for the rest by a range, and the image is whole."""
    docker.login()
    repository = "cut/modern" if docker.engine.modern else "cut/classic"
    image = docker.image(f"{repository}:1", padding=BIG_LAYER)
    docker("push", image)
    docker("rmi", image)
    docker("login", "-u", docker.server.user, "--password-stdin", bad_line, stdin=docker.server.password)

    docker("pull", f"{bad_line}/{repository}:1")

    assert docker.run(f"{bad_line}/{repository}:1") == f"{repository}:1"
    partial = [line for line in docker.server.log.read_text().splitlines() if '"status":206' in line]
    assert any(f"/v2/{repository}/blobs/" in line for line in partial)


def test_layers_that_the_registry_has_are_not_sent_again(docker: Docker) -> None:
    """A second tag sends no layer, and a second repository has them mounted (which Engine 29 calls existing)."""
    docker.login()
    image = docker.image("mount/one:1")
    docker("push", image)
    again, elsewhere = f"{docker.host}/mount/one:2", f"{docker.host}/mount/two:1"
    docker("tag", image, again)
    docker("tag", image, elsewhere)

    second = docker("push", again)
    mounted = docker("push", elsewhere)

    assert "Layer already exists" in second
    assert ("Layer already exists" if docker.engine.modern else "Mounted from mount/one") in mounted
    assert ": Pushed" not in second + mounted


def test_manifest_list(docker: Docker) -> None:
    """`docker manifest create` and `push` make a list of platforms that `inspect` reads back and `pull` follows.

    Of Docker's own media type over images of Engine 20.10, an OCI index over those of Engine 29.
    """
    docker.login()
    images = [docker.image(f"list/image:{name}") for name in ("amd64", "other")]
    for image in images:
        docker("push", image)
    name = f"{docker.host}/list/image:all"
    insecure = [] if docker.ca else ["--insecure"]

    docker("manifest", "create", *insecure, name, *images)
    docker("manifest", "annotate", "--arch=arm64", name, images[1])
    digest = docker("manifest", "push", *insecure, name)
    read = docker("manifest", "inspect", *insecure, name)
    docker("rmi", *images)
    docker("pull", name)

    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest.splitlines()[-1])
    assert ("oci.image.index.v1+json" if docker.engine.modern else "docker.distribution.manifest.list.v2+json") in read
    assert '"arm64"' in read
    assert docker.run(name) == "list/image:amd64"


def test_unknown_image_is_told_apart_from_a_refusal(docker: Docker) -> None:
    """Pulling what is not there says so, by tag and by repository."""
    docker.login()

    said = docker.fails("pull", f"{docker.host}/no/such:image")

    assert "not found" in said or "manifest unknown" in said or "name unknown" in said
    assert "authoriz" not in said


def test_many_layers(docker: Docker) -> None:
    """An image of a dozen layers is built on a pulled one, pushed and pulled; docker moves several layers at a time."""
    docker.login()
    image = docker.image("layers/base:1")
    dockerfile = "\n".join([f"FROM {image}", *(f"COPY file{number} /" for number in range(12))])
    context = tar({"Dockerfile": dockerfile.encode(), **{f"file{number}": b"%d" % number for number in range(12)}})
    built = f"{docker.host}/layers/many:1"
    docker("build", "--tag", built, "-", stdin=context)

    docker("push", built)
    docker("rmi", built)
    docker("pull", built)

    assert docker.run(built) == "layers/base:1"


def test_buildkit_builds_on_an_image_of_the_registry(docker: Docker) -> None:
    """BuildKit, with its own resolver and the login passed on by the command, pulls the base that a build names."""
    docker.login()
    image = docker.image("buildkit/base:1")
    docker("push", image)
    docker("rmi", image)
    context = tar({"Dockerfile": f"FROM {image}\nCOPY file /\n".encode(), "file": b"built"})
    built = f"{docker.host}/buildkit/built:1"

    buildkit = replace(docker.shell, environment={**docker.shell.environment, "DOCKER_BUILDKIT": "1"})
    buildkit(BUILDKIT_DOCKER, "build", "--tag", built, "-", stdin=context)
    docker("push", built)

    assert docker.run(built) == "buildkit/base:1"


@pytest.mark.parametrize("engine", ["29"], indirect=True)
def test_engine_29_pushes_an_index_of_platforms(docker: Docker, tmp_path: Path) -> None:
    """Containerd's image store keeps all platforms of an image and pushes their index byte for byte."""
    layout, digest = two_platforms(tmp_path / "layout", f"{docker.host}/platforms/image:1")
    docker.login()
    docker("load", stdin=layout.archive())

    said = docker("push", f"{docker.host}/platforms/image:1")

    assert digest in said


def test_certificate_of_an_unknown_authority_is_refused_until_the_engine_is_given_it(
    engine: Engine, tls_server: Moorage, tmp_path: Path
) -> None:
    """Without the CA docker refuses by x509; with `certs.d/NAME/ca.crt` it logs in, without a restart of anything."""
    assert tls_server.pair is not None
    host = f"{NAME}:{tls_server.port}"
    engine.distrust(host)
    docker = Docker(engine, engine.shell(tmp_path / "home"), tls_server, host, tls_server.pair.ca)

    refused = docker.fails("login", "-u", "admin", "--password-stdin", host, stdin=tls_server.password)
    engine.trust(host, tls_server.pair.ca)

    assert "x509" in refused
    assert "Login Succeeded" in docker.login()
