"""Clients that do not know the registry's private authority, and what the page at /trust says, done to the letter.

Client and server are on two hosts. The client's host has an /etc of its own, so that what is written there changes
nothing on this machine. The fingerprint is read where a person reads it: in what the server says when it starts.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from moorage.trust.shell import PASTE_HERE
from tests.clients.conftest import unmount_below
from tests.clients.engines import Engine
from tests.clients.hosts import Cable, Host
from tests.clients.images import Layout, busybox_tar, two_platforms
from tests.clients.test_containerd import CONFIGURATION, START_SECONDS
from tests.programs import TOOLS, Shell, need, need_root
from tests.servers import COMMAND, Moorage

NAME = "registry.test"
UNKNOWN = re.compile(
    r"x509: certificate signed by unknown authority|certificate problem: self-signed certificate in certificate chain"
)

FINGERPRINT = re.compile(r"authority's certificate has the SHA-256 fingerprint ((?:[0-9A-F]{2}:){31}[0-9A-F]{2})")

# /etc and /usr/local/share as they are, but this host's own: nothing that is written there gets out.
_VIEW = """
for folder in /etc /usr/local/share; do
  copy="$1/view$folder"
  mkdir -p "$copy"
  cp -a "$folder/." "$copy/"
  mount --bind "$copy" "$folder"
done
rm -rf /etc/docker/certs.d /etc/containers/certs.d /etc/containerd
printf '127.0.0.1 localhost\\n%s %s\\n' "$2" "$3" > /etc/hosts
echo ready
exec sleep infinity
"""


@dataclass(frozen=True)
class Registry:
    """A server with its private authority, as the client's host sees it under *name*."""

    server: Moorage
    fingerprint: str
    name: str = NAME

    @property
    def host(self) -> str:
        return self.name if self.server.port == 443 else f"{self.name}:{self.server.port}"

    @property
    def login(self) -> tuple[str, str]:
        return "admin", self.server.password


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    """The clients' host and the server's."""
    with Cable() as cable:
        yield cable


