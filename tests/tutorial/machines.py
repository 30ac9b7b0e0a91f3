"""The tutorial's two machines: a server and a laptop, each with its own /etc, /srv and Docker Engine.

What is written there is seen by nobody else and is gone afterwards, so that the page's lines can run as they stand, as
root: `sudo` only runs what follows it. The world around them is played by real programs:

- Let's Encrypt is Pebble, on the server's network; both machines trust its root as they would the real one's. Its name
  server is theirs, too.
- Docker's hub is a registry without passwords, which the server's engine has as its mirror.

The kernel of a test machine may know nothing of seccomp, so that both engines do without it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.acme.pebble import Pebble
from tests.clients.engines import Engine
from tests.clients.hosts import Cable, Host
from tests.clients.images import busybox_tar
from tests.programs import Shell, need
from tests.servers import ROOT, Moorage

NAME = "registry.example.com"
PUBLIC, PRIVATE = "203.0.113", "192.168.1"
"""The networks that the page writes of; the server is number 10 in both, the laptop 20."""
HUB_PORT = 5999
CLONE_NEWNET = 0x40000000
# No package manager and no network there: what the page tells to install is installed.
SUDO = '#!/bin/sh\nexec "$@"\n'

_VIEW = """
own=$1 home=$2 project=$3 resolver=$4
mkdir -p "$own" "$home"
mount -t tmpfs none "$own"
overlay() {
  mkdir -p "$own/$3/upper" "$own/$3/work"
  mount -t overlay none -o "lowerdir=$1,upperdir=$own/$3/upper,workdir=$own/$3/work" "$2"
}
overlay "$project" "$project" moorage
ln -s "$project" "$home/moorage"
overlay /etc /etc etc
overlay /usr/local /usr/local local
for folder in /srv /run /var/log /var/lib/nginx /var/lib/letsencrypt; do
  mkdir -p $folder
  mount -t tmpfs none $folder
