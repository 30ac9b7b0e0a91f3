"""The certificate changes under running pulls and pushes."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from tests.certificates import Authority, Pair
from tests.clients.engines import Engine
from tests.clients.hosts import Cable
from tests.clients.images import tar
from tests.content import Client, noise
from tests.raw_http import Line
from tests.servers import Moorage, group_members
from tests.tls.traffic import Traffic, trusting
from tests.wire.served import eventually, lines_of

USERS = {"alice": "swap-Alice-1"}
SWAPS = 5
LAYERS = 6
SECONDS = 30
"""The promise is a second; a busy machine gets more."""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs here."""
    return Authority(tmp_path / "authority")


def put(pair: Pair, to: Pair) -> None:
    """Write *pair* over the files *to*, one after the other."""
    shutil.copy(pair.certificate, to.certificate)
    shutil.copy(pair.key, to.key)


def shown(server: Moorage) -> int:
    """The serial number of the certificate that a new connection gets."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with Line(server, context) as line:
        assert isinstance(line.socket, ssl.SSLSocket)
        der = line.socket.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def serial(pair: Pair) -> int:
    """The serial number of *pair*'s certificate."""
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number


def all_show(server: Moorage, pair: Pair) -> bool:
    """Whether new connections get *pair*'s certificate, by whichever worker."""
    return {shown(server) for _ in range(8)} == {serial(pair)}


def test_a_running_pull_and_push_do_not_notice(tmp_path: Path, authority: Authority) -> None:
    """Five certificates of both kinds, one after another, while 32 MiB go out, 512 MiB come in, and others connect.

    Every worker shows each of them, and clients come back with their sessions.
    """
    pair = Pair(tmp_path / "tls.crt", tmp_path / "tls.key", authority.path)
    put(authority.issue("127.0.0.1"), pair)
    context = trusting(authority.path.read_bytes())
    with Moorage(tmp_path / "server", "--workers", "2", users=USERS, pair=pair) as server:
        with Traffic(Client(server, "alice", USERS["alice"], context=context), context) as traffic:
            seen = []
            for number in range(SWAPS):
                fresh = authority.issue("127.0.0.1", kind="rsa" if number % 2 else "ecdsa")
                put(fresh, pair)
                seen.append(eventually(partial(all_show, server, fresh), SECONDS))
            traffic.finish()
        code = server.stop()

    assert seen == [True] * SWAPS
    assert traffic.failures == []
    assert traffic.handshakes >= SWAPS
    assert traffic.resumed > 0
    assert code == 0
    # While one file is new and the other is not, the pair before stays in force, and that is worth a warning.
    loud = [line for line in lines_of(server) if line["level"] not in {"info", "debug", "warning"}]
    assert loud == []


def test_a_worker_that_takes_a_dead_ones_place(tmp_path: Path, authority: Authority) -> None:
    """It shows the certificate of today from its first connection on, not the one that the server began with."""
    pair = Pair(tmp_path / "tls.crt", tmp_path / "tls.key", authority.path)
    put(authority.issue("127.0.0.1"), pair)
    with Moorage(tmp_path / "server", "--workers", "1", users=USERS, pair=pair) as server:
        fresh = authority.issue("127.0.0.1")
        put(fresh, pair)
        assert eventually(partial(all_show, server, fresh), SECONDS)
        for process in group_members(server.pid):
            if process != server.pid:
                os.kill(process, signal.SIGKILL)

        first = shown(server)

    assert first == serial(fresh)


NAME = "registry.test"


@pytest.fixture
def far(tmp_path: Path, authority: Authority) -> Iterator[tuple[Cable, Moorage, Pair]]:
    """A server on another host, with a certificate in files of its own."""
    pair = Pair(tmp_path / "tls.crt", tmp_path / "tls.key", authority.path)
    put(authority.issue(NAME), pair)
    with Cable() as cable:
        address = cable.far.address
        folder = tmp_path / "server"
        with Moorage(folder, users=USERS, pair=pair, address=address, prefix=cable.far.prefix) as server:
            yield cable, server, pair
            assert server.stop() == 0


@pytest.mark.slow
def test_docker_does_not_notice(far: tuple[Cable, Moorage, Pair], tmp_path: Path, authority: Authority) -> None:
    """Engine 20.10 pushes and pulls an image of many layers while the certificate changes twice a second."""
    cable, server, pair = far
    engine = Engine(tmp_path / "engine", cable.near, {NAME: cable.far.address}, modern=False)
    host = f"{NAME}:{server.port}"
    engine.trust(host, authority.path)
    over = threading.Event()
    swapped: list[Pair] = []

    def swap() -> None:
        while not over.wait(0.5):
            swapped.append(authority.issue(NAME, kind="rsa" if len(swapped) % 2 else "ecdsa"))
            put(swapped[-1], pair)

    with engine:
        shell = engine.shell(tmp_path / "home")
        shell(engine.docker, "login", "-u", "alice", "--password-stdin", host, stdin=USERS["alice"])
        parts = {f"part{number}": noise(20_000_000, seed=number) for number in range(LAYERS)}
        lines = ["FROM scratch", *(f"COPY {name} /{name}" for name in parts)]
        image = f"{host}/swap/image:1"
        shell(engine.docker, "build", "-t", image, "-", stdin=tar({"Dockerfile": "\n".join(lines).encode(), **parts}))
        swapping = threading.Thread(target=swap)
        swapping.start()
        try:
            for _ in range(2):
                shell(engine.docker, "push", image)
                shell(engine.docker, "rmi", image)
                shell(engine.docker, "pull", image)
        finally:
            over.set()
            swapping.join()

    assert len(swapped) >= 2