@pytest.fixture(scope="module")
def registry(cable: Cable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """On a port of its own, and with plain HTTP on another."""
    plain = ("--tls-plain-listen", f"{cable.far.address}:8080")
    with started(cable.far, tmp_path_factory.mktemp("server"), *plain) as registry:
        yield registry


@pytest.fixture(scope="module")
def registry_443(cable: Cable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """On the port that nobody writes, with plain HTTP beside it, as it is by itself."""
    with started(cable.far, tmp_path_factory.mktemp("server443"), port=443) as registry:
        yield registry


@contextmanager
def started(host: Host, folder: Path, *options: str, port: int | None = None) -> Iterator[Registry]:
    """A server on *host*, and the fingerprints that it shows when it starts, as they are pasted."""
    server = Moorage(folder, "--tls-name", NAME, *options, address=host.address, port=port, prefix=host.prefix)
    before = len(server.log.read_text()) if server.log.exists() else 0
    with server:
        shown = FINGERPRINT.findall(server.log.read_text()[before:])
        assert shown, server.log_tail()
        yield Registry(server, ", ".join(shown))


@dataclass(frozen=True)
class Machine:
    """A client's host: a shell on it, and the registry that it is to trust."""

    shell: Shell
    registry: Registry
    host: Host
    folder: Path

    def page(self, *options: str) -> str:
        """What curl gets there; believed as little as anything else that comes from there."""
        return self.shell("curl", "-fsS", *(options or ("-k", f"https://{self.registry.host}/trust")))

    def paste(self, block: str, fingerprint: str | None = None) -> str:
        """Pastes a block into a shell, with the fingerprint in its place."""
        chosen = self.registry.fingerprint if fingerprint is None else fingerprint
        return self.shell("bash", stdin=block.replace(PASTE_HERE, f"FINGERPRINT='{chosen}'"))

    def paste_wrong(self, block: str, fingerprint: str) -> str:
        """The same with a wrong fingerprint, which has to end with an error."""
        return self.shell.fails("bash", stdin=block.replace(PASTE_HERE, f"FINGERPRINT='{fingerprint}'"))

    def blocks(self, key: str) -> tuple[str, str]:
        """The lines that the page shows for a client, and those that undo them."""
        return blocks_of(self.page(), key)

    def moorage(self, *words: str) -> str:
        """`moorage trust` on this host."""
        return self.shell(COMMAND, "trust", *words, self.registry.host)


def blocks_of(page: str, key: str) -> tuple[str, str]:
    """Both blocks of the section *key* of the text at /trust."""
    section = re.search(rf"^# {key}: .*?(?=^# -+\n# [a-z-0-9]+: |\Z)", page, re.DOTALL | re.MULTILINE)
    assert section is not None, page
    install, undo = re.findall(r"^sh <<'END'\n.*?^END$", section[0], re.DOTALL | re.MULTILINE)
    return install, undo


@contextmanager
def machine_on(host: Host, registry: Registry, folder: Path, home: Path) -> Iterator[Machine]:
    """A mount namespace on *host*; its own files are below *folder*."""
    need_root()
    command = ["unshare", "--mount", "sh", "-ec", _VIEW, "sh", str(folder), registry.server.address, NAME]
    process = subprocess.Popen([*host.prefix, *command], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        view = ("nsenter", "-t", str(process.pid), "-n", "-m", f"--wdns={home}")
        home.mkdir(parents=True, exist_ok=True)
        logins = home / "auth.json"
        logins.write_text("{}")
        environment = {"REGISTRY_AUTH_FILE": str(logins), "PATH": f"{TOOLS}/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        yield Machine(Shell(home, environment, view), registry, host, folder)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def machine(cable: Cable, registry: Registry, tmp_path: Path, short_folder: Path) -> Iterator[Machine]:
    """A client's host on which nobody has trusted anything yet."""
    with machine_on(cable.near, registry, short_folder, tmp_path / "home") as machine:
        yield machine


# What each client does with a registry: first the call that an unknown authority ends, then the rest.


class Client:
    """A client on *machine*. `first` is where it learns that it does not know the authority."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.shell = machine.shell
        self.host = machine.registry.host
        self.user, self.password = machine.registry.login
        self.name = f"{self.host}/{type(self).__name__.lower()}/image:1"

    @property
    def ca(self) -> str:
        """Where the lines for helm, oras, crane and curl put the authority."""
        return f"{self.shell.home}/.config/moorage/{self.host.replace(':', '_')}.crt"

    def layout(self) -> Path:
        """An OCI layout with an image `box`."""
        folder = self.shell.home / "layout"
        if not folder.exists():
            layout = Layout(folder)
            layout.tag("box", layout.image(busybox_tar({"etc/hello": b"hello"})))
        return folder

    def first(self) -> tuple[str | Path, ...]:
        raise NotImplementedError

    def stdin(self) -> str:
        return self.password

    def refused(self) -> str:
        """What the client says to an authority that it does not know."""
        return self.shell.fails(*self.first(), stdin=self.stdin())

    def works(self) -> None:
        """Login, push and pull, as far as this client does them."""
        self.shell(*self.first(), stdin=self.stdin())
        self.moves()

    def moves(self) -> None:
        """Push and pull."""


class Podman(Client):
    def _podman(self, *words: str | Path) -> tuple[str | Path, ...]:
        folder = self.machine.folder
        store = (f"--root={folder}/root", f"--runroot={folder}/run", f"--tmpdir={folder}/tmp")
        return "podman", *store, "--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none", *words

    def first(self) -> tuple[str | Path, ...]:
        return self._podman("login", "-u", self.user, "--password-stdin", self.host)

    def moves(self) -> None:
        image = self.shell(*self._podman("pull", "--quiet", f"oci:{self.layout()}:box"))
        self.shell(*self._podman("push", image, self.name))
        self.shell(*self._podman("rmi", "--all", "--force"))
        self.shell(*self._podman("pull", self.name))


class Skopeo(Client):
    def first(self) -> tuple[str | Path, ...]:
        return "skopeo", "login", "-u", self.user, "--password-stdin", self.host

    def moves(self) -> None:
        self.shell("skopeo", "copy", f"oci:{self.layout()}:box", f"docker://{self.name}")
        self.shell("skopeo", "copy", f"docker://{self.name}", f"dir:{self.shell.home}/copied")


class Buildah(Client):
    def first(self) -> tuple[str | Path, ...]:
        return "buildah", "login", "-u", self.user, "--password-stdin", self.host


class Crane(Client):
    """With the variable that the page says to set; the system's store is used where it is not."""

    variable = True

    def _crane(self, *words: str | Path) -> tuple[str | Path, ...]:
        if not self.variable:
            return need("crane"), *words
        return "env", f"SSL_CERT_FILE={self.ca}", need("crane"), *words

    def first(self) -> tuple[str | Path, ...]:
        return self._crane("auth", "login", "-u", self.user, "--password-stdin", self.host)

    def refused(self) -> str:
        # A login by crane writes a file and asks nobody.
        return self.shell.fails(*self._crane("catalog", self.host))

    def moves(self) -> None:
        self.shell(*self._crane("push", self.layout(), self.name))
        self.shell(*self._crane("validate", "--remote", self.name))


class CraneBySystem(Crane):
    variable = False


class Curl(Client):
    def first(self) -> tuple[str | Path, ...]:
        return "curl", "-fsS", *self._authority(), "-u", f"{self.user}:{self.password}", f"https://{self.host}/v2/"

    def _authority(self) -> tuple[str, ...]:
        return ("--cacert", self.ca) if Path(self.ca).exists() else ()


class Oras(Client):
    def first(self) -> tuple[str | Path, ...]:
        return "oras", "login", *self._authority(), "-u", self.user, "--password-stdin", self.host

    def _authority(self) -> tuple[str, ...]:
        return ("--ca-file", self.ca) if Path(self.ca).exists() else ()

    def moves(self) -> None:
        (self.shell.home / "artifact").write_text("artifact")
        self.shell("oras", "push", *self._authority(), self.name, "artifact")
        self.shell("oras", "pull", *self._authority(), "-o", "pulled", self.name)


class Helm(Client):
    def first(self) -> tuple[str | Path, ...]:
        return "helm", "registry", "login", *self._authority(), "-u", self.user, "--password-stdin", self.host

    def _authority(self) -> tuple[str, ...]:
        return ("--ca-file", self.ca) if Path(self.ca).exists() else ()

    def moves(self) -> None:
        chart = self.shell.home / "berth"
        chart.mkdir(exist_ok=True)
        (chart / "Chart.yaml").write_text("apiVersion: v2\nname: berth\nversion: 1.0.0\n")
        self.shell("helm", "package", chart)
        self.shell("helm", "push", *self._authority(), "berth-1.0.0.tgz", f"oci://{self.host}/charts")
        self.shell(
            "helm", "pull", *self._authority(), f"oci://{self.host}/charts/berth", "-d", "/tmp", "--version=1.0.0"
        )


class Regctl(Client):
    def first(self) -> tuple[str | Path, ...]:
        return "regctl", "registry", "login", "-u", self.user, "--pass-stdin", self.host

    def refused(self) -> str:
        return self.shell.fails("regctl", "tag", "ls", f"{self.host}/any/image", stdin=self.password)

    def moves(self) -> None:
        self.shell("regctl", "image", "copy", f"ocidir://{self.layout()}:box", self.name)
        self.shell("regctl", "manifest", "get", self.name)


CLIENTS: dict[str, tuple[str, Callable[[Machine], Client]]] = {
    "podman": ("podman", Podman),
    "skopeo": ("podman", Skopeo),
    "buildah": ("podman", Buildah),
    "crane": ("crane", Crane),
    "curl": ("curl", Curl),
    "oras": ("oras", Oras),
    "helm": ("helm", Helm),
    "regctl": ("regctl", Regctl),
    "curl by the system's store": ("system", Curl),
    "crane by the system's store": ("system", CraneBySystem),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_trusts_after_the_lines_of_the_page_and_no_longer_after_undo(machine: Machine, client: str) -> None:
    """Refused by x509; a wrong fingerprint changes nothing; with the right one everything works; undone, refused."""
    key, make = CLIENTS[client]
    install, undo = machine.blocks(key)
    before = make(machine).refused()
    wrong = machine.paste_wrong(install, "AB" * 32)
    still = make(machine).refused()

    machine.paste(install)
    make(machine).works()
    machine.paste(undo)
    after = make(machine).refused()

    assert "ANOTHER FINGERPRINT" in wrong
    assert UNKNOWN.search(before), before
    assert UNKNOWN.search(still), still
    assert UNKNOWN.search(after), after


@pytest.mark.parametrize(("key", "make"), [("podman", Skopeo), ("curl", Curl)])
def test_a_registry_without_a_name_is_trusted_by_its_address(
    machine: Machine, key: str, make: Callable[[Machine], Client]
) -> None:
    """The page fills in the address by which it was asked for, which the certificate is for too."""
    by_address = replace(machine, registry=replace(machine.registry, name=machine.registry.server.address))
    install, undo = by_address.blocks(key)
    before = make(by_address).refused()

    by_address.paste(install)
    make(by_address).works()
    by_address.paste(undo)

    assert UNKNOWN.search(before), before
    assert UNKNOWN.search(make(by_address).refused())


@pytest.mark.parametrize(("key", "make"), [("podman", Skopeo), ("system", CraneBySystem), ("regctl", Regctl)])
def test_port_443_is_written_nowhere(
    machine: Machine, registry_443: Registry, key: str, make: Callable[[Machine], Client]
) -> None:
    """As in the names of images; the page in the clear on port 80 gives the same lines."""
    short = replace(machine, registry=registry_443)
    page = short.page(f"http://{NAME}/trust?client={key}")
    install, undo = blocks_of(page, key)
    before = make(short).refused()

    short.paste(install)
    make(short).works()
    short.paste(undo)

    assert page == short.page("-k", f"https://{NAME}/trust?client={key}")
    assert UNKNOWN.search(before), before
    assert UNKNOWN.search(make(short).refused())


@pytest.mark.parametrize(("word", "make"), [("podman", Skopeo), ("system", Curl), ("system", CraneBySystem)])
def test_the_command_does_the_same(machine: Machine, word: str, make: Callable[[Machine], Client]) -> None:
    """`moorage trust`, and `--undo`; the certificates of all others stay in the system's store."""
    before = make(machine).refused()
    count = machine.shell("sh", "-c", "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt")
    wrong = machine.shell.fails(COMMAND, "trust", "--client", word, "--fingerprint", "ab" * 32, machine.registry.host)
    still = make(machine).refused()

    said = machine.moorage("--client", word, "--fingerprint", machine.registry.fingerprint)
    make(machine).works()
    machine.moorage("--client", word, "--undo")
    after = make(machine).refused()

    assert "nothing was changed" in wrong
    assert f"confirmed: {machine.registry.fingerprint}" in said
    assert all(UNKNOWN.search(text) for text in (before, still, after))
    assert machine.shell("sh", "-c", "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt") == count
    assert (
        machine.shell(
            "sh", "-c", "find /etc/ssl/certs -xtype l; ls /etc/containers/certs.d 2>&1 | grep registry || true"
        )
        == ""
    )


def test_two_authorities_are_trusted_by_both_fingerprints(cable: Cable, tmp_path: Path, short_folder: Path) -> None:
    """After another name was given, each name is signed by its own authority; who confirms one trusts that one."""
    plain = ("--tls-plain-listen", f"{cable.far.address}:8081")
    other = ("--tls-name", "other.test")

    def call(machine: Machine, name: str) -> tuple[str | Path, ...]:
        port, ca = machine.registry.server.port, Curl(machine).ca
        place = ("--resolve", f"{name}:{port}:{cable.far.address}", f"https://{name}:{port}/v2/")
        return "curl", "-sS", "--cacert", ca, *place

    with started(cable.far, tmp_path / "server", *plain) as first:
        old = first.fingerprint
    with started(cable.far, tmp_path / "server", *plain, *other) as both:
        with machine_on(cable.near, both, short_folder, tmp_path / "home") as machine:
            install, _ = machine.blocks("curl")
            machine.paste(install, old)
            machine.shell(*call(machine, NAME))
            unknown = machine.shell.fails(*call(machine, "other.test"))
            machine.paste(install)
            for name in (NAME, "other.test"):
                machine.shell(*call(machine, name))

    assert both.fingerprint.count(", ") == 1
    assert old in both.fingerprint
    assert UNKNOWN.search(unknown)


def test_the_page_is_the_same_in_the_clear(machine: Machine) -> None:
    """On the port that speaks TLS too, for whoever does not know to write https, and on the one beside it."""
    over_tls = machine.page()
    plain = machine.page(f"http://{machine.registry.host}/trust")
    beside = machine.page(f"http://{NAME}:8080/trust")
    shown = machine.page("-k", "-H", "Accept: text/html", f"https://{machine.registry.host}/trust")

    assert plain == beside == over_tls
    assert f"https://{machine.registry.host}/ca.crt" in plain
    assert machine.registry.fingerprint not in over_tls + shown
    assert shown.startswith("<!DOCTYPE html>")


def test_the_page_for_another_name_gives_the_right_one(machine: Machine) -> None:
    """Who comes by the address, which the certificate may not be for, is told the name."""
    text = machine.page("-k", "-H", "Host: elsewhere.test", f"https://{machine.registry.host}/trust")

    assert "You asked for elsewhere.test" in text
    assert f"https://{NAME}" in text


# Docker and containerd work in processes of their own.


@pytest.fixture(scope="module", params=["20.10", "29"])
def engine(
    request: pytest.FixtureRequest, cable: Cable, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """Each engine, started before anybody trusts anything, and never again."""
    folder, names = tmp_path_factory.mktemp("engine"), {NAME: cable.far.address}
    with Engine(folder, cable.near, names, modern=request.param == "29") as engine:
        yield engine


@pytest.fixture
def docker(engine: Engine, registry: Registry, tmp_path: Path) -> Machine:
    """A shell that sees what the engine sees."""
    return Machine(engine.shell(tmp_path / "home"), registry, engine.host, tmp_path)


def _docker_works(docker: Machine, engine: Engine) -> None:
    user, password = docker.registry.login
    image = f"{docker.registry.host}/docker/image:1"
    login = (engine.docker, "login", "-u", user, "--password-stdin", docker.registry.host)
    assert "Login Succeeded" in docker.shell(*login, stdin=password)
    docker.shell(engine.docker, "import", "-", image, stdin=busybox_tar({}))
    docker.shell(engine.docker, "push", image)
    docker.shell(engine.docker, "rmi", image)
    docker.shell(engine.docker, "pull", image)
    docker.shell(engine.docker, "logout", docker.registry.host)


def _docker_refused(docker: Machine, engine: Engine) -> str:
    user, password = docker.registry.login
    login = (engine.docker, "login", "-u", user, "--password-stdin", docker.registry.host)
    return docker.shell.fails(*login, stdin=password)


@pytest.mark.parametrize("where", ["registry", "registry_443"])
def test_docker_trusts_after_the_lines_of_the_page(
    docker: Machine, engine: Engine, where: str, request: pytest.FixtureRequest
) -> None:
    """Without a restart of anything: refused by x509, then login, push and pull, and refused again once undone."""
    docker = replace(docker, registry=request.getfixturevalue(where))
    install, undo = docker.blocks("docker")
    before = _docker_refused(docker, engine)
    wrong = docker.paste_wrong(install, "AB" * 32)
    still = _docker_refused(docker, engine)

    docker.paste(install)
    _docker_works(docker, engine)
    docker.paste(undo)
    after = _docker_refused(docker, engine)

    assert "ANOTHER FINGERPRINT" in wrong
    assert all(UNKNOWN.search(text) for text in (before, still, after))


def test_docker_trusts_after_the_command(docker: Machine, engine: Engine) -> None:
    """The same by `moorage trust --client docker`; a file of somebody else is back after --undo."""
    theirs = engine.folder / "etc-docker" / "certs.d" / docker.registry.host / "ca.crt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("# the certificate of an authority of before\n")
    before = _docker_refused(docker, engine)

    docker.moorage("--client", "docker", "--fingerprint", docker.registry.fingerprint)
    _docker_works(docker, engine)
    docker.moorage("--client", "docker", "--undo")
    after = _docker_refused(docker, engine)

    assert all(UNKNOWN.search(text) for text in (before, after))
    assert theirs.read_text() == "# the certificate of an authority of before\n"
    assert [path.name for path in theirs.parent.iterdir()] == ["ca.crt"]
    engine.distrust(docker.registry.host)


@pytest.fixture
def containerd(machine: Machine) -> Iterator[Callable[..., tuple[str | Path, ...]]]:
    """containerd 2 on the client's host; makes a call of its `ctr images`."""
    folder = machine.folder / "cd"
    folder.mkdir()
    (folder / "config.toml").write_text(CONFIGURATION.format(folder=folder))
    programs = Path(need("containerd", "engine29")).parent
    with (folder / "log").open("wb") as log:
        command = [*machine.shell.prefix, str(programs / "containerd"), f"--config={folder}/config.toml"]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (folder / "sock").exists():
            alive = process.poll() is None and time.monotonic() < deadline
            assert alive, (folder / "log").read_text()[-4000:]
            time.sleep(0.05)
        yield lambda *words: (programs / "ctr", f"--address={folder}/sock", "images", *words)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        unmount_below(machine.folder)


@pytest.mark.parametrize(("by", "where"), [("page", "registry"), ("page", "registry_443"), ("command", "registry")])
def test_containerd_trusts(
    machine: Machine,
    containerd: Callable[..., tuple[str | Path, ...]],
    by: str,
    where: str,
    request: pytest.FixtureRequest,
) -> None:
    """By hosts.toml below the folder that the page's own call of ctr names."""
    machine = replace(machine, registry=request.getfixturevalue(where))
    user = f"--user={':'.join(machine.registry.login)}"
    name = f"{machine.registry.host}/containerd/image:1"
    hosts = "--hosts-dir=/etc/containerd/certs.d"
    layout, _ = two_platforms(machine.shell.home / "layout", name)
    archive = machine.shell.home / "layout.tar"
    archive.write_bytes(layout.archive())
    machine.shell(*containerd("import", "--all-platforms", "--no-unpack", archive))
    install, undo = machine.blocks("containerd")
    before = machine.shell.fails(*containerd("push", hosts, user, name))

    if by == "page":
        wrong = machine.paste_wrong(install, "AB" * 32)
        assert "ANOTHER FINGERPRINT" in wrong
        assert UNKNOWN.search(machine.shell.fails(*containerd("push", hosts, user, name)))
        machine.paste(install)
    else:
        machine.moorage("--client", "containerd", "--fingerprint", machine.registry.fingerprint)
    machine.shell(*containerd("push", hosts, user, name))
    machine.shell(*containerd("rm", "--sync", name))
    machine.shell(*containerd("pull", "--all-platforms", hosts, user, name))
    if by == "page":
        machine.paste(undo)
    else:
        machine.moorage("--client", "containerd", "--undo")
    machine.shell(*containerd("rm", "--sync", name))
    after = machine.shell.fails(*containerd("pull", hosts, user, name))

    assert UNKNOWN.search(before), before
    assert UNKNOWN.search(after), after
