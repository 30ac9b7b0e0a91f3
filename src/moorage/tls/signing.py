"""Making certificates (RFC 5280): an authority that may sign certain names only, and what it signs.

This module loads `cryptography`; import it where it is needed, not where a server starts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from moorage.tls.issuer import Issued
from moorage.tls.names import is_address

Purpose = Literal["server", "client"]

_PURPOSES: Final = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
_NOTHING: Final = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


@dataclass(frozen=True, slots=True)
class Signer:
    """An authority's certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def sign(
        self,
        common_name: str,
        alternative: Sequence[x509.GeneralName],
        purpose: Purpose,
        start: datetime,
        end: datetime,
    ) -> Issued:
        """A certificate with a new ECDSA P-256 key; it ends no later than the authority's own, nor begins earlier.

        The chain has the authority's certificate behind the leaf: whoever does not trust it can see what it is.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        authority = self.certificate
        builder = (
            _builder(
                named(common_name),
                authority.subject,
                key,
                max(start, authority.not_valid_before_utc),
                min(end, authority.not_valid_after_utc),
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([_PURPOSES[purpose]]), critical=False)
            .add_extension(_key_identifier(authority), critical=False)
        )
        if alternative:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        leaf = builder.sign(self.key, hashes.SHA256())
        return Issued(pem(leaf) + pem(authority), pem_key(key))


def make_authority(
    title: str, names: Iterable[str] | None, purpose: Purpose, start: datetime, end: datetime
) -> tuple[bytes, bytes]:
    """The certificate and the key of a new authority, as PEM: ECDSA P-256, path length 0, for *purpose* alone.

    It may sign for *names* (parsed) and nothing else, and for anything where that is None. *title*, with the beginning
    of its key's hash, is what people see in lists of authorities.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Moorage"),
            # Two authorities of one name would be taken for each other: clients look up an issuer by it.
            x509.NameAttribute(NameOID.COMMON_NAME, f"{title[:54]} {identifier.digest.hex()[:8]}"),
        ]
    )
    builder = (
        _builder(subject, subject, key, start, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_PURPOSES[purpose]]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    if names is not None:
        builder = builder.add_extension(constraints(names), critical=True)
    return pem(builder.sign(key, hashes.SHA256())), pem_key(key)


def constraints(names: Iterable[str]) -> x509.NameConstraints:
    """Permits *names* (parsed) and excludes every other DNS name and address (RFC 5280, 4.2.1.10).

    A DNS constraint is for a name and all below it; there is no other. A kind without a permitted name would be
    unconstrained, so all of it is excluded, in the form that public authorities use (Baseline Requirements, 7.1.2.5.2):
    the empty DNS name and the networks of length 0. That goes for each IP version too: clients disagree about whether
    an IPv4 constraint says anything of IPv6.
    """
    permitted: list[x509.GeneralName] = []
    excluded: list[x509.GeneralName] = []
    versions = set()
    for name in dict.fromkeys(name.removeprefix("*.") for name in names):
        if is_address(name):
            network = ipaddress.ip_network(name)
            versions.add(network.version)
            permitted.append(x509.IPAddress(network))
        else:
            permitted.append(x509.DNSName(name))
    excluded += [x509.IPAddress(network) for network in _NOTHING if network.version not in versions]
    if not any(isinstance(name, x509.DNSName) for name in permitted):
        excluded.append(x509.DNSName(""))
    return x509.NameConstraints(permitted or None, excluded or None)


def permits(authority: x509.Certificate, name: str) -> bool:
    """Whether a leaf of *authority* for the parsed *name* satisfies its constraints."""
    try:
        permitted = authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    except x509.ExtensionNotFound:
        return True
    if is_address(name):
        return ipaddress.ip_network(name) in [one.value for one in permitted]
    bare = f".{name.removeprefix('*.')}"
    return any(isinstance(one, x509.DNSName) and bare.endswith(f".{one.value}") for one in permitted)


def general_name(name: str) -> x509.GeneralName:
    """A parsed certificate name as it stands in a certificate."""
    return x509.IPAddress(ipaddress.ip_address(name)) if is_address(name) else x509.DNSName(name)


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names and addresses that *certificate* is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in found if isinstance(name, x509.DNSName | x509.IPAddress))


def permitted_names(authority: x509.Certificate) -> tuple[str, ...]:
    """What *authority* may sign, for people: names, and addresses without their prefix length."""
    try:
        permitted = authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    except x509.ExtensionNotFound:
        return ()
    return tuple(
        str(one.value).removesuffix("/32").removesuffix("/128") if isinstance(one, x509.IPAddress) else str(one.value)
        for one in permitted
    )


def common_name(certificate: x509.Certificate) -> str:
    """The subject's common name, or ""."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def load_signer(certificate: bytes, key: bytes) -> Signer:
    """The authority in two PEM texts. Raises ValueError where they are none, or do not belong together."""
    loaded = x509.load_pem_x509_certificate(certificate)
    private = serialization.load_pem_private_key(key, password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != loaded.public_key():
        raise ValueError("the key does not belong to the certificate")
    return Signer(loaded, private)


def named(common_name: str) -> x509.Name:
    """A subject of nothing but a common name, which has 64 characters at most (RFC 5280, A.1)."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def moment(microseconds: int) -> datetime:
    """A time of the `Clock` in whole seconds, as certificates have it."""
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC)


def microseconds(time: datetime) -> int:
    """The other way."""
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def pem(certificate: x509.Certificate) -> bytes:
    """PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Unencrypted PKCS #8 in PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_identifier(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
