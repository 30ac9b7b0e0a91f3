"""Certificates and keys as PEM (RFC 7468): what they say, and what is wrong with them, in a sentence.

Bytes in, facts or ConfigurationError out; only `read_file` touches the disk. `cryptography` costs time and memory, so
it is imported when something is looked at: a server whose files are in order never does.
"""

from __future__ import annotations

import ipaddress
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from moorage.errors import ConfigurationError
from moorage.tls.mistaken import blocks, has_mark, not_a_certificate, not_a_key
from moorage.tls.names import covers

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

MOST_BYTES: Final = 1 << 20
"""Of a file with a certificate and its chain, or a key; all public authorities together take a fifth (arbitrary)."""

_MICROSECONDS: Final = 1_000_000
_SHORTEST_RSA: Final = 2048
"""What OpenSSL's security level 2 takes, and so every server and client of today."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says.

    - *names*: the DNS names and addresses of its subjectAltName, addresses compressed, names in lower case;
    - *subject*, *issuer*: for people, "Let's Encrypt, E7";
    - *not_before*, *not_after*: microseconds since the epoch;
    - *fingerprint*: SHA-256 of its DER, `AB:CD:...`;
    - *key*: "ECDSA P-256", "RSA 2048", "Ed25519";
    - *authority*: whether it may sign others;
    - *self_signed*: subject and issuer are the same;
    - *issuer_urls*: where its issuer's own certificate is to be had (RFC 5280, 4.2.2.1).
    """

    names: tuple[str, ...]
    subject: str
    issuer: str
    serial: int
    not_before: int
    not_after: int
    fingerprint: str
    key: str
    authority: bool
    self_signed: bool
    issuer_urls: tuple[str, ...]

    def covers(self, name: str) -> bool:
        """Whether a client that asks for the parsed *name* may take it."""
        return any(covers(one, name) for one in self.names)

    def out_of_time(self, now: int) -> str | None:
        """Why clients refuse it at *now*, where they do."""
        if now >= self.not_after:
            return f"expired on {day(self.not_after)}"
        if now < self.not_before:
            return f"is not valid before {day(self.not_before)}; if that is past, this machine's clock is wrong"
        return None


@dataclass(frozen=True, slots=True)
class Chain:
    """A server's certificate, and those that came with it; *warnings* are sentences about what some clients refuse."""

    leaf: CertificateFacts
    rest: tuple[CertificateFacts, ...]
    warnings: tuple[str, ...]


