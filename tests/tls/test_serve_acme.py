"""`moorage serve --domain`: a real authority, a real server, and nobody who helps."""

from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from moorage.tls import state
from moorage.tls.store import CertificateStore
from tests.acme.between import Between, Reply
from tests.acme.pebble import Pebble
from tests.content import Client
from tests.raw_http import ask_raw, message
from tests.servers import Moorage, free_port
from tests.tls.traffic import Traffic, trusting
from tests.wire.served import eventually, lines_of

NAMES = ("registry.test", "other.test")
SECONDS = 90
"""Pebble, the keeper's look every fifteen seconds, and a busy machine."""


@dataclass
class Public:
    """A server with public names, and the authority that it asks."""

    server: Moorage
    pebble: Pebble
    store: CertificateStore

    def shown(self, name: str | None, *, roots: bytes | None = None) -> x509.Certificate:
        """What a new connection is shown that asks for *name*; with *roots*, it has to be a certificate of theirs."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if roots is not None:
            context = trusting(roots)
            context.check_hostname = name is not None
        with socket.create_connection((self.server.address, self.server.port), 20) as bare:
            with context.wrap_socket(bare, server_hostname=name) as line:
                der = line.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der)

    def issued(self, *names: str | None) -> bool:
        """Whether all of *names* are shown with certificates of the authority, by every worker."""
        try:
            for name in names:
                for _ in range(6):
                    self.shown(name, roots=self.pebble.roots())
        except ssl.SSLCertVerificationError:
            return False
        return True

    def messages(self, *levels: str) -> list[str]:
        """What the log says beside requests."""
        lines = [line for line in lines_of(self.server) if line["event"] == "message"]
        return [str(line["message"]) for line in lines if line["level"] in (levels or {"info", "warning", "error"})]


@pytest.fixture
def pebble(tmp_path: Path) -> Iterator[Pebble]:
    """An authority that validates at ports that are free."""
    with Pebble(tmp_path / "pebble", nonce_reject=20) as pebble:
        yield pebble


def public(
    pebble: Pebble,
    folder: Path,
    *options: str,
    plain: int | None = None,
    names: tuple[str, ...] = NAMES,
    directory: str | None = None,
) -> Public:
    """A server that is not started; *plain* is its port of plain HTTP, none where None.

    *directory*: where it finds the authority, when that is not its own address.
    """
    asked = [word for name in names for word in ("--domain", name)]
    authority = ["--acme-directory", directory or pebble.directory, "--acme-ca-file", str(pebble.ca_file)]
    where = f"127.0.0.1:{plain}" if plain else "[]"
    server = Moorage(
        folder,
        *asked,
        *authority,
        *options,
        "--workers",
        "2",
        secure=True,
        port=pebble.tls_port,
        environment={"MOORAGE_TLS_PLAIN_LISTEN": where},
    )
    return Public(server, pebble, CertificateStore(server.data / "moorage" / "tls"))


@contextlib.contextmanager
def killed_at_last(server: Moorage) -> Iterator[Moorage]:
    """A server that the test starts itself."""
    try:
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def held(pebble: Pebble) -> Iterator[None]:
    """The authority answers nothing, and afterwards goes on where it was."""
    assert pebble._pebble is not None
    pebble._pebble.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        pebble._pebble.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def stopped_at(between: Between, path: str) -> Iterator[threading.Event]:
    """The next answer to a request for *path* is held back until the end of this; the event says that there is one."""
    reached, over = threading.Event(), threading.Event()

    def hold(_: str, asked: str, reply: Reply) -> None:
        if asked.startswith(path) and reply.status < 300 and not over.is_set():
            reached.set()
            over.wait(SECONDS)

    between.after = hold
    try:
        yield reached
    finally:
        over.set()
        between.after = None


def end_leases(server: Moorage) -> None:
    """As the half minute does for which a killed process keeps others from its work."""
    with contextlib.closing(sqlite3.connect(server.data / "moorage" / "moorage.db")) as database, database:
        database.execute("DELETE FROM leases")


def orders(pebble: Pebble) -> int:
    """How many orders have been made."""
    return pebble.count(" orders in the db")


@pytest.mark.parametrize(
    ("challenge", "plain"), [("auto", True), ("auto", False), ("http-01", True), ("tls-alpn-01", False)]
)
def test_a_public_name_gets_its_certificate(pebble: Pebble, tmp_path: Path, challenge: str, *, plain: bool) -> None:
    """The private authority's is shown first; then each name has its own, by port 80 or by port 443 alone."""
    port = pebble.http_port if plain else None
    one = public(pebble, tmp_path / "server", "--acme-challenge", challenge, plain=port)
    with killed_at_last(one.server) as server:
        with held(pebble):
            server.start()
            first = one.shown(NAMES[0])
            authority = ask_raw(server, message("GET", "/ca.crt")).body
            private = one.shown(NAMES[0], roots=authority)

        got = eventually(lambda: one.issued(*NAMES), SECONDS)

        assert got, server.log_tail()
        found = {name: one.shown(name) for name in (None, "stranger.test", *NAMES)}
        assert server.stop() == 0

    assert first == private
    assert found[None] == found["stranger.test"] == found[NAMES[0]] != found[NAMES[1]]
    assert orders(pebble) == len(NAMES)
    assert [line for line in one.messages("warning", "error") if "no certificate for" not in line] == []
    assert [line for line in one.messages("warning") if f"{NAMES[0]}, {NAMES[1]}" in line and "AAAA" in line]


