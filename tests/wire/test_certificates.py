"""TLS: which versions and clients are taken, and certificates that change under a running server."""

from __future__ import annotations

import os
import shutil
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.certificates import Authority, Pair
from tests.raw_http import Ended, Line
from tests.servers import Moorage
from tests.wire.served import LARGE, USERS, Served, check_log, eventually, fill, lines_of, trusting

SWAP_SECONDS = 30
"""The promise is a second; a busy machine gets ten."""


@dataclass
class Swapped:
    """A server whose certificate and key lie where *pair* says, to be replaced by the test."""

    served: Served
    pair: Pair
    authority: Authority

    def shown(self) -> x509.Certificate:
        """The certificate that a new connection is shown."""
        with self.served.line() as line:
            assert isinstance(line.socket, ssl.SSLSocket)
            der = line.socket.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der)

    def shows(self, pair: Pair) -> bool:
        """Whether new connections are shown *pair*'s certificate, by whichever worker."""
        expected = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        return all(self.shown() == expected for _ in range(8))

    def put(self, pair: Pair) -> None:
        """Write *pair* over the files, as a deployment script does: one, then the other."""
        shutil.copy(pair.certificate, self.pair.certificate)
        shutil.copy(pair.key, self.pair.key)

    def messages(self) -> list[str]:
        """What the log says beside requests."""
        return [str(line["message"]) for line in lines_of(self.served.server) if line["event"] == "message"]


@pytest.fixture
def swapped(tmp_path: Path, authority: Authority) -> Iterator[Swapped]:
    """A server with an RSA certificate in files of its own."""
    first = authority.issue("127.0.0.1", kind="rsa")
    pair = Pair(tmp_path / "tls.crt", tmp_path / "tls.key", authority.path)
    shutil.copy(first.certificate, pair.certificate)
    shutil.copy(first.key, pair.key)
    with Moorage(tmp_path / "server", "--workers", "2", users=USERS, pair=pair) as server:
        yield Swapped(fill(server, trusting(authority)), pair, authority)


@pytest.mark.parametrize(("kind", "public"), [("rsa", rsa.RSAPublicKey), ("ecdsa", ec.EllipticCurvePublicKey)])
def test_new_certificate_is_in_force(swapped: Swapped, kind: str, public: type) -> None:
    """A renewed certificate, also of another kind of key, is shown within a second; what runs goes on."""
    renewed = swapped.authority.issue("127.0.0.1", kind=kind)
    served = swapped.served
    with served.line(receive_buffer=4096) as busy, served.line() as idle:
        idle.send(served.get("manifests/v1"))
        assert idle.answer().status == 200
        busy.send(served.blob(LARGE))
        busy.received += busy.socket.recv(10_000)

        swapped.put(renewed)
        changed = eventually(lambda: swapped.shows(renewed), SWAP_SECONDS)
        shown = [swapped.shown() for _ in range(8)]

        idle.send(served.get("manifests/v1"))
        assert idle.answer().body == served.manifest
        assert busy.answer().body == LARGE
    assert changed
    assert all(isinstance(certificate.public_key(), public) for certificate in shown)
    assert "has changed and is in force" in swapped.messages()[-1]


def test_certificate_behind_symlinks(swapped: Swapped, tmp_path: Path) -> None:
    """A swap of the folder that links point through, as Kubernetes and certbot make it, is seen."""
    folders = [tmp_path / "archive-1", tmp_path / "archive-2"]
    pairs = [swapped.authority.issue("127.0.0.1", kind=kind) for kind in ("rsa", "ecdsa")]
    for folder, pair in zip(folders, pairs, strict=True):
        folder.mkdir()
        shutil.copy(pair.certificate, folder / "tls.crt")
        shutil.copy(pair.key, folder / "tls.key")
    data = tmp_path / "..data"
    data.symlink_to(folders[0], target_is_directory=True)
    for name in ("tls.crt", "tls.key"):
        (tmp_path / f"{name}.link").symlink_to(data / name)
        os.replace(tmp_path / f"{name}.link", tmp_path / name)
    assert eventually(lambda: swapped.shows(pairs[0]), SWAP_SECONDS)

    (tmp_path / "..new").symlink_to(folders[1], target_is_directory=True)
    os.replace(tmp_path / "..new", data)

    assert eventually(lambda: swapped.shows(pairs[1]), SWAP_SECONDS)


BROKEN = ["another key", "no certificate", "half a certificate", "an empty key", "no files", "a folder"]


