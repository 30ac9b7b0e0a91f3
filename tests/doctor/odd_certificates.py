"""Certificates with one mistake each, as people make them."""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from tests.certificates import Key, Pair
from tests.programs import need

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Mistake:
    """How a certificate differs from a good one for `registry.test`; times are from now."""

    names: Sequence[str] | None = ("registry.test",)  # None: no alternative names at all
    begins: timedelta = -_DAY
    ends: timedelta = 300 * _DAY
    common_name: str = "registry.test"
    usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.SERVER_AUTH
    sha1: bool = False
    rsa_bits: int = 0
    self_signed: bool = False
    aia: str = ""
    must_staple: bool = False


class Maker:
    """A root and an intermediate authority in *folder*; `ca.crt` is the root."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.root_key, self.middle_key = (
            ec.generate_private_key(ec.SECP256R1()),
            ec.generate_private_key(ec.SECP256R1()),
        )
        root_name, middle_name = named("Odd Root"), named("Odd Intermediate")
        self.root = _authority(root_name, root_name, self.root_key, self.root_key)
        self.middle = _authority(middle_name, root_name, self.middle_key, self.root_key)
        self.path = folder / "ca.crt"
        self.path.write_bytes(pem(self.root))

    def intermediate(self, *, ends: timedelta = 3000 * _DAY, only: str = "") -> None:
        """A new intermediate that ends then, or may sign for names below *only* alone."""
        self.middle = _authority(self.middle.subject, self.root.subject, self.middle_key, self.root_key, ends, only)

    def make(self, mistake: Mistake, *, chain: bool = True, subordinate: bool = True) -> Pair:
        """A certificate and its key, with the intermediate behind it where *chain*."""
        key: Key = (
            rsa.generate_private_key(public_exponent=65537, key_size=mistake.rsa_bits)
            if mistake.rsa_bits
            else ec.generate_private_key(ec.SECP256R1())
        )
        own = mistake.self_signed or mistake.sha1
        issuer_key: Key = key if own else self.middle_key if subordinate else self.root_key
        issuer = self.middle.subject if subordinate else self.root.subject
        subject = named(mistake.common_name)
        builder = _builder(subject, subject if own else issuer, key, mistake.begins, mistake.ends)
        certificate = _extended(builder, mistake).sign(issuer_key, hashes.SHA256())
        stem = f"{certificate.serial_number:x}"
        pair = Pair(self.folder / f"{stem}.crt", self.folder / f"{stem}.key", self.path)
        middle = pem(self.middle) if chain and subordinate and not mistake.self_signed else b""
        pair.certificate.write_bytes((self._sha1(certificate) if mistake.sha1 else pem(certificate)) + middle)
        pair.key.write_bytes(_key_pem(key))
        return pair

    def _sha1(self, certificate: x509.Certificate) -> bytes:
        """A self-signed one, signed anew by the intermediate as cryptography refuses to: by openssl, with SHA-1."""
        given, key, issuer = (self.folder / name for name in ("given.crt", "middle.key", "middle.crt"))
        given.write_bytes(pem(certificate))
        key.write_bytes(_key_pem(self.middle_key))
        issuer.write_bytes(pem(self.middle))
        words = f"x509 -in {given} -CA {issuer} -CAkey {key} -CAcreateserial -sha1 -preserve_dates".split()
        done = subprocess.run([need("openssl"), *words], check=False, capture_output=True, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout


def pem(certificate: x509.Certificate) -> bytes:
    """As files hold it."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def der(certificate: x509.Certificate) -> bytes:
    """As authorities publish it."""
    return certificate.public_bytes(serialization.Encoding.DER)


def named(common_name: str) -> x509.Name:
    """A name of one part."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _extended(builder: x509.CertificateBuilder, mistake: Mistake) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    if mistake.names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general, mistake.names))), critical=False)
    if mistake.usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([mistake.usage]), critical=False)
    if mistake.must_staple:
        builder = builder.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
    if mistake.aia:
        where = x509.UniformResourceIdentifier(mistake.aia)
        access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where)
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    return builder


def _general(name: str) -> x509.GeneralName:
    """`DNS:` in front makes a DNS name of an address, which is one of the mistakes."""
    if name.startswith("DNS:"):
        return x509.DNSName(name[4:])
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _authority(
    subject: x509.Name,
    issuer: x509.Name,
    key: Key,
    issuer_key: Key,
    ends: timedelta = 3000 * _DAY,
    only: str = "",
) -> x509.Certificate:
    builder = _builder(subject, issuer, key, -10 * _DAY, ends)
    if only:
        constraints = x509.NameConstraints([x509.DNSName(only)], None)
        builder = builder.add_extension(constraints, critical=True)
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
        issuer_key, hashes.SHA256()
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, begins: timedelta, ends: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )
