from __future__ import annotations

import logging
import os
import shutil
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from moorage.errors import ConfigurationError
from moorage.tls.contexts import Contexts, Place, Source
from moorage.tls.files import TlsPolicy, pair_at
from moorage.tls.store import CertificateStore, Pair
from tests.certificates import Authority


@dataclass
class Shaken:
    """What a client has seen of a handshake; *session* is what it may come back with."""

    names: list[str]
    protocol: str | None
    reused: bool
    session: ssl.SSLSession | None
    cipher: str


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs here."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs clients' certificates."""
    return Authority(tmp_path_factory.mktemp("clients"), "Clients")


@pytest.fixture
def store(tmp_path: Path) -> CertificateStore:
    """An empty store."""
    return CertificateStore(tmp_path / "tls")


def keep(store: CertificateStore, name: str, authority: Authority, *names: str, now: int = 1) -> None:
    """Store a new certificate for *names* (or the name alone) in the place of *name*."""
    pair = authority.issue(*(names or (name,)))
    store.put(name, pair.certificate.read_bytes(), pair.key.read_bytes(), now=now)


def of(store: CertificateStore, *places: str, names: tuple[str, ...] | None = None) -> Source:
    """A source whose places are those pairs of the store, for the first one's name."""
    return Source(names if names is not None else places[:1], [Place(store.pair(name), name) for name in places])


