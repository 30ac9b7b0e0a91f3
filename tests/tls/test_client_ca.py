from __future__ import annotations

import json
import logging
import os
import signal
import stat
import subprocess
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from moorage import durable
from moorage.clock import SystemClock
from moorage.errors import CertificateFailed, ConfigurationError
from moorage.tls.client_ca import Client, ClientAuthority, RevokedClients, clients_file
from moorage.tls.signing import load_signer, moment
from moorage.tls.store import CertificateStore
from tests.programs import Shell, need
from tests.tls.hand_clock import HandClock


@pytest.fixture
def clock() -> HandClock:
    """Stands at the real time."""
    return HandClock()


@pytest.fixture
def store(tmp_path: Path) -> CertificateStore:
    """An empty one."""
    return CertificateStore(tmp_path / "tls")


@pytest.fixture
def authority(store: CertificateStore, clock: HandClock) -> ClientAuthority:
    """One that was never asked."""
    return ClientAuthority(store, clock)


def test_a_certificate_is_for_its_client_and_for_nothing_else(authority: ClientAuthority, tmp_path: Path) -> None:
    """OpenSSL takes it for a client's and not for a server's; its key is its own."""
    trusted = authority.ensure()
    client, issued = authority.issue("ann", 30)
    (tmp_path / "ann.cert").write_bytes(issued.chain)
    shell = Shell(tmp_path / "home")

    shell("openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", trusted, tmp_path / "ann.cert")
    shell.fails("openssl", "verify", "-purpose", "sslserver", "-CAfile", trusted, tmp_path / "ann.cert")

    load_signer(issued.chain, issued.key)
    leaf = x509.load_pem_x509_certificate(issued.chain)
    assert leaf.subject.rfc4514_string() == "CN=ann"
    assert f"{leaf.serial_number:x}" == client.serial
    assert issued.chain.count(b"BEGIN CERTIFICATE") == 1


@pytest.mark.parametrize(
    ("name", "alternative"),
    [
        ("ann", []),
        ("ann@example.com", ["ann@example.com"]),
        ("ci.example.com", ["ci.example.com"]),
        ("10.0.0.5", []),
        ("*.example.com", []),
        ("Ann Example", []),
        ("王小明", []),
    ],
)
def test_a_name_that_is_a_mail_address_or_a_domain_is_an_alternative_name_too(
    authority: ClientAuthority, name: str, alternative: list[str]
) -> None:
    """So each way of mapping names has something to find."""
    leaf = x509.load_pem_x509_certificate(authority.issue(name, 1)[1].chain)

    found = [
        str(one.value)
        for extension in leaf.extensions
        if isinstance(extension.value, x509.SubjectAlternativeName)
        for one in extension.value
    ]
    assert found == alternative


@pytest.mark.parametrize(("name", "days"), [("", 1), ("a" * 65, 1), ("ä" * 33, 1), ("ann", 0), ("ann", 3651)])
def test_what_no_certificate_can_be_is_refused(authority: ClientAuthority, name: str, days: int) -> None:
    """Before anything is written down."""
    with pytest.raises(ValueError, match="64 bytes at most"):
        authority.issue(name, days)

    assert authority.clients() == []


def test_what_was_issued_is_listed(authority: ClientAuthority, store: CertificateStore, clock: HandClock) -> None:
    """For every process on the same data folder; a name may have several."""
    first, _ = authority.issue("ann", 30)
    clock.go_on(days=1)
    second, _ = authority.issue("ann", 30)

    assert ClientAuthority(store, clock).clients() == [first, second]
    assert first.serial != second.serial
    assert moment(second.ends) - moment(clock.now()) == timedelta(days=30)
    assert clients_file(store).stat().st_mode & 0o777 == 0o600


def test_a_name_or_one_certificate_of_it_is_revoked(authority: ClientAuthority, clock: HandClock) -> None:
    """Once: what is revoked already keeps its time."""
    one, other, bob = (authority.issue(name, 30)[0] for name in ("ann", "ann", "bob"))

    assert [client.serial for client in authority.revoke("ann", one.serial)] == [one.serial]
    clock.go_on(hours=1)
    assert [client.serial for client in authority.revoke("ann")] == [other.serial]
    assert authority.revoke("ann") == authority.revoke("nobody") == authority.revoke("bob", one.serial) == []

    states = {client.serial: client.revoked for client in authority.clients()}
    assert states == {one.serial: clock.now() - 3_600_000_000, other.serial: clock.now(), bob.serial: 0}


def test_only_the_server_trusts_the_authority_and_its_key_stays_here(
    authority: ClientAuthority, store: CertificateStore
) -> None:
    """Keys have mode 0600; no client's key is kept."""
    authority.issue("ann", 30)

    keys = list(store.folder.rglob("*.key"))

    assert [key.name for key in keys] == ["ca.key"]
    assert stat.S_IMODE(keys[0].stat().st_mode) == 0o600
    assert stat.S_IMODE((store.folder / "clients").stat().st_mode) & 0o077 == 0
    assert authority.bundle.read_bytes().count(b"PRIVATE") == 0


