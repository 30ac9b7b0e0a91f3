"""Moorage behind Debian's nginx, with the site that `moorage nginx` prints and the settings that it names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.certificates import Authority, Pair
from tests.clients.engines import Engine
from tests.clients.hosts import Cable
from tests.clients.images import busybox_tar
from tests.programs import need
from tests.servers import COMMAND, Moorage, write_htpasswd

NAME = "registry.test"
USERS = {"alice": "c0rrect-horse"}
GIB = 1 << 30
PORT = 5000

_WRAPPER = """
user root;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log info;
events {{ }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    include {folder}/site.conf;
}}
"""


@dataclass(frozen=True)
class Proxied:
    """A registry on the far host behind nginx, as the near host sees it."""

    cable: Cable
    server: Moorage
    folder: Path
    pair: Pair

    def curl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """curl on the near host, which knows the name and trusts the CA."""
        where = ["--resolve", f"{NAME}:443:{self.cable.far.address}", "--cacert", str(self.pair.ca)]
        command = [*self.cable.near.prefix, need("curl"), "-sS", "--max-time", "300", *where, *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    def status(self, *arguments: str) -> int:
        done = self.curl("-o", os.devnull, "-w", "%{http_code}", *arguments)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def push(self, repository: str, blob: Path, *options: str) -> str:
        """Push the file as one blob, streamed; its digest."""
        user = ("-u", f"alice:{USERS['alice']}")
        digest = "sha256:" + _sha256(blob)
        begun = self.curl(*user, "-X", "POST", "-D", "-", f"https://{NAME}/v2/{repository}/blobs/uploads/")
        location = re.search(r"(?im)^location: (/\S+)", begun.stdout)
        assert location is not None, (begun.stdout, begun.stderr)
        upload = f"https://{NAME}{location[1]}"
        upload += ("&" if "?" in upload else "?") + f"digest={digest}"
        assert self.status(*user, *options, "-T", str(blob), upload) == 201
        return digest

    @property
    def log(self) -> str:
        return self.server.log.read_text()


def _sha256(path: Path) -> str:
    return subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True).stdout.split()[0]


def site(*options: str) -> str:
    """What the command prints."""
    command = [str(COMMAND), "nginx", "--domain", NAME, "--tls", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def settings_in(text: str) -> str:
    """The settings that a site says belong to it."""
    lines = text.partition("# moorage.yml for it:\n#\n")[2].partition("\n\n")[0].splitlines()
    return "\n".join(line.removeprefix("#   ") for line in lines) + "\n"


@contextmanager
def proxied(*options: str) -> Iterator[Proxied]:
    """Start both on the far host, each from what the command printed and from nothing else."""
    with ExitStack() as stack:
        cable = stack.enter_context(Cable())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="moorage-", dir="/tmp")))
        pair = Authority(folder / "ca").issue(NAME)
        htpasswd = folder / "users"
        write_htpasswd(htpasswd, USERS)
        files = ["--certificate", str(pair.certificate), "--key", str(pair.key), "--htpasswd", str(htpasswd)]
        data = folder / "server" / "data"
        text = site(*files, *[str(data) if option == "DATA" else option for option in options])
        config = folder / "moorage.yml"
        config.write_text(settings_in(text))
        users = None if "--basic-auth" in options else USERS
        server = Moorage(folder / "server", "--config", str(config), users=users, port=PORT, prefix=cable.far.prefix)
        stack.enter_context(server)
        stack.enter_context(_nginx(folder, text, cable))
        yield Proxied(cable, server, folder, pair)


@contextmanager
def _nginx(folder: Path, text: str, cable: Cable) -> Iterator[None]:
    (folder / "site.conf").write_text(text)
    (folder / "nginx.conf").write_text(_WRAPPER.format(folder=folder))
    command = [*cable.far.prefix, need("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        probe = "import socket,sys; socket.create_connection((sys.argv[1], 443), 1)"
        deadline = time.monotonic() + 30
        while subprocess.run(
            [*cable.near.prefix, sys.executable, "-c", probe, cable.far.address], check=False, capture_output=True
        ).returncode:
            assert time.monotonic() < deadline, (folder / "error.log").read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def tls() -> Iterator[Proxied]:
    """nginx speaks TLS and nothing else."""
    with proxied() as both:
        yield both


@pytest.fixture(scope="module")
def basic() -> Iterator[Proxied]:
    """nginx asks for the password too, and sends the blobs."""
    with proxied("--basic-auth", "--send-blobs", "DATA") as both:
        yield both


@pytest.fixture(params=["tls", "basic"])
def either(request: pytest.FixtureRequest) -> Proxied:
    """Both schemes."""
    both = request.getfixturevalue(request.param)
    assert isinstance(both, Proxied)
    return both


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--basic-auth",),
        ("--upstream", "unix:/run/moorage/socket"),
        ("--upstream", "[::1]:5000", "--send-blobs", "/srv/registry"),
        ("--basic-auth", "--send-blobs", "/srv/registry"),
    ],
)
def test_nginx_takes_every_site(options: tuple[str, ...], tmp_path: Path) -> None:
    """Whatever the options, nginx finds no fault with the site, and Moorage none with the settings beside it."""
    pair = Authority(tmp_path).issue(NAME)
    text = site(*options, "--certificate", str(pair.certificate), "--key", str(pair.key))
    (tmp_path / "site.conf").write_text(text)
    (tmp_path / "nginx.conf").write_text(_WRAPPER.format(folder=tmp_path))
    (tmp_path / "moorage.yml").write_text(settings_in(text))

    tried = subprocess.run(
        [need("nginx"), "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")],
        check=False,
        capture_output=True,
        text=True,
    )
    shown = subprocess.run(
        [str(COMMAND), "config", "--config", str(tmp_path / "moorage.yml")], check=False, capture_output=True, text=True
    )

    assert tried.returncode == 0, tried.stderr
    assert "warn" not in tried.stderr
    assert (shown.returncode, yaml.safe_load(settings_in(text))["http"]["external_url"]) == (0, f"https://{NAME}")


def test_without_tls_nothing_is_said_of_certificates() -> None:
    """The plain site listens on port 80 and redirects nowhere."""
    command = [str(COMMAND), "nginx", "--domain", NAME]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert "listen 80;" in text
    assert "ssl" not in text
    assert "308" not in text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--domain", "https://x"), "without a scheme"),
        (("--domain", "*.example.com"), "not a wildcard"),
        (("--domain", "x.test", "--upstream", ":5000"), "say which host, as in 127.0.0.1:5000"),
        (("--domain", "x.test", "--upstream", "nowhere"), "an address is written"),
        (("--domain", "x.test", "--certificate", "/c"), "are given together"),
        (("--domain", "x.test", "--tls", "--certificate", "/a b", "--key", "/k"), "cannot name a path with blanks"),
    ],
)
def test_what_nginx_cannot_be_told_is_refused(options: tuple[str, ...], says: str) -> None:
    """A sentence, and nothing printed that would be put into a file."""
    done = subprocess.run([str(COMMAND), "nginx", *options], check=False, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (6, "")
    assert says in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("modern", [False, True], ids=["20.10", "29"])
def test_docker_works_through_both_schemes(either: Proxied, tmp_path: Path, *, modern: bool) -> None:
    """Login, a refused password, push, pull and run."""
    folder = Path(tempfile.mkdtemp(prefix="moorage-", dir="/tmp"))
    try:
        with Engine(folder, either.cable.near, {NAME: either.cable.far.address}, modern=modern) as engine:
            engine.trust(NAME, either.pair.ca)
            shell = engine.shell(tmp_path / "home")
            full = f"{NAME}/team/busybox:{'modern' if modern else 'classic'}"
            files = {"etc/name": b"behind nginx", "padding": os.urandom(8_000_000)}
            shell(engine.docker, "import", "-c", 'CMD ["/bin/cat", "/etc/name"]', "-", full, stdin=busybox_tar(files))
            login = ("login", "--username", "alice", "--password-stdin", NAME)

            refused = shell.fails(engine.docker, *login, stdin="wrong")
            shell(engine.docker, *login, stdin=USERS["alice"])
            shell(engine.docker, "push", full)
            shell(engine.docker, "rmi", full)
            shell(engine.docker, "pull", full)
            said = shell(engine.docker, "run", "--rm", "--network=none", "--security-opt=seccomp=unconfined", full)

            assert re.search("unauthorized|401|incorrect", refused, re.IGNORECASE)
            assert "behind nginx" in said
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_gibibyte_and_a_slow_client_get_through(either: Proxied, tmp_path: Path) -> None:
    """A layer of 1 GiB is pushed and pulled whole; a client that takes its time gets all of it as well."""
    blob = tmp_path / "blob"
    with blob.open("wb") as file:
        for _ in range(GIB >> 24):
            file.write(os.urandom(1 << 24))
    user = ("-u", f"alice:{USERS['alice']}")

    digest = either.push("team/large", blob)
    url = f"https://{NAME}/v2/team/large/blobs/{digest}"
    back = either.curl(*user, "-o", str(tmp_path / "back"), url)
    slow = either.curl(*user, "-r", "0-7999999", "--limit-rate", "1M", "-o", str(tmp_path / "slow"), url)

    assert (back.returncode, slow.returncode) == (0, 0), (back.stderr, slow.stderr)
    assert "sha256:" + _sha256(tmp_path / "back") == digest
    with blob.open("rb") as file:
        assert (tmp_path / "slow").read_bytes() == file.read(8_000_000)


def test_a_slow_push_gets_through(either: Proxied, tmp_path: Path) -> None:
    """A client that sends 2 MB in four seconds is waited for."""
    blob = tmp_path / "blob"
    blob.write_bytes(os.urandom(2_000_000))

    digest = either.push("team/slow", blob, "--limit-rate", "500k")

    found = either.status("-u", f"alice:{USERS['alice']}", "-I", f"https://{NAME}/v2/team/slow/blobs/{digest}")
    assert found == 200


def test_locations_are_relative(either: Proxied) -> None:
    """An upload's Location names no host, so the client stays with the name that it knows."""
    done = either.curl(
        "-u", f"alice:{USERS['alice']}", "-X", "POST", "-D", "-", f"https://{NAME}/v2/team/app/blobs/uploads/"
    )

    assert re.search(r"(?im)^location: /v2/team/app/blobs/uploads/", done.stdout), done.stdout


