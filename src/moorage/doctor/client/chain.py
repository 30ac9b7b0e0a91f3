"""What stands in certificates, as far as the diagnosis looks at it."""

from __future__ import annotations

import ipaddress
import warnings
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from cryptography.x509 import ExtensionType

T = TypeVar("T", bound="ExtensionType")


@dataclass(frozen=True, slots=True)
class Card:
    """One certificate. Names are as written in it; *names* False: it has no alternative names at all.

    *purposes*: what it may be used for, by dotted numbers; None where it does not say. *is_ca* None likewise.
    """

    der: bytes
    subject: str
    issuer: str
    common_name: str
    dns: tuple[str, ...]
    addresses: tuple[str, ...]
    names: bool
    not_before: datetime
    not_after: datetime
    hash: str
    key: str
    bits: int
    purposes: tuple[str, ...] | None
    is_ca: bool | None
    issuers_at: tuple[str, ...]
    must_staple: bool
    serial: int
    fingerprint: str

    @property
    def self_issued(self) -> bool:
        """Whether it names itself as its issuer, as roots and self-signed certificates do."""
        return self.subject == self.issuer

    def covers(self, host: str) -> bool:
        """Whether it is good for *host*, as clients decide it (RFC 9525): names in full, a star for one label."""
        try:
            return ipaddress.ip_address(host) in map(ipaddress.ip_address, self.addresses)
        except ValueError:
            pass
        host = host.lower()
        return any(
            pattern == host or (pattern.startswith("*.") and host.partition(".")[2] == pattern[2:])
            for pattern in (name.lower() for name in self.dns)
        )


def read(der: bytes) -> Card:
    """The certificate in *der*. Raises ValueError for what is none."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what is odd in it, which is looked at here anyway
        found = x509.load_der_x509_certificate(der)
        extensions = found.extensions

    def part(kind: type[T]) -> T | None:
        try:
            return extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return None

    alternative, usage = part(x509.SubjectAlternativeName), part(x509.ExtendedKeyUsage)
    basic, access = part(x509.BasicConstraints), part(x509.AuthorityInformationAccess)
    features = part(x509.TLSFeature)
    public = found.public_key()
    common = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    algorithm = found.signature_hash_algorithm
    return Card(
        der,
        found.subject.rfc4514_string(),
        found.issuer.rfc4514_string(),
        str(common[0].value) if common else "",
        tuple(alternative.get_values_for_type(x509.DNSName)) if alternative else (),
        tuple(str(one) for one in alternative.get_values_for_type(x509.IPAddress)) if alternative else (),
        alternative is not None,
        found.not_valid_before_utc,
        found.not_valid_after_utc,
        algorithm.name if algorithm else "",
        type(public).__name__.removesuffix("PublicKey").lstrip("_"),
        getattr(public, "key_size", 0),
        tuple(one.dotted_string for one in usage) if usage is not None else None,
        basic.ca if basic is not None else None,
        tuple(
            one.access_location.value
            for one in access or ()
            if one.access_method == AuthorityInformationAccessOID.CA_ISSUERS
            and isinstance(one.access_location, x509.UniformResourceIdentifier)
        ),
        features is not None and x509.TLSFeatureType.status_request in features,
        found.serial_number,
        found.fingerprint(hashes.SHA256()).hex(":").upper(),
    )