@pytest.mark.parametrize("how", BROKEN)
def test_bad_pair_keeps_the_old_one(swapped: Swapped, how: str) -> None:
    """What cannot be used is not: the old certificate stays, the log says why, and a good one heals it."""
    before = swapped.shown()
    other = swapped.authority.issue("127.0.0.1")
    certificate, key = swapped.pair.certificate, swapped.pair.key
    match how:
        case "another key":
            shutil.copy(other.key, key)
        case "no certificate":
            certificate.write_text("renewal failed\n")
        case "half a certificate":
            certificate.write_bytes(other.certificate.read_bytes()[:300])
        case "an empty key":
            key.write_bytes(b"")
        case "no files":
            certificate.unlink()
            key.unlink()
        case _:
            key.unlink()
            key.mkdir()

    said = eventually(lambda: any("the certificate before stays in force" in text for text in swapped.messages()))
    still = [swapped.shown() for _ in range(6)]
    if key.is_dir():
        key.rmdir()
    swapped.put(other)
    healed = eventually(lambda: swapped.shows(other), SWAP_SECONDS)

    assert said
    assert set(still) == {before}
    assert healed
    assert swapped.served.server.process is not None
    assert swapped.served.server.process.poll() is None


def test_slow_deployment_is_noticed_once_it_is_whole(swapped: Swapped) -> None:
    """Between a new certificate and its key the old pair serves; with the key the new one does."""
    before = swapped.shown()
    renewed = swapped.authority.issue("127.0.0.1", kind="ecdsa")

    shutil.copy(renewed.certificate, swapped.pair.certificate)
    time.sleep(1.2)
    between = swapped.shown()
    shutil.copy(renewed.key, swapped.pair.key)

    assert between == before
    assert eventually(lambda: swapped.shows(renewed), SWAP_SECONDS)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_that_are_spoken(secure: Served, authority: Authority, version: ssl.TLSVersion) -> None:
    """TLS 1.2 and 1.3, with forward secrecy and authenticated encryption alone."""
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version
    with Line(secure.server, context) as line:
        line.send(secure.get("manifests/v1"))

        assert line.answer().body == secure.manifest
        assert isinstance(line.socket, ssl.SSLSocket)
        cipher = line.socket.cipher()
    assert cipher is not None
    assert cipher[0].startswith(("TLS_AES", "TLS_CHACHA20", "ECDHE-"))
    assert "CBC" not in cipher[0]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_versions_that_are_not(secure: Served, version: ssl.TLSVersion) -> None:
    """TLS 1.0 and 1.1 are refused."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")

    with pytest.raises((ssl.SSLError, ConnectionError)):
        Line(secure.server, context)


@pytest.mark.parametrize(
    "ciphers", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256", "NULL-SHA256"]
)
def test_weak_ciphers_are_refused(secure: Served, ciphers: str) -> None:
    """Without forward secrecy and authenticated encryption there is no handshake."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")

    with pytest.raises((ssl.SSLError, ConnectionError)):
        Line(secure.server, context)


@pytest.mark.parametrize("name", [None, "registry.test", "other.test", "a" * 63 + ".test", "127.0.0.1"])
def test_any_server_name_gets_the_certificate(secure: Served, name: str | None) -> None:
    """Whatever name the client asks for, or none, it is shown the one certificate there is."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with Line(secure.server) as line:
        with context.wrap_socket(line.socket, server_hostname=name) as wrapped:
            line.socket = wrapped
            line.send(secure.get("manifests/v1"))

            assert line.answer().status == 200


@pytest.mark.parametrize("protocols", [["http/1.1"], ["h2", "http/1.1"], ["h2"], ["acme-tls/1"], []])
def test_protocols_offered(secure: Served, authority: Authority, protocols: list[str]) -> None:
    """HTTP/1.1 is chosen where it is offered; whatever else is offered, HTTP/1.1 is what is spoken."""
    context = trusting(authority)
    if protocols:
        context.set_alpn_protocols(protocols)
    with Line(secure.server, context) as line:
        line.send(secure.get("manifests/v1"))

        assert line.answer().status == 200
        assert isinstance(line.socket, ssl.SSLSocket)
        assert line.socket.selected_alpn_protocol() == ("http/1.1" if "http/1.1" in protocols else None)


def test_minimum_version_can_be_raised(tmp_path: Path, authority: Authority) -> None:
    """With `tls.minimum: tls1.3` a client of TLS 1.2 is refused."""
    environment = {"MOORAGE_TLS_MINIMUM": "tls1.3"}
    pair = authority.issue("127.0.0.1")
    with Moorage(tmp_path / "server", "--workers", "1", users=USERS, pair=pair, environment=environment) as server:
        old = trusting(authority)
        old.maximum_version = ssl.TLSVersion.TLSv1_2

        with pytest.raises((ssl.SSLError, ConnectionError)):
            Line(server, old)
        with Line(server, trusting(authority)):
            pass


# Client certificates


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of the clients' certificates."""
    return Authority(tmp_path_factory.mktemp("clients"), "Client CA")


