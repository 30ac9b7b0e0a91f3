from __future__ import annotations

import asyncio
import http.server
import json
import logging
import multiprocessing
import os
import signal
import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from moorage import durable
from moorage.clock import SystemClock
from moorage.errors import CertificateFailed
from moorage.tls.machine import Names
from moorage.tls.names import is_address
from moorage.tls.private_ca import Leaf, PrivateAuthority, fingerprint
from moorage.tls.signing import Signer, constraints, general_name, load_signer, make_authority, moment, permits
from moorage.tls.store import CertificateStore
from tests.programs import Shell, need
from tests.tls.hand_clock import HandClock

HERE = ("localhost", "127.0.0.1", "::1")


@pytest.fixture
def clock() -> HandClock:
    """Stands at the real time."""
    return HandClock()


@pytest.fixture
def store(tmp_path: Path) -> CertificateStore:
    """An empty one."""
    return CertificateStore(tmp_path / "tls")


@pytest.fixture
def authority(store: CertificateStore, clock: HandClock) -> PrivateAuthority:
    """One that was never asked."""
    return PrivateAuthority(store, clock)


# What is made.


def test_the_first_start_makes_one_authority_and_one_leaf_with_every_name(
    authority: PrivateAuthority, store: CertificateStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the fingerprint that OpenSSL shows, and nothing else of it."""
    caplog.set_level(logging.INFO)

    leaves = authority.prepare(Names(("registry.lan", "10.0.0.5"), HERE))

    assert leaves == (Leaf("private", ("registry.lan", "10.0.0.5", *HERE)),)
    [certificate] = authority.certificates()
    [shown] = authority.fingerprints()
    assert _openssl(certificate, "-fingerprint", "-sha256").partition("=")[2] == shown
    assert shown in caplog.text
    leaf = x509.load_pem_x509_certificate(store.pair("private").chain.read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["registry.lan", "10.0.0.5", *HERE]


def test_the_authority_can_sign_leaves_for_its_names_and_nothing_else(authority: PrivateAuthority) -> None:
    """Path length 0, ten years, critical name constraints, servers only, ECDSA P-256."""
    authority.ensure(Names(("registry.lan", "10.0.0.5")))

    text = _openssl(authority.certificates()[0], "-text")
    made = x509.load_pem_x509_certificate(authority.certificates()[0])

    constrained = ("DNS:registry.lan", "IP:10.0.0.5/255.255.255.255", "Excluded:", "IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0")
    for line in (
        "NIST CURVE: P-256",
        "X509v3 Basic Constraints: critical\nCA:TRUE, pathlen:0",
        "X509v3 Key Usage: critical\nCertificate Sign, CRL Sign",
        "X509v3 Extended Key Usage:\nTLS Web Server Authentication",
        "\n".join(("X509v3 Name Constraints: critical", "Permitted:", *constrained)),
    ):
        assert line in text
    assert timedelta(days=3650) < made.not_valid_after_utc - made.not_valid_before_utc < timedelta(days=3654)


def test_a_leaf_is_short_lived_and_each_has_a_new_key(authority: PrivateAuthority) -> None:
    """90 days and the day of skew; digital signatures by servers."""
    authority.ensure(Names(("registry.lan",)))

    first, second = (asyncio.run(authority.issue("private")) for _ in range(2))

    leaf = x509.load_pem_x509_certificate(first.chain)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=91)
    assert first.key != second.key
    load_signer(first.chain, first.key)
    text = _openssl(first.chain, "-text")
    assert "X509v3 Key Usage: critical\nDigital Signature\n" in text
    assert "CA:FALSE" in text


def test_what_is_secret_is_for_its_owner_alone(authority: PrivateAuthority, store: CertificateStore) -> None:
    """Every key has mode 0600, and the folder is closed too."""
    authority.prepare(Names(("registry.lan",)))

    keys = [*store.folder.rglob("*.key"), *store.folder.rglob("key.pem")]

    assert len({key.resolve() for key in keys}) == 2
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert stat.S_IMODE((store.folder / "authority").stat().st_mode) == 0o700


# What stays.


def test_a_restart_makes_nothing(authority: PrivateAuthority, store: CertificateStore, clock: HandClock) -> None:
    """The authority and the leaf are those of before."""
    names = Names(("registry.lan",), HERE)
    authority.prepare(names)
    before = _files(store)

    clock.go_on(days=30)
    PrivateAuthority(store, clock).prepare(names)

    assert _files(store) == before


def test_a_leaf_that_is_due_is_renewed_at_the_start_by_the_same_authority(
    authority: PrivateAuthority, store: CertificateStore, clock: HandClock
) -> None:
    """A server that was off for long does not begin with a certificate that has ended."""
    authority.prepare(Names(("registry.lan",)))
    before, trusted = store.pair("private").chain.read_bytes(), authority.certificates()

    clock.go_on(days=62)
    authority.prepare(Names(("registry.lan",)))

    assert store.pair("private").chain.read_bytes() != before
    assert authority.certificates() == trusted


@pytest.mark.parametrize("damage", ["chain.pem", "key.pem"])
def test_a_damaged_leaf_is_made_again(authority: PrivateAuthority, store: CertificateStore, damage: str) -> None:
    """Whichever of its files is no PEM, or another's."""
    authority.prepare(Names(("registry.lan",)))
    (store.folder / "certificates" / "private" / "live" / damage).write_bytes(b"nonsense")

    authority.prepare(Names(("registry.lan",)))

    pair = store.pair("private")
    load_signer(pair.chain.read_bytes(), pair.key.read_bytes())


@pytest.mark.parametrize("damage", ["ca.crt", "ca.key"])
def test_a_damaged_authority_is_not_replaced_by_another(
    authority: PrivateAuthority, store: CertificateStore, damage: str
) -> None:
    """Every client would have to trust the new one: a person decides."""
    authority.ensure(Names(("registry.lan",)))
    [file] = store.folder.glob(f"authority/*/{damage}")
    file.write_bytes(b"nonsense")

    with pytest.raises(CertificateFailed, match="put its two files back from a backup") as raised:
        PrivateAuthority(store, SystemClock()).ensure(Names(("registry.lan",)))

    assert str(file.parent) in str(raised.value)
    assert not raised.value.again


def test_the_key_of_another_authority_is_seen(
    authority: PrivateAuthority, store: CertificateStore, tmp_path: Path
) -> None:
    """Nothing is signed that nobody could verify."""
    authority.ensure(Names(("registry.lan",)))
    other = PrivateAuthority(CertificateStore(tmp_path / "other"), SystemClock())
    other.ensure(Names(("registry.lan",)))
    [mine], [others] = store.folder.glob("authority/*/ca.key"), (tmp_path / "other").glob("authority/*/ca.key")
    mine.write_bytes(others.read_bytes())

    with pytest.raises(CertificateFailed, match="the key does not belong to the certificate"):
        PrivateAuthority(store, SystemClock()).ensure(Names(("registry.lan",)))


# Names that come and go.


def test_a_given_name_outside_takes_a_second_authority_beside_the_first(
    authority: PrivateAuthority, store: CertificateStore, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients of the old names still see a leaf of the old authority, in which the new name is not."""
    authority.prepare(Names(("registry.lan", "10.0.0.5"), HERE))
    [old] = authority.certificates()

    leaves = authority.prepare(Names(("registry.lan", "10.0.0.5", "hub.example"), HERE))

    assert leaves == (
        Leaf("private", ("registry.lan", "10.0.0.5", *HERE)),
        Leaf("private.2", ("registry.lan", "10.0.0.5", "hub.example", *HERE)),
    )
    new, kept = authority.certificates()
    assert kept == old
    assert _signed_by(store.pair("private").chain, old)
    assert _signed_by(store.pair("private.2").chain, new)
    assert "that one may not sign hub.example; clients that use these names have to trust it too" in caplog.text
    assert fingerprint(new) in caplog.text


def test_a_name_below_one_that_may_be_signed_takes_no_new_authority(authority: PrivateAuthority) -> None:
    """A constraint is for a name and all below it."""
    authority.ensure(Names(("example.lan",)))

    leaves = authority.prepare(Names(("example.lan", "a.example.lan", "*.example.lan")))

    assert len(authority.certificates()) == 1
    assert leaves == (Leaf("private", ("example.lan", "a.example.lan", "*.example.lan")),)


def test_a_found_name_outside_takes_no_new_authority_and_is_spoken_of(
    authority: PrivateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    """An address that DHCP has changed changes nothing for clients; the log says how to keep it."""
    authority.prepare(Names((), ("box", "10.0.0.5", *HERE)))
    before = authority.certificates()

    leaves = authority.prepare(Names((), ("box", "10.0.0.99", *HERE)))

    assert authority.certificates() == before
    assert leaves == (Leaf("private", ("box", *HERE)),)
    assert "clients that reach this server as 10.0.0.99 will be told" in caplog.text
    assert "--tls-name 10.0.0.99" in caplog.text


def test_a_name_that_is_gone_leaves_the_leaf_and_comes_back(
    authority: PrivateAuthority, store: CertificateStore
) -> None:
    """The authority may sign it still: no new one for what was there before."""
    both, one = Names(("a.lan", "b.lan")), Names(("a.lan",))
    authority.prepare(both)
    for names in (one, both):
        assert authority.prepare(names) == (Leaf("private", names.given),)

        chain = store.pair("private").chain.read_bytes()
        assert authority.fits("private", chain)

    assert len(authority.certificates()) == 1


def test_a_leaf_fits_only_its_names_and_its_authority(authority: PrivateAuthority, tmp_path: Path) -> None:
    """Whoever renews can see that a leaf in the store is not what it should be."""
    other = PrivateAuthority(CertificateStore(tmp_path / "other"), SystemClock())
    for one in (authority, other):
        one.ensure(Names(("a.lan", "b.lan")))

    good = asyncio.run(authority.issue("private"))
    fewer = asyncio.run(authority.issue("a.lan"))
    foreign = asyncio.run(other.issue("private"))

    assert authority.fits("private", good.chain)
    for chain in (fewer.chain, foreign.chain, b"", b"nonsense"):
        assert not authority.fits("private", chain)
    assert not authority.fits("private.2", good.chain)


def test_a_name_that_no_authority_may_sign_is_refused(authority: PrivateAuthority) -> None:
    """With what to do about it."""
    authority.ensure(Names(("registry.lan",)))

    with pytest.raises(CertificateFailed, match=r"may not sign evil\.example; name it with --tls-name"):
        asyncio.run(authority.issue("evil.example"))


# Ends.


def test_an_authority_gets_a_successor_a_year_before_its_end_and_signs_on_until_then(
    authority: PrivateAuthority, store: CertificateStore, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients have the time between the two to learn of the new one."""
    names = Names(("registry.lan",))
    authority.prepare(names)
    [old] = authority.certificates()

    clock.go_on(days=3652 - 365 - 1)
    authority.prepare(names)
    assert authority.certificates() == [old]

    clock.go_on(days=2)
    authority.prepare(names)
    new, kept = authority.certificates()
    assert kept == old
    assert "that one ends within a year" in caplog.text
    assert _signed_by(store.pair("private").chain, old)

    clock.go_on(days=365 - 2)
    assert authority.prepare(names) == (Leaf("private", ("registry.lan",)),)
    assert _signed_by(store.pair("private").chain, new)


def test_a_leaf_is_renewed_by_a_running_server_whose_authority_has_come_near_its_end(
    authority: PrivateAuthority, clock: HandClock
) -> None:
    """The successor is made without a restart."""
    authority.prepare(Names(("registry.lan",)))

    clock.go_on(days=3600)
    made = asyncio.run(authority.issue("private"))

    leaf = x509.load_pem_x509_certificate(made.chain)
    assert leaf.not_valid_after_utc - moment(clock.now()) == timedelta(days=90)
    assert len(authority.certificates()) == 2


def test_an_authority_is_retired_by_its_fingerprint(authority: PrivateAuthority) -> None:
    """From then on the next signs for all names, and only it is given out."""
    authority.prepare(Names(("a.lan",)))
    [old] = authority.fingerprints()
    authority.prepare(Names(("a.lan", "b.lan")))
    new, _ = authority.fingerprints()

    authority.retire(old)

    assert authority.fingerprints() == [new]
    assert authority.prepare(Names(("a.lan", "b.lan"))) == (Leaf("private", ("a.lan", "b.lan")),)
    for shown, reason in ((old, "none has"), (new, "it is the only private authority")):
        with pytest.raises(CertificateFailed, match=reason):
            authority.retire(shown)


# Several at once, and none to the end.


def test_two_processes_at_once_make_one_authority(store: CertificateStore) -> None:
    """Whichever comes first; the other uses it."""
    fork = multiprocessing.get_context("fork")
    ready = fork.Barrier(4)
    told: multiprocessing.Queue[list[str]] = fork.Queue()

    def make() -> None:
        one = PrivateAuthority(store, SystemClock())
        ready.wait(30)
        one.prepare(Names(("registry.lan",)))
        told.put(one.fingerprints())

    processes = [fork.Process(target=make) for _ in range(4)]
    for process in processes:
        process.start()
    answers = [told.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(30)

    assert len(answers[0]) == 1
    assert answers.count(answers[0]) == 4


@pytest.mark.parametrize("at", range(6))
def test_a_start_that_is_killed_between_two_writes_leaves_what_the_next_can_use(
    store: CertificateStore, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write is the last: never a certificate without its key, nor one that was given out and is gone."""
    child = os.fork()
    if not child:
        writes = iter(range(at + 1))
        properly = durable.write_file

        def write(path: Path, data: bytes, mode: int = 0o644) -> None:
            if next(writes) == at:
                path.write_bytes(data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            properly(path, data, mode)

        monkeypatch.setattr("moorage.tls.folders.write_file", write)
        monkeypatch.setattr("moorage.tls.store.write_file", write)
        PrivateAuthority(store, SystemClock()).prepare(Names(("registry.lan",)))
        PrivateAuthority(store, SystemClock()).prepare(Names(("registry.lan", "hub.example")))
        os._exit(0)
    killed = os.waitpid(child, 0)[1]
    survivor = PrivateAuthority(store, SystemClock())
    before = survivor.certificates()

    leaves = survivor.prepare(Names(("registry.lan",)))

    assert os.WIFSIGNALED(killed)
    assert len(leaves) == 1
    assert set(before) <= set(survivor.certificates())
    pair = store.pair("private")
    load_signer(pair.chain.read_bytes(), pair.key.read_bytes())
    assert survivor.fits("private", pair.chain.read_bytes())


# What clients make of it.

KINDS = [
    pytest.param(("localhost", "127.0.0.1", "::1"), id="names and addresses"),
    pytest.param(("localhost",), id="names only"),
    pytest.param(("127.0.0.1",), id="IPv4 only"),
    pytest.param(("::1",), id="IPv6 only"),
    pytest.param(("localhost", "::1"), id="a name and IPv6"),
]


@pytest.mark.parametrize("names", KINDS)
@pytest.mark.parametrize("client", ["openssl", "python", "curl", "wget", "oras"])
def test_clients_of_every_tls_library_accept_its_names_and_no_other(
    tmp_path: Path, client: str, names: tuple[str, ...]
) -> None:
    """OpenSSL, its Python binding in strict mode, GnuTLS (wget) and Go accept the names.

    A leaf for a name outside is refused by all but GnuTLS, which holds no authority that it trusts to its constraints.
    """
    accepts = CLIENTS[client]
    certificate, key = _authority(names)
    signer = load_signer(certificate, key)
    trusted = tmp_path / "ca.crt"
    trusted.write_bytes(certificate)
    shell = Shell(tmp_path / "home", {"SSL_CERT_FILE": str(trusted)})

    for name in names if client == "wget" else HERE:
        with _server(tmp_path, signer, name) as port:
            verdict = accepts(shell, trusted, name, port)

        assert (verdict == "") == (name in names), f"{client}, {name}: {verdict}"


def _by_openssl(shell: Shell, trusted: Path, name: str, port: int) -> str:
    """`openssl verify` of the leaf that the server shows, with all of its checks."""
    option = "-verify_ip" if is_address(name) else "-verify_hostname"
    command = [need("openssl"), "verify", "-x509_strict", "-purpose", "sslserver", option, name]
    done = subprocess.run(
        [*command, "-CAfile", trusted, trusted.parent / "server.crt"], check=False, capture_output=True, text=True
    )
    return done.stdout + done.stderr if done.returncode else ""


def _by_python(shell: Shell, trusted: Path, name: str, port: int) -> str:
    context = ssl.create_default_context(cafile=str(trusted))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        with socket.create_connection((name, port), 30) as plain, context.wrap_socket(plain, server_hostname=name):
            return ""
    except ssl.SSLCertVerificationError as error:
        return str(error)


def _by(*command: str) -> Callable[[Shell, Path, str, int], str]:
    def run(shell: Shell, trusted: Path, name: str, port: int) -> str:
        host = f"[{name}]" if ":" in name else name
        done = subprocess.run(
            [need(command[0]), *(word.format(ca=trusted, host=host, port=port) for word in command[1:])],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, **shell.environment, "HOME": str(shell.home)},
        )
        return done.stdout + done.stderr if done.returncode else ""

    return run


CLIENTS = {
    "openssl": _by_openssl,
    "python": _by_python,
    "curl": _by("curl", "-sS", "--cacert", "{ca}", "https://{host}:{port}/"),
    "wget": _by("wget", "-q", "-O-", "--tries=1", "--ca-certificate={ca}", "https://{host}:{port}/"),
    "oras": _by("oras", "repo", "ls", "--plain-http=false", "{host}:{port}"),
}


def test_an_authority_for_servers_cannot_sign_for_clients(authority: PrivateAuthority, tmp_path: Path) -> None:
    """Nobody who trusts it trusts it for mails, programs or logins."""
    authority.ensure(Names(("registry.lan",)))
    signer = load_signer(*[next(iter(tmp_path.rglob(f"ca.{kind}"))).read_bytes() for kind in ("crt", "key")])
    now = moment(SystemClock().now())
    made = signer.sign("someone", [], "client", now, now + timedelta(days=1))
    for name, text in (("ca", authority.certificates()[0]), ("leaf", made.chain)):
        (tmp_path / f"{name}.pem").write_bytes(text)

    said = Shell(tmp_path / "home").fails(
        "openssl", "verify", "-purpose", "sslclient", "-CAfile", tmp_path / "ca.pem", tmp_path / "leaf.pem"
    )

    assert "unsuitable certificate purpose" in said or "unsupported certificate purpose" in said


_labels = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
_domains = st.builds(".".join, st.lists(_labels, min_size=1, max_size=4))
_wildcards = st.builds(lambda name: f"*.{name}", st.builds(".".join, st.lists(_labels, min_size=2, max_size=3)))
_addresses = st.ip_addresses().map(str)
_names = st.one_of(_domains, _wildcards, _addresses)


@given(names=st.lists(_names, min_size=1, max_size=8, unique=True), other=_names)
def test_an_authority_permits_its_names_and_what_is_below_them(names: list[str], other: str) -> None:
    """And the constraint says the same: each kind of name is permitted somewhere, or excluded as a whole."""
    certificate = x509.load_pem_x509_certificate(_authority(names)[0])
    made = constraints(names)

    below = any(
        not is_address(other)
        and not is_address(name)
        and f".{other.removeprefix('*.')}".endswith(f".{name.removeprefix('*.')}")
        for name in names
    )
    assert all(permits(certificate, name) for name in names)
    assert permits(certificate, other) == (other in names or below)
    kinds = {_kind(one) for one in [*(made.permitted_subtrees or []), *(made.excluded_subtrees or [])]}
    assert kinds == {"DNS", "IPv4", "IPv6"}


def _kind(name: x509.GeneralName) -> str:
    if isinstance(name, x509.IPAddress):
        return f"IPv{name.value.version}"
    return "DNS"


def _authority(names: Sequence[str]) -> tuple[bytes, bytes]:
    now = moment(SystemClock().now())
    return make_authority("Test", names, "server", now - timedelta(days=1), now + timedelta(days=9))


@contextmanager
def _server(folder: Path, signer: Signer, name: str) -> Iterator[int]:
    """A TLS server on loopback with a leaf for *name*, whether the authority may sign it or not; its port."""
    now = moment(SystemClock().now())
    made = signer.sign("Moorage registry", [general_name(name)], "server", now, now + timedelta(days=1))
    (folder / "server.crt").write_bytes(made.chain)
    (folder / "server.key").write_bytes(made.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    server = _Server(("::" if ":" in name else "127.0.0.1", 0), _Catalog)
    server.context = context
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    context: ssl.SSLContext

    def __init__(self, address: tuple[str, int], handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def finish_request(self, request: object, client_address: object) -> None:
        try:
            with self.context.wrap_socket(request, server_side=True) as secure:  # type: ignore[arg-type]
                super().finish_request(secure, client_address)
        except OSError:
            pass  # A client that trusts nobody leaves.


class _Catalog(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"repositories": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base's name)
        pass


def _openssl(certificate: bytes, *options: str) -> str:
    """What OpenSSL shows of a certificate, without indentation."""
    done = subprocess.run(
        [need("openssl"), "x509", "-noout", *options], input=certificate, capture_output=True, check=True
    )
    return "\n".join(line.strip() for line in done.stdout.decode().splitlines())


def _signed_by(chain: Path, authority: bytes) -> bool:
    leaf = x509.load_pem_x509_certificate(chain.read_bytes())
    return leaf.issuer == x509.load_pem_x509_certificate(authority).subject


def _files(store: CertificateStore) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in store.folder.rglob("*") if path.is_file() and not path.is_symlink()
    }