def test_an_authority_that_does_not_last_gets_a_successor_and_both_are_trusted(
    authority: ClientAuthority, clock: HandClock, tmp_path: Path
) -> None:
    """Certificates of the old one are good until their end."""
    _, old = authority.issue("ann", 3650)
    clock.go_on(days=3600)
    _, new = authority.issue("bob", 365)

    trusted = authority.ensure()

    assert trusted.read_bytes().count(b"BEGIN CERTIFICATE") == 2
    at = str(clock.now() // 1_000_000)
    for name, issued in (("ann", old), ("bob", new)):
        (tmp_path / name).write_bytes(issued.chain)
        Shell(tmp_path / "home")("openssl", "verify", "-attime", at, "-CAfile", trusted, tmp_path / name)


@pytest.mark.parametrize("damage", ["clients.json", "ca.crt", "ca.key"])
def test_damaged_files_are_named_and_not_replaced(
    authority: ClientAuthority, store: CertificateStore, damage: str
) -> None:
    """A list that is lost would let the revoked in again, a new authority keep everybody out."""
    authority.issue("ann", 30)
    [path] = [path for path in store.folder.glob(f"clients/**/{damage}") if path != authority.bundle]
    path.write_bytes(b"nonsense")

    with pytest.raises(CertificateFailed, match="from a backup") as raised:
        authority.issue("bob", 30)

    assert str(path.parent) in str(raised.value)
    assert path.read_bytes() == b"nonsense"


def test_a_lost_bundle_is_made_again(authority: ClientAuthority) -> None:
    """It says nothing that the authorities' own files do not."""
    before = authority.ensure().read_bytes()
    authority.bundle.unlink()

    assert authority.ensure().read_bytes() == before


@pytest.mark.parametrize("at", range(4))
def test_a_command_that_is_killed_between_two_writes_leaves_what_the_next_can_use(
    store: CertificateStore, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write is the last: the authority is there whole, or not at all."""
    child = os.fork()
    if not child:
        writes = iter(range(at + 1))
        properly = durable.write_file

        def write(path: Path, data: bytes, mode: int = 0o644) -> None:
            if next(writes) == at:
                path.with_name(f".{path.name}.tmp").write_bytes(data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            properly(path, data, mode)

        monkeypatch.setattr("moorage.tls.folders.write_file", write)
        monkeypatch.setattr("moorage.tls.client_ca.write_file", write)
        ClientAuthority(store, SystemClock()).issue("ann", 30)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])

    client, issued = ClientAuthority(store, SystemClock()).issue("bob", 30)

    survivor = ClientAuthority(store, SystemClock())
    assert survivor.clients() == [client]
    bundle = survivor.ensure().read_bytes()
    x509.load_pem_x509_certificate(issued.chain).verify_directly_issued_by(x509.load_pem_x509_certificate(bundle))


def test_several_at_once_lose_nothing(store: CertificateStore) -> None:
    """Each command has its certificate in the list, and all are signed by one authority."""
    names = [f"client-{number}" for number in range(8)]
    made: list[Client] = []

    def make(name: str) -> None:
        made.append(ClientAuthority(store, SystemClock()).issue(name, 30)[0])

    threads = [threading.Thread(target=make, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    listed = ClientAuthority(store, SystemClock()).clients()
    assert sorted(client.name for client in listed) == names
    assert len({client.issuer for client in made}) == 1


# The list as the server sees it.


class _Ticks:
    """A monotonic clock that goes on a second each time it is asked."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_a_revocation_is_seen_by_a_server_that_runs(authority: ClientAuthority, store: CertificateStore) -> None:
    """Without a restart, for the certificate that is revoked and no other."""
    one, other = (authority.issue("ann", 30)[0] for _ in range(2))
    revoked = RevokedClients(clients_file(store), monotonic=_Ticks())
    assert not revoked(one.issuer, int(one.serial, 16))

    authority.revoke("ann", one.serial)

    assert revoked(one.issuer, int(one.serial, 16))
    assert not revoked(other.issuer, int(other.serial, 16))
    assert not revoked("another authority", int(one.serial, 16))


def test_before_the_first_certificate_nothing_is_revoked(store: CertificateStore) -> None:
    """And the list may come later."""
    revoked = RevokedClients(clients_file(store), monotonic=_Ticks())
    assert not revoked("Moorage clients", 1)

    authority = ClientAuthority(store, SystemClock())
    client, _ = authority.issue("ann", 30)
    authority.revoke("ann")

    assert revoked(client.issuer, int(client.serial, 16))


BROKEN = ["nonsense", "[]", "{}", '{"clients": [{}]}', '{"clients": [{"name": "a", "serial": "zz"}]}', '{"clients": 7}']


@pytest.mark.parametrize("text", BROKEN)
def test_a_list_that_breaks_lets_nobody_in_again(
    authority: ClientAuthority, store: CertificateStore, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What was revoked stays so, and the log says once what is wrong; a start is refused."""
    client, _ = authority.issue("ann", 30)
    authority.revoke("ann")
    path = clients_file(store)
    revoked = RevokedClients(path, monotonic=_Ticks())

    path.write_text(text)

    assert [revoked(client.issuer, int(client.serial, 16)) for _ in range(3)] == [True] * 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert str(path) in caplog.text
    with pytest.raises(ConfigurationError, match="not the list of clients"):
        RevokedClients(path)


def test_a_list_of_before_the_revocation_lets_nobody_in_again(
    authority: ClientAuthority, store: CertificateStore
) -> None:
    """Until the server is started again, a backup that is put back undoes nothing."""
    client, _ = authority.issue("ann", 30)
    path = clients_file(store)
    backup = path.read_bytes()
    authority.revoke("ann")
    revoked = RevokedClients(path, monotonic=_Ticks())

    path.write_bytes(backup)

    assert revoked(client.issuer, int(client.serial, 16))
    assert not json.loads(backup)["clients"][0]["revoked"]


def test_openssl_shows_what_is_written_down(authority: ClientAuthority, tmp_path: Path) -> None:
    """The serial number, by which `moorage cert revoke-client --serial` is told."""
    client, issued = authority.issue("ann", 30)

    shown = subprocess.run(
        [need("openssl"), "x509", "-noout", "-serial"], input=issued.chain, capture_output=True, check=True
    )

    assert int(shown.stdout.decode().strip().removeprefix("serial="), 16) == int(client.serial, 16)