def _context(authority: Authority, pair: Pair | None) -> ssl.SSLContext:
    context = trusting(authority)
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def _listen(served: Served, context: ssl.SSLContext) -> None:
    """Shake hands, ask, and wait for the first byte."""
    with Line(served.server, context) as line:
        line.send(served.get("manifests/v1"))
        line.socket.recv(1)


def _taken(served: Served, context: ssl.SSLContext) -> bool:
    """Whether a client with *context* gets an answer."""
    try:
        with Line(served.server, context) as line:
            line.send(served.get("manifests/v1"))
            return line.answer().status == 200
    except (ssl.SSLError, ConnectionError, Ended):
        return False


@pytest.mark.parametrize(
    ("mode", "shown", "taken"),
    [
        ("require-and-verify", "good", True),
        ("require-and-verify", "foreign", False),
        ("require-and-verify", "none", False),
        ("verify-if-given", "good", True),
        ("verify-if-given", "foreign", False),
        ("verify-if-given", "none", True),
    ],
)
def test_client_certificates(
    mutual: dict[str, Served], authority: Authority, clients: Authority, mode: str, shown: str, *, taken: bool
) -> None:
    """A client shows a certificate of the right authority, or is refused; or none, where that is allowed."""
    pair = {"good": clients.issue("laptop", client=True), "foreign": authority.issue("thief", client=True)}.get(shown)

    found = [_taken(mutual[mode], _context(authority, pair)) for _ in range(3)]

    assert set(found) == {taken}


@pytest.mark.parametrize(("shown", "reason"), [("none", "CERTIFICATE_REQUIRED"), ("foreign", "UNKNOWN_CA")])
def test_refused_client_is_told_why(
    mutual: dict[str, Served], authority: Authority, clients: Authority, shown: str, reason: str
) -> None:
    """A client without a certificate, or with a wrong one, gets TLS's own alert, and the log has a line."""
    served = mutual["require-and-verify"]
    pair = authority.issue("thief", client=True) if shown == "foreign" else None

    with pytest.raises(ssl.SSLError, match=reason):
        _listen(served, _context(authority, pair))

    assert eventually(
        lambda: any("refused in the TLS handshake" in str(line.get("message")) for line in lines_of(served.server))
    )


def test_certificate_is_no_password(mutual: dict[str, Served], authority: Authority, clients: Authority) -> None:
    """A client with a good certificate still needs its credentials."""
    context = _context(authority, clients.issue("laptop", client=True))
    with Line(mutual["require-and-verify"].server, context) as line:
        line.send(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")

        assert line.answer().status == 401


def test_resumed_session_with_a_certificate(
    mutual: dict[str, Served], authority: Authority, clients: Authority
) -> None:
    """A client that resumes its TLS session is taken like before."""
    served = mutual["require-and-verify"]
    context = _context(authority, clients.issue("laptop", client=True))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Line(served.server, context) as line:
        assert isinstance(line.socket, ssl.SSLSocket)
        session = line.socket.session

    with Line(served.server) as line:
        line.socket = context.wrap_socket(line.socket, server_hostname="127.0.0.1", session=session)
        line.send(served.get("manifests/v1"))

        assert line.answer().status == 200


@pytest.fixture(scope="module")
def mutual(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, clients: Authority
) -> Iterator[dict[str, Served]]:
    """A server for each mode, by its name."""
    servers: dict[str, Served] = {}
    running = []
    for mode in ("require-and-verify", "verify-if-given"):
        environment = {"MOORAGE_TLS_CLIENT_CAS": str(clients.path), "MOORAGE_TLS_CLIENT_AUTH": mode}
        folder = tmp_path_factory.mktemp("mutual") / "server"
        server = Moorage(
            folder, "--workers", "1", users=USERS, pair=authority.issue("127.0.0.1"), environment=environment
        )
        running.append(server)
        server.start()
        servers[mode] = fill(server, _context(authority, clients.issue("owner", client=True)))
    yield servers
    for server in running:
        server.stop()
        check_log(server)