done
mkdir /run/lock /var/log/nginx /var/log/letsencrypt
rm -rf /etc/docker /etc/containers/certs.d /etc/letsencrypt/* /etc/nginx/conf.d/*
echo "nameserver $resolver" > /etc/resolv.conf
echo ready
exec sleep infinity
"""


@dataclass(frozen=True)
class Inside(Host):
    """A host with a mount namespace of its own, that of process *pid*."""

    pid: int = 0

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("nsenter", "-t", str(self.pid), "-n", "-m")


@dataclass(frozen=True)
class Machine:
    """One of the two: *home* is the reader's home folder."""

    engine: Engine
    shell: Shell
    home: Path

    @property
    def prefix(self) -> tuple[str, ...]:
        return self.shell.prefix


@dataclass(frozen=True)
class World:
    """Both machines; Pebble's *root*; and variables by which what runs there finds what is around it."""

    server: Machine
    laptop: Machine
    root: bytes
    environment: dict[str, str]


@contextmanager
def on_network_of(host: Host) -> Iterator[None]:
    """This thread is on *host*'s network meanwhile, with what it starts."""
    library = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{host.namespace}") as there:
        assert library.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert library.setns(before.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Everything, up and running, in *folder*, whose path has to be short."""
    _fetch()
    with ExitStack() as stack:
        cable = stack.enter_context(Cable())
        for network in (PUBLIC, PRIVATE):
            for namespace, number in ((cable.far.namespace, 10), (cable.near.namespace, 20)):
                command = [need("ip"), "-n", namespace, "address", "add", f"{network}.{number}/24", "dev", "wire"]
                subprocess.run(command, check=True)
        with on_network_of(cable.far):
            resolver = cable.far.address
            pebble = Pebble(_made(folder / "pebble"), http_port=80, tls_port=443, dns_address=resolver, dns_port=53)
            stack.enter_context(pebble)
            stack.callback(pebble.close)
            pebble.dns.default("")
            pebble.dns.address(NAME, f"{PUBLIC}.10")
            authorities = {"pebble": pebble.roots(), "pebble-https": pebble.ca_file.read_bytes()}
        machines = {}
        for name, host, modern in (("server", cable.far, False), ("laptop", cable.near, True)):
            inside = stack.enter_context(_inside(host, folder / name, resolver))
            machines[name] = stack.enter_context(_machine(inside, folder / name, authorities, modern=modern))
        stack.enter_context(_hub(folder / "hub", cable.far, machines["server"]))
        server = Shell(machines["server"].home, {}, machines["server"].prefix)
        server("tee", "/etc/letsencrypt/cli.ini", stdin=f"server = {pebble.directory}\n")
        environment = {
            "MOORAGE_ACME_DIRECTORY": pebble.directory,
            "MOORAGE_ACME_CA_FILE": str(pebble.ca_file),
            # `make image` finds here what _fetch() got.
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(ROOT / ".cache" / "image" / "wheels" / "amd64"),
        }
        yield World(machines["server"], machines["laptop"], authorities["pebble"], environment)


def _fetch() -> None:
    """What `make image` fetches from the internet, while there is one."""
    lines = "from image.debian import debian; from image.python import wheels; debian('amd64'); wheels('amd64')"
    subprocess.run([sys.executable, "-c", lines], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


@contextmanager
def _inside(host: Host, folder: Path, resolver: str) -> Iterator[Inside]:
    words = [str(_made(folder) / "own"), str(folder / "home"), str(ROOT), resolver]
    command = [*host.prefix, "unshare", "--mount", "sh", "-ec", _VIEW, "sh", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield Inside(host.namespace, host.address, process.pid)
        finally:
            process.kill()


@contextmanager
def _machine(inside: Inside, folder: Path, authorities: dict[str, bytes], *, modern: bool) -> Iterator[Machine]:
    engine = Engine(_made(folder / "engine"), inside, {}, modern=modern, bridge=True)
    profile = folder / "seccomp.json"
    profile.write_text("{}")
    daemon = {"seccomp-profile": str(profile), "registry-mirrors": [] if modern else [f"http://127.0.0.1:{HUB_PORT}"]}
    (engine.folder / "etc-docker" / "daemon.json").write_text(json.dumps(daemon))
    root = Shell(folder / "home", {}, inside.prefix)
    for name, certificate in authorities.items():
        root("tee", f"/usr/local/share/ca-certificates/{name}.crt", stdin=certificate)
    root("update-ca-certificates")
    root("tee", "/usr/local/bin/sudo", stdin=SUDO)
    root("chmod", "755", "/usr/local/bin/sudo")
    root("sh", "-c", f"test {engine.docker} -ef /usr/local/bin/docker || ln -sf {engine.docker} /usr/local/bin/docker")
    with engine:
        machine = Machine(engine, engine.shell(folder / "home"), folder / "home")
        view = _view_of(engine)
        try:
            yield machine
        finally:
            machine.shell("sh", "-c", "docker ps --all --quiet | xargs --no-run-if-empty docker rm --force")
            _end_all_in(view, but=engine)


def _view_of(engine: Engine) -> str:
    assert engine.process is not None
    return os.readlink(f"/proc/{engine.process.pid}/ns/mnt")


def _end_all_in(view: str, but: Engine) -> None:
    """Ends what runs in the mount namespace *view*, such as nginx; *but* ends its own processes."""
    for entry in Path("/proc").glob("[0-9]*"):
        # Others' processes end meanwhile.
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            own = but.process is not None and os.getsid(int(entry.name)) == but.process.pid
            if not own and os.readlink(entry / "ns" / "mnt") == view:
                os.kill(int(entry.name), signal.SIGKILL)


@contextmanager
def _hub(folder: Path, host: Host, machine: Machine) -> Iterator[None]:
    """What the page pulls from Docker's hub: busybox, and registry:2, made of Debian's docker-registry."""
    server = Moorage(folder, users={}, port=HUB_PORT, prefix=host.prefix)
    with server:
        docker, hub = (str(machine.engine.docker), f"127.0.0.1:{HUB_PORT}/library")
        images = {"busybox:latest": ('CMD ["sh"]', busybox_tar({})), "registry:2": (_ENTRYPOINT, _registry_tar())}
        for name, (change, content) in images.items():
            machine.shell(docker, "import", "-c", change, "-", f"{hub}/{name}", stdin=content)
            machine.shell(docker, "push", f"{hub}/{name}")
            machine.shell(docker, "rmi", f"{hub}/{name}")
        yield


_ENTRYPOINT = 'ENTRYPOINT ["/bin/docker-registry", "serve", "/etc/docker/registry/config.yml"]'
_CONFIGURATION = """version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/registry}}
http: {addr: ":5000"}
"""


def _registry_tar() -> bytes:
    program = need("docker-registry")
    listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    libraries = [word for word in listed.split() if word.startswith("/")]
    files = {path.removeprefix("/"): Path(path).read_bytes() for path in libraries}
    files["bin/docker-registry"] = Path(program).read_bytes()
    return busybox_tar({**files, "etc/docker/registry/config.yml": _CONFIGURATION.encode()})


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