def test_nginx_refuses_as_a_registry_does(basic: Proxied) -> None:
    """Without a password: 401 with the challenge, the version header and an error that clients can read."""
    done = basic.curl("-D", "-", f"https://{NAME}/v2/")

    head, _, body = done.stdout.replace("\r", "").partition("\n\n")
    assert head.splitlines()[0].split()[1] == "401"
    assert 'www-authenticate: basic realm="moorage"' in head.lower()
    assert head.lower().count("docker-distribution-api-version: registry/2.0") == 1
    assert '"UNAUTHORIZED"' in body


def test_the_user_is_whom_nginx_knows(basic: Proxied) -> None:
    """A client cannot name itself: what it writes into the proxy's header is replaced by nginx."""
    url = f"https://{NAME}/v2/_catalog"

    stranger = basic.status("-H", "X-Remote-User: root", url)
    alice = basic.status("-H", "X-Remote-User: root", "-u", f"alice:{USERS['alice']}", url)

    assert (stranger, alice) == (401, 200)
    deadline = time.monotonic() + 30
    while '"alice"' not in basic.log:
        assert time.monotonic() < deadline, basic.log
        time.sleep(0.05)
    assert '"root"' not in basic.log


def test_nobody_but_the_proxy_may_name_a_user(tmp_path: Path) -> None:
    """The header from an address that is no trusted proxy is as if it were not there."""
    options = ["--config", str(tmp_path / "moorage.yml"), "--allow-plaintext"]
    with Cable() as cable:
        (tmp_path / "moorage.yml").write_text(
            f"auth: {{kind: proxy, proxy_header: X-Remote-User}}\nhttp: {{trusted_proxies: [{cable.near.address}]}}\n"
        )
        address = cable.far.address
        with Moorage(tmp_path, *options, address=address, port=PORT, prefix=cable.far.prefix):
            url = f"http://{address}:{PORT}/v2/_catalog"
            ask = [need("curl"), "-s", "-o", os.devnull, "-w", "%{http_code}", "-H", "X-Remote-User: alice", url]
            by_proxy = subprocess.run([*cable.near.prefix, *ask], check=True, capture_output=True, text=True).stdout
            by_other = subprocess.run([*cable.far.prefix, *ask], check=True, capture_output=True, text=True).stdout
            twice = [*cable.near.prefix, *ask, "-H", "X-Remote-User: bob"]
            doubled = subprocess.run(twice, check=True, capture_output=True, text=True).stdout

    assert (by_proxy, by_other, doubled) == ("200", "401", "401")