def test_an_address_gets_its_certificate(pebble: Pebble, tmp_path: Path) -> None:
    """By tls-alpn-01, where it is asked for by its reverse name; whoever reaches the address is shown it."""
    names = (NAMES[0], "127.0.0.1")
    options = ("--acme-challenge", "tls-alpn-01", "--acme-profile", "shortlived")
    one = public(pebble, tmp_path / "server", *options, names=names)
    with one.server as server:
        got = eventually(lambda: one.issued(None, NAMES[0]), SECONDS)

        assert got, server.log_tail()
        shown = one.shown(None).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        named = one.shown(NAMES[0]).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert server.stop() == 0

    assert [str(one.value) for one in shown] == ["127.0.0.1"]
    assert [str(one.value) for one in named] == [NAMES[0]]


LOST = ("/order-plz", "/certZ")
"""The answers that a killed server never sees: its order's URL, and its certificate. It is not killed while the
authority looks for the answer to a challenge: nobody gives one then, and an order that failed is of no use again."""


def test_a_killed_server_orders_nothing_twice(pebble: Pebble, tmp_path: Path) -> None:
    """Killed in the middle of its orders it goes on with them; killed afterwards it serves what it has."""
    with Between(pebble) as between:
        one = public(pebble, tmp_path / "server", plain=pebble.http_port, directory=between.directory)
        with one.server as server:
            for path in LOST:
                with stopped_at(between, path) as reached:
                    assert reached.wait(SECONDS), (path, server.log_tail())
                    server.kill()
                end_leases(server)
                server.start()
            assert eventually(lambda: one.issued(*NAMES), SECONDS), server.log_tail()
            serials = [one.shown(name).serial_number for name in NAMES]
            server.kill()
            for name in NAMES:
                state.save(one.store, name, replace(state.load(one.store, name), ask_again=0))
            server.start()
            at_once = [one.shown(name).serial_number for name in NAMES]

            looked = eventually(lambda: all(state.load(one.store, name).ask_again for name in NAMES), SECONDS)

            assert looked, server.log_tail()
            later = [one.shown(name).serial_number for name in NAMES]
            assert server.stop() == 0

    assert serials == at_once == later
    assert orders(pebble) == len(NAMES)
    assert pebble.count("Issued certificate serial") == len(NAMES)


def test_renewal_under_load(pebble: Pebble, tmp_path: Path) -> None:
    """The authority wants its certificate back now: there is a new one, and no pull or push has noticed."""
    one = public(pebble, tmp_path / "server", plain=pebble.http_port, names=NAMES[:1])
    with one.server as server:
        assert eventually(lambda: one.issued(NAMES[0]), SECONDS), server.log_tail()
        before = one.shown(NAMES[0])
        context = trusting(pebble.roots())
        with Traffic(Client(server, "admin", server.password, context=context), context) as traffic:
            chain = one.store.pair(NAMES[0]).chain.read_bytes()
            start, end = (datetime.now(UTC) - timedelta(hours=hours) for hours in (2, 1))
            pebble.set_window(chain, f"{start:%Y-%m-%dT%H:%M:%SZ}", f"{end:%Y-%m-%dT%H:%M:%SZ}")
            # Hours later, when the authority is asked again.
            state.save(one.store, NAMES[0], replace(state.load(one.store, NAMES[0]), ask_again=0))

            renewed = eventually(lambda: all(one.shown(NAMES[0]) != before for _ in range(6)), SECONDS)

            traffic.finish()
        assert renewed, server.log_tail()
        assert one.issued(NAMES[0])
        assert server.stop() == 0

    assert traffic.failures == []
    assert traffic.resumed > 0
    assert one.messages("error") == []


def test_what_stands_in_the_way_is_told(pebble: Pebble, tmp_path: Path) -> None:
    """A name that leads nowhere does not keep the other from its certificate, nor the server from serving.

    The log says which, and what to look at.
    """
    pebble.dns.servfail(NAMES[1])
    one = public(pebble, tmp_path / "server", plain=pebble.http_port)
    with one.server as server:
        assert eventually(lambda: one.issued(NAMES[0]), SECONDS), server.log_tail()
        told = eventually(lambda: any(NAMES[1] in line for line in one.messages("warning", "error")[1:]), SECONDS)
        known = state.load(one.store, NAMES[1])
        authority = ask_raw(server, message("GET", "/ca.crt")).body
        one.shown(NAMES[1], roots=authority)
        assert server.stop() == 0

    assert told
    assert known.failures >= 1
    assert any("could not resolve" in line and "port 80" in line for line in one.messages("warning", "error")[1:])


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    """The server serves with the private authority's certificate, and says what is wrong with the URL."""
    server = Moorage(
        tmp_path / "server",
        *("--domain", NAMES[0], "--acme-directory", f"http://127.0.0.1:{free_port()}/dir"),
        secure=True,
        environment={"MOORAGE_TLS_PLAIN_LISTEN": "[]"},
    )
    with server:
        told = eventually(lambda: "acme.directory" in server.log.read_text(), SECONDS)
        page = ask_raw(server, message("GET", "/ca.crt"))
        assert server.stop() == 0

    assert (told, page.status) == (True, 200)