def trusting(authority: Authority, protocols: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
    """A client that trusts *authority*, whatever the name."""
    context = ssl.create_default_context(cafile=str(authority.path))
    context.check_hostname = False
    context.set_alpn_protocols(protocols)
    return context


def local(address: str = "127.0.0.1") -> socket.socket:
    """A socket that was reached at *address*, as far as the server can see."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.bind((address, 0))
    return made


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str | None, session: ssl.SSLSession | None = None
) -> Shaken:
    """A handshake in memory, with a byte each way behind it, which brings the session's ticket."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(down, up, server_hostname=name, session=session)
    ours = server.wrap_bio(up, down, server_side=True)
    done: set[ssl.SSLObject] = set()
    for _ in range(6):
        for one in (theirs, ours):
            if one not in done:
                try:
                    one.do_handshake()
                    done.add(one)
                except ssl.SSLWantReadError:
                    pass
    assert len(done) == 2, "the handshake does not end"
    ours.write(b"x")
    theirs.read(1)
    der = theirs.getpeercert(binary_form=True)
    assert der is not None
    shown = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    names = [str(one.value) for one in shown]
    cipher = theirs.cipher()
    assert cipher is not None
    return Shaken(names, theirs.selected_alpn_protocol(), bool(theirs.session_reused), theirs.session, cipher[0])


def shown(contexts: Contexts, client: ssl.SSLContext, name: str | None, address: str = "127.0.0.1") -> list[str]:
    """The names of the certificate that a client gets which asks for *name* and has reached *address*."""
    with local(address) as connection:
        return shake(contexts.beginning(connection), client, name).names


@pytest.mark.parametrize(
    ("asked", "gets"),
    [
        ("a.example", ["a.example"]),
        ("A.Example", ["a.example"]),
        ("b.example", ["b.example"]),
        ("x.b.example", ["*.b.example"]),
        ("y.x.b.example", ["a.example"]),
        ("special.b.example", ["special.b.example"]),
        ("c.example", ["a.example"]),
        (None, ["a.example"]),
    ],
)
def test_certificate_by_name(store: CertificateStore, authority: Authority, asked: str | None, gets: list[str]) -> None:
    """The one that has the name, else a wildcard for it, else the first; also for a client that names none."""
    names = ["a.example", "b.example", "*.b.example", "special.b.example"]
    for name in names:
        keep(store, name, authority)

    contexts = Contexts([of(store, name) for name in names], TlsPolicy(), store)

    assert shown(contexts, trusting(authority), asked) == gets


@pytest.mark.parametrize(
    ("address", "asked", "gets"),
    [
        ("127.0.0.1", None, ["a.example"]),
        ("127.0.0.2", None, ["127.0.0.2"]),
        ("127.0.0.2", "b.example", ["b.example", "::1"]),
        ("127.0.0.2", "other.example", ["a.example"]),
        ("::1", None, ["b.example", "::1"]),
        ("::ffff:127.0.0.2", None, ["127.0.0.2"]),
    ],
)
def test_certificate_by_address(
    store: CertificateStore, authority: Authority, address: str, asked: str | None, gets: list[str]
) -> None:
    """Who was given an address names no host: what has been reached counts."""
    keep(store, "1", authority, "a.example")
    keep(store, "2", authority, "127.0.0.2")
    keep(store, "3", authority, "b.example", "::1")
    sources = [
        of(store, "1", names=("a.example",)),
        of(store, "2", names=("127.0.0.2",)),
        of(store, "3", names=("b.example", "::1")),
    ]

    contexts = Contexts(sources, TlsPolicy())

    assert shown(contexts, trusting(authority), asked, address) == gets


def test_better_place_takes_over(
    store: CertificateStore, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Until the domain's own certificate comes, another stands in; a bad one does not count, and it is said once."""
    caplog.set_level(logging.INFO, "moorage.tls")
    keep(store, "private", authority)
    contexts = Contexts([of(store, "a.example", "private")], TlsPolicy(), store)
    client = trusting(authority)
    before = (contexts.waiting, shown(contexts, client, "a.example"))
    good, other = authority.issue("a.example"), authority.issue("a.example")

    store.put("a.example", good.certificate.read_bytes(), other.key.read_bytes(), now=1)
    for _ in range(3):
        contexts.refresh()
    bad = (contexts.waiting, shown(contexts, client, "a.example"))
    store.put("a.example", good.certificate.read_bytes(), good.key.read_bytes(), now=2)
    contexts.refresh()
    keep(store, "private", authority, now=2)
    contexts.refresh()

    assert before == bad == (("a.example",), ["private"])
    assert (contexts.waiting, shown(contexts, client, "a.example")) == ((), ["a.example"])
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "is not that of the certificate" in caplog.records[0].getMessage()
    assert caplog.records[1].getMessage() == "a.example is in force, in the place of private"


def test_start_with_a_bad_pair(store: CertificateStore, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    """Where another stands behind it, that is shown and the log says why; else there is nothing to start with."""
    keep(store, "private", authority)
    keep(store, "a.example", authority)
    store.pair("a.example").key.write_text("nonsense")

    contexts = Contexts([of(store, "a.example", "private")], TlsPolicy())

    assert shown(contexts, trusting(authority), "a.example") == ["private"]
    assert "a.example cannot be used: " in caplog.text
    with pytest.raises(ConfigurationError, match="is not PEM"):
        Contexts([of(store, "a.example")], TlsPolicy())


def test_one_bad_pair_of_several(store: CertificateStore, authority: Authority) -> None:
    """Each name is for itself: what is wrong with one leaves the others' renewals alone."""
    for name in ("a.example", "b.example"):
        keep(store, name, authority)
    contexts = Contexts([of(store, "a.example"), of(store, "b.example")], TlsPolicy(), store)
    client = trusting(authority)

    store.pair("a.example").chain.unlink()
    keep(store, "b.example", authority, "b.example", "new.example", now=2)
    contexts.refresh()

    assert shown(contexts, client, "a.example") == ["a.example"]
    assert shown(contexts, client, "b.example") == ["b.example", "new.example"]


@pytest.mark.parametrize("first", ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"])
def test_clients_choose_the_cipher(store: CertificateStore, authority: Authority, first: str) -> None:
    """Of those that are good the client's first is taken, also where a context is swapped for another by name."""
    keep(store, "a.example", authority)
    contexts = Contexts([of(store, "a.example")], TlsPolicy())
    client = trusting(authority)
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # whose suites Python can put in an order
    client.set_ciphers(f"ECDHE-ECDSA-{first}:ECDHE+AESGCM:ECDHE+CHACHA20")
    with local() as connection:
        found = shake(contexts.beginning(connection), client, "a.example")

    assert found.cipher == f"ECDHE-ECDSA-{first}"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_outlive_a_certificate(store: CertificateStore, authority: Authority, version: ssl.TLSVersion) -> None:
    """A client comes back with its session after the certificate has changed; who is new sees the new one."""
    keep(store, "a.example", authority)
    contexts = Contexts([of(store, "a.example")], TlsPolicy())
    client = trusting(authority)
    client.minimum_version = client.maximum_version = version
    with local() as connection:
        first = shake(contexts.beginning(connection), client, "a.example")
        again = shake(contexts.beginning(connection), client, "a.example", first.session)

        keep(store, "a.example", authority, "a.example", "new.example", now=2)
        contexts.refresh()
        after = shake(contexts.beginning(connection), client, "a.example", again.session)
        new = shake(contexts.beginning(connection), trusting(authority), "a.example")

    assert (first.reused, again.reused, after.reused, new.reused) == (False, True, True, False)
    assert new.names == ["a.example", "new.example"]


def test_sessions_do_not_outlive_the_authority_of_clients(
    tmp_path: Path, store: CertificateStore, authority: Authority, clients: Authority
) -> None:
    """Who was let in by an authority that counts no more has to show a certificate again, and is refused."""
    keep(store, "a.example", authority)
    trusted = tmp_path / "clients.crt"
    shutil.copy(clients.path, trusted)
    contexts = Contexts([of(store, "a.example")], TlsPolicy(client_cas=(trusted,)))
    client = trusting(authority)
    pair = clients.issue("laptop", client=True)
    client.load_cert_chain(pair.certificate, pair.key)
    with local() as connection:
        first = shake(contexts.beginning(connection), client, "a.example")
        assert shake(contexts.beginning(connection), client, "a.example", first.session).reused

        shutil.copy(Authority(tmp_path / "others", "Others").path, trusted)
        contexts.refresh()

        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            shake(contexts.beginning(connection), client, "a.example", first.session)


def test_bad_authority_of_clients_changes_nothing(
    tmp_path: Path,
    store: CertificateStore,
    authority: Authority,
    clients: Authority,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The one before stays in force, and the log says what is wrong with the file."""
    keep(store, "a.example", authority)
    trusted = tmp_path / "clients.crt"
    shutil.copy(clients.path, trusted)
    contexts = Contexts([of(store, "a.example")], TlsPolicy(client_cas=(trusted,)))
    client = trusting(authority)
    pair = clients.issue("laptop", client=True)
    client.load_cert_chain(pair.certificate, pair.key)

    trusted.write_text("nonsense")
    contexts.refresh()

    assert shown(contexts, client, "a.example") == ["a.example"]
    assert f"{trusted}: is not PEM" in caplog.text


@pytest.mark.parametrize("name", ["a.example", "9.0.0.127.in-addr.arpa"])
def test_challenge_is_shown_while_it_waits(store: CertificateStore, authority: Authority, name: str) -> None:
    """From the next connection on, under the protocol of ACME, and to nobody who asks for another name."""
    keep(store, "a.example", authority)
    contexts = Contexts([of(store, "a.example")], TlsPolicy(), store)
    pair = authority.issue(name)
    before = (contexts.pending(), contexts.challenge(name))

    store.answer_alpn(name, pair.certificate.read_bytes(), pair.key.read_bytes())
    waits = contexts.pending()
    found = contexts.challenge(name)
    assert found is not None
    seen = shake(found, trusting(authority, ("acme-tls/1",)), None)
    other = contexts.challenge("b.example")
    store.forget_alpn(name)

    assert (contexts.pending(), contexts.challenge(name)) == before == (False, None)
    assert (waits, seen.names, seen.protocol, other) == (True, [name], "acme-tls/1", None)


@pytest.mark.parametrize("asked", ["x.in-addr.arpa", "1.2.3.in-addr.arpa", "g.ip6.arpa", "", "..", "a/../b"])
def test_no_challenge_for_nonsense(store: CertificateStore, authority: Authority, asked: str) -> None:
    """What no authority asks for finds nothing."""
    keep(store, "a.example", authority)
    store.answer_alpn("a.example", *(path.read_bytes() for path in _files(authority)))

    assert Contexts([of(store, "a.example")], TlsPolicy(), store).challenge(asked) is None


def _files(authority: Authority) -> tuple[Path, Path]:
    pair = authority.issue("a.example")
    return pair.certificate, pair.key


def test_half_a_challenge_waits(store: CertificateStore, authority: Authority) -> None:
    """One whose files are not whole yet is shown as soon as they are."""
    keep(store, "a.example", authority)
    contexts = Contexts([of(store, "a.example")], TlsPolicy(), store)
    certificate, key = (path.read_bytes() for path in _files(authority))
    store.answer_alpn("a.example", certificate[:200], key)
    half = contexts.pending()

    store.answer_alpn("a.example", certificate, key)

    assert (half, contexts.pending()) == (False, True)


# Certbot's folder


@pytest.fixture
def certbot(tmp_path: Path, authority: Authority) -> Path:
    """/etc/letsencrypt as certbot makes it: links in live/NAME lead to the newest files in archive/NAME."""
    for folder in ("archive", "live"):
        (tmp_path / folder / "a.example").mkdir(parents=True)
    renew(tmp_path, authority, 1)
    return tmp_path


def renew(root: Path, authority: Authority, version: int, *names: str) -> None:
    """Do what certbot does when it renews."""
    pair = authority.issue("a.example", *names)
    files = {"cert": pair.certificate, "chain": pair.ca, "privkey": pair.key}
    archive, live = root / "archive" / "a.example", root / "live" / "a.example"
    for kind, path in files.items():
        shutil.copy(path, archive / f"{kind}{version}.pem")
    full = pair.certificate.read_bytes() + pair.ca.read_bytes()
    (archive / f"fullchain{version}.pem").write_bytes(full)
    for kind in (*files, "fullchain"):
        link = live / f"{kind}.pem"
        link.unlink(missing_ok=True)
        link.symlink_to(f"../../archive/a.example/{kind}{version}.pem")


def test_certbots_folder(certbot: Path, authority: Authority) -> None:
    """The folder is all that is needed, and what certbot renews is in force."""
    pair = pair_at(certbot / "live" / "a.example")
    contexts = Contexts([Source((), [Place(pair, "certbot's")])], TlsPolicy())
    client = trusting(authority)
    first = shown(contexts, client, "a.example")

    renew(certbot, authority, 2, "new.example")
    contexts.refresh()

    assert first == ["a.example"]
    assert shown(contexts, client, "a.example") == ["a.example", "new.example"]


def _only_live(root: Path) -> None:
    """Mounted into a container without the folder that the links lead to."""
    shutil.rmtree(root / "archive")


def _no_key(root: Path) -> None:
    (root / "live" / "a.example" / "privkey.pem").unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_only_live, "fullchain.pem: is a link to ../../archive/a.example/fullchain1.pem, which is not there"),
        (_no_key, "privkey.pem: there is no such file"),
    ],
)
def test_certbots_folder_that_is_not_whole(certbot: Path, spoil: object, says: str) -> None:
    """The sentence names the file, and what may have happened to it."""
    assert callable(spoil)
    spoil(certbot)

    with pytest.raises(ConfigurationError) as caught:
        Contexts([Source((), [Place(pair_at(certbot / "live" / "a.example"), "certbot's")])], TlsPolicy())

    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("other key", "the key is not that of the certificate"),
        ("swapped", "are the two files swapped"),
        ("der", "in DER; write it as PEM"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("missing", "there is no such file"),
        ("encrypted", "the key is encrypted; write it without a passphrase: openssl pkey -in "),
        ("windows", "is UTF-16"),
    ],
)
def test_a_pair_that_is_none(tmp_path: Path, authority: Authority, spoil: str, says: str) -> None:
    """Every way to get it wrong is a sentence with the file."""
    pair = authority.issue("a.example")
    certificate, key = tmp_path / "a.crt", tmp_path / "a.key"
    shutil.copy(pair.certificate, certificate)
    shutil.copy(pair.key, key)
    match spoil:
        case "other key":
            shutil.copy(authority.issue("a.example").key, key)
        case "swapped":
            os.rename(certificate, tmp_path / "x")
            os.rename(key, certificate)
            os.rename(tmp_path / "x", key)
        case "der":
            certificate.write_bytes(ssl.PEM_cert_to_DER_cert(certificate.read_text()))
        case "folder":
            key.unlink()
            key.mkdir()
        case "empty":
            certificate.write_bytes(b"")
        case "encrypted":
            loaded = load_pem_private_key(key.read_bytes(), None)
            secret = BestAvailableEncryption(b"geheim")
            key.write_bytes(loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
        case "windows":
            certificate.write_bytes(certificate.read_text().encode("utf-16"))
        case _:
            certificate.unlink()

    with pytest.raises(ConfigurationError) as caught:
        Contexts([Source((), [Place(Pair(certificate, key), "it")])], TlsPolicy())

    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_lost_chain_is_told(tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    """A script that copies the certificate without the ones above it is a mistake that only some clients notice."""
    first, second = authority.issue("a.example"), authority.issue("a.example")
    certificate, key = tmp_path / "a.crt", tmp_path / "a.key"
    certificate.write_bytes(first.certificate.read_bytes() + first.ca.read_bytes())
    shutil.copy(first.key, key)
    contexts = Contexts([Source((), [Place(Pair(certificate, key), "the certificate in a.crt")])], TlsPolicy())

    shutil.copy(second.certificate, certificate)
    shutil.copy(second.key, key)
    contexts.refresh()

    assert "the certificate in a.crt has lost its chain" in caplog.text