def read_file(path: Path) -> bytes:
    """What is in the file that is to be PEM. Raises ConfigurationError."""

    def wrong(why: str) -> ConfigurationError:
        return ConfigurationError(why, source=str(path))

    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except IsADirectoryError:
        if (path / "fullchain.pem").exists():
            raise wrong("is a folder; the files in it are fullchain.pem and privkey.pem") from None
        raise wrong("is a folder, not a file; Docker makes one where a file to be mounted is missing") from None
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise wrong(
                f"is a link to {path.readlink()}, which is not there; copy certbot's folders with cp -L"
            ) from None
        raise wrong("there is no such file") from None
    except OSError as error:
        raise wrong(f"cannot be read by this user: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise wrong(f"is too large for a certificate or key: more than {MOST_BYTES >> 20} MiB")
    return data


def read_chain(data: bytes, source: str) -> Chain:
    """The certificates in *data*, of which the first counts as the server's. Raises ConfigurationError."""
    return _chain(_certificates(data, source))


def read_pair(chain: bytes, key: bytes, *, chain_source: str, key_source: str) -> Chain:
    """The certificates in *chain*, whose first belongs to the private *key*. Raises ConfigurationError."""
    certificates = _certificates(chain, chain_source)
    private = _private_key(key, key_source)
    mine = _spki(private.public_key())
    owners = [number for number, one in enumerate(certificates, 1) if _spki(one.public_key()) == mine]
    if not owners:
        has, is_for = describe_key(private.public_key()), describe_key(certificates[0].public_key())
        kinds = f" ({has}, and the certificate's is {is_for})" if has != is_for else ""
        raise ConfigurationError(f"the key is not that of the certificate in {chain_source}{kinds}", source=key_source)
    if owners[0] != 1:
        raise ConfigurationError(
            f"the server's own certificate has to be the first in the file, and it is number {owners[0]}: put it at the"
            " top, and below it the one that signed it",
            source=chain_source,
        )
    too_short = describe_key(private.public_key())
    if too_short.startswith("RSA ") and int(too_short.removeprefix("RSA ")) < _SHORTEST_RSA:
        raise ConfigurationError(
            f"an RSA key of {too_short.removeprefix('RSA ')} bits is too short for TLS; make one of {_SHORTEST_RSA}",
            source=key_source,
        )
    return _chain(certificates)


def certificates_alone(data: bytes) -> bytes:
    """The certificates in *data* without anything else, such as a key in the same file; see `read_pair` first."""
    return b"".join(block for label, block in blocks(data) if label == "CERTIFICATE")


def key_alone(data: bytes) -> bytes:
    """The first private key in *data* without anything else; see `read_pair` first."""
    return next(block for label, block in blocks(data) if label.endswith("PRIVATE KEY"))


def describe(certificate: x509.Certificate) -> CertificateFacts:
    """What *certificate* says."""
    from cryptography.hazmat.primitives import hashes

    return CertificateFacts(
        names=_names(certificate),
        subject=_title(certificate.subject),
        issuer=_title(certificate.issuer),
        serial=certificate.serial_number,
        not_before=_microseconds(certificate.not_valid_before_utc),
        not_after=_microseconds(certificate.not_valid_after_utc),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        key=describe_key(certificate.public_key()),
        authority=_is_authority(certificate),
        self_signed=certificate.subject == certificate.issuer,
        issuer_urls=_issuer_urls(certificate),
    )


def describe_key(key: PublicKeyTypes) -> str:
    """The kind and size of a public key, in words."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {_CURVES.get(key.curve.name, key.curve.name)}"
    return type(key).__name__.removeprefix("_").removesuffix("PublicKey")


_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def _certificates(data: bytes, source: str) -> list[x509.Certificate]:
    from cryptography import x509

    found = []
    for label, block in blocks(data):
        if label != "CERTIFICATE" or has_mark(data):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # An odd serial number is for the clients to refuse.
                found.append(x509.load_pem_x509_certificate(block))
        except ValueError:
            raise ConfigurationError(
                f"certificate number {len(found) + 1} in the file is damaged: copy it again, from -----BEGIN to"
                " -----END",
                source=source,
            ) from None
    if not found:
        raise ConfigurationError(not_a_certificate(data, source), source=source)
    return found


def _private_key(data: bytes, source: str) -> PrivateKeyTypes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    for label, block in blocks(data):
        if not label.endswith("PRIVATE KEY") or label.startswith("OPENSSH") or has_mark(data):
            continue
        if label.startswith("ENCRYPTED") or b"ENCRYPTED" in block.split(b"\n\n", 1)[0]:
            raise ConfigurationError(
                f"the key is encrypted; write it without a passphrase: openssl pkey -in {source} -out PLAIN.pem",
                source=source,
            )
        try:
            return load_pem_private_key(block, None)
        except (ValueError, TypeError):
            raise ConfigurationError(
                "the key is damaged: copy it again, from -----BEGIN to -----END", source=source
            ) from None
        except Exception:  # noqa: BLE001  (UnsupportedAlgorithm, which lies in no public place)
            raise ConfigurationError("a kind of key that is not for TLS: use ECDSA or RSA", source=source) from None
    raise ConfigurationError(not_a_key(data, source), source=source)


def _chain(certificates: Sequence[x509.Certificate]) -> Chain:
    leaf, *rest = (describe(one) for one in certificates)
    said = []
    if not leaf.names:
        said.append("has no subjectAltName, and clients look nowhere else for its names")
    if leaf.authority and not leaf.self_signed and any(not one.authority for one in rest):
        said.append("begins with an authority's certificate: the server's own has to be the first")
    for number, (one, above) in enumerate(pairwise(certificates), 1):
        if one.issuer != above.subject:
            said.append(
                f"certificate number {number} was signed by {_title(one.issuer)}, and number {number + 1} is"
                f" {_title(above.subject)}: the order is wrong, or one is missing"
            )
            break
    if not rest and not leaf.self_signed:
        said.append(_alone(leaf))
    return Chain(leaf, tuple(rest), tuple(said))


def _alone(leaf: CertificateFacts) -> str:
    if leaf.issuer_urls:
        return (
            f"holds the server's certificate alone: the intermediate one, {leaf.issuer}, is missing, without which"
            f" docker refuses it; use the authority's full chain (fullchain.pem), or add {leaf.issuer_urls[0]}"
        )
    return f"holds the server's certificate alone, which is right only if {leaf.issuer} is what the clients trust"


def _spki(key: PublicKeyTypes) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    kinds = (x509.DNSName, x509.IPAddress)
    return tuple(_name(one.value) for one in extension if isinstance(one, kinds))


def _name(value: object) -> str:
    if isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address):
        return str(value)
    return str(value).lower()


def _title(name: x509.Name) -> str:
    from cryptography.x509.oid import NameOID

    def first(kind: x509.ObjectIdentifier) -> str:
        found = name.get_attributes_for_oid(kind)
        return str(found[0].value) if found else ""

    common, organisation = first(NameOID.COMMON_NAME), first(NameOID.ORGANIZATION_NAME)
    if common and organisation and organisation.lower() not in common.lower():
        return f"{organisation}, {common}"
    return common or organisation or name.rfc4514_string()


def _is_authority(certificate: x509.Certificate) -> bool:
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _issuer_urls(certificate: x509.Certificate) -> tuple[str, ...]:
    from cryptography import x509
    from cryptography.x509.oid import AuthorityInformationAccessOID

    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    wanted = AuthorityInformationAccessOID.CA_ISSUERS
    return tuple(
        str(one.access_location.value)
        for one in found
        if one.access_method == wanted and isinstance(one.access_location, x509.UniformResourceIdentifier)
    )


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * _MICROSECONDS


def day(microseconds: int) -> str:
    """A moment for people, to the minute, in UTC."""
    return f"{datetime.fromtimestamp(microseconds // _MICROSECONDS, UTC):%Y-%m-%d %H:%M} UTC"