def test_nginx_sends_the_blobs_itself(basic: Proxied, tmp_path: Path) -> None:
    """A pull's bytes come from nginx, whole and in ranges, with the headers that a registry gives."""
    data = os.urandom(500_000)
    (tmp_path / "blob").write_bytes(data)
    user = ("-u", f"alice:{USERS['alice']}")

    digest = basic.push("team/own", tmp_path / "blob")
    base = f"https://{NAME}/v2/team/own/blobs"
    whole = basic.curl(*user, "-D", str(tmp_path / "head"), "-o", str(tmp_path / "whole"), f"{base}/{digest}")
    basic.curl(*user, "-r", "100-199", "-o", str(tmp_path / "part"), f"{base}/{digest}")

    head = (tmp_path / "head").read_text().lower()
    assert whole.returncode == 0
    assert (tmp_path / "whole").read_bytes() == data
    assert (tmp_path / "part").read_bytes() == data[100:200]
    assert "x-accel-redirect" not in head
    for line in (f"docker-content-digest: {digest}", "accept-ranges: bytes", "content-length: 500000"):
        assert head.count(line) == 1, head
    hexadecimal = digest.removeprefix("sha256:")
    inside = f"https://{NAME}/moorage-blobs/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data"
    assert basic.status(*user, inside) == 404
