from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from moorage.auth.certificates import ClientCertificates, Kind, name_in
from moorage.auth.policy import Action, Rules, allowed
from moorage.auth.principal import ANONYMOUS, Principal
from moorage.errors import Denied
from moorage.oci.name import parse_name
from tests.certificates import Authority, make_key


def _certificate(*common_names: str, **alternative: list[str]) -> dict[str, Any]:
    """As `ssl.SSLSocket.getpeercert` describes one."""
    subject = tuple((("commonName", name),) for name in common_names)
    names = tuple((kind, value) for kind, values in alternative.items() for value in values)
    return {
        "subject": ((("organizationName", "Example"),), *subject),
        "issuer": ((("commonName", "Clients 1"),),),
        "serialNumber": "0AF3",
        "subjectAltName": names,
    }


FULL = _certificate("ann", DNS=["ci.example", "b.example"], email=["ann@example.com"], URI=["spiffe://house/ci"])


@pytest.mark.parametrize(
    ("kind", "certificate", "expected"),
    [
        ("none", FULL, None),
        ("cn", FULL, "ann"),
        ("dns", FULL, "ci.example"),
        ("email", FULL, "ann@example.com"),
        ("uri", FULL, "spiffe://house/ci"),
        ("cn", _certificate(), None),
        ("cn", _certificate("ann", "bob"), None),
        ("cn", _certificate(""), None),
        ("cn", _certificate(" ann"), None),
        ("cn", _certificate("an\nn"), None),
        ("cn", _certificate("an\0n"), None),
        ("cn", _certificate("a" * 255), "a" * 255),
        ("cn", _certificate("a" * 256), None),
        ("cn", _certificate("ä" * 128), None),
        ("cn", _certificate("王小明"), "王小明"),
        ("cn", _certificate("an\ufffdn"), None),
        ("dns", _certificate("ann"), None),
        ("dns", _certificate("ann", DNS=["*.example", "b.example"]), None),
        ("email", _certificate("ann", DNS=["ci.example"]), None),
        ("uri", {}, None),
        ("cn", {}, None),
    ],
)
def test_the_setting_chooses_which_name_is_the_users(
    kind: Kind, certificate: dict[str, Any], expected: str | None
) -> None:
    """One that is missing, ambiguous or none that a user can have names nobody."""
    assert name_in(certificate, kind) == expected


@given(st.text(max_size=40), st.sampled_from(["cn", "dns", "email", "uri"]))
def test_whatever_a_name_is_it_is_taken_whole_or_not_at_all(text: str, kind: Kind) -> None:
    """No name becomes another user's by being cut, folded or trimmed."""
    certificate = _certificate(text, DNS=[text], email=[text], URI=[text])

    assert name_in(certificate, kind) in {text, None}


def test_a_certificate_is_a_principal_of_its_own() -> None:
    """The user of the same name with a password is another one."""
    principal = ClientCertificates("cn", lambda issuer, serial: False).principal(FULL)

    assert principal == Principal("certificate", "ann")
    assert principal.identity != Principal("database", "ann").identity
    assert allowed(principal, Action.PUSH, parse_name("a/b"), Rules())


def test_a_certificate_that_names_nobody_is_a_strangers() -> None:
    """It is as if there were none."""
    assert ClientCertificates("email", lambda issuer, serial: False).principal(_certificate("ann")) is ANONYMOUS


@pytest.mark.parametrize("kind", ["cn", "none"])
def test_a_revoked_certificate_is_refused_even_where_it_would_name_nobody(kind: Kind) -> None:
    """By its authority and serial number, not by its name."""
    clients = ClientCertificates(kind, lambda issuer, serial: (issuer, serial) == ("Clients 1", 0x0AF3))

    with pytest.raises(Denied, match="this client certificate is revoked"):
        clients.principal(FULL)
    clients.principal(FULL | {"serialNumber": "0AF4"})
    clients.principal(FULL | {"issuer": ((("commonName", "Clients 2"),),)})


def test_names_are_those_that_a_real_handshake_shows(tmp_path: Path) -> None:
    """Python's TLS library describes a real certificate as the table above does."""
    authority = Authority(tmp_path)
    server = authority.issue("registry.lan")
    key = make_key()
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "王小明")]))
        .issuer_name(authority.root.subject)
        .public_key(key.public_key())
        .serial_number(0xAF3)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.UniformResourceIdentifier("spiffe://house/ci"),
                    x509.DNSName("ci.example"),
                    x509.RFC822Name("ann@example.com"),
                ]
            ),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    from moorage.tls.signing import pem, pem_key

    (tmp_path / "client.crt").write_bytes(pem(made))
    (tmp_path / "client.key").write_bytes(pem_key(key))  # type: ignore[arg-type]
    shown = _handshake(server.certificate, server.key, tmp_path / "client.crt", tmp_path / "client.key", server.ca)

    names = [name_in(shown, kind) for kind in ("cn", "dns", "email", "uri")]

    assert names == ["王小明", "ci.example", "ann@example.com", "spiffe://house/ci"]
    seen: list[tuple[str, int]] = []

    def revoked(issuer: str, serial: int) -> bool:
        seen.append((issuer, serial))
        return False

    ClientCertificates("cn", revoked).principal(shown)
    assert seen == [("Test CA", 0xAF3)]


def _handshake(certificate: Path, key: Path, client: Path, client_key: Path, ca: Path) -> dict[str, Any]:
    """What a server sees of a client's certificate; both speak through memory."""
    near, far = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    near.load_cert_chain(certificate, key)
    near.load_verify_locations(ca)
    near.verify_mode = ssl.CERT_REQUIRED
    far.load_cert_chain(client, client_key)
    far.load_verify_locations(ca)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server, other = near.wrap_bio(up, down, server_side=True), far.wrap_bio(down, up, server_hostname="registry.lan")
    for _ in range(6):
        for end in (other, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    found = server.getpeercert()
    assert found
    return dict(found)
