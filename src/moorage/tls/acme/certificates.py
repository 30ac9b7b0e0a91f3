"""Keys and requests for certificates, and whether what an authority sent back is what it was asked for."""

from __future__ import annotations

import base64
import ipaddress
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from moorage.errors import CertificateFailed
from moorage.tls.acme.options import KeyType
from moorage.tls.names import is_address, parse_certificate_name

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_RSA_BITS: Final = 2048


def new_key(kind: KeyType) -> bytes:
    """A new private key, unencrypted PKCS #8 as PEM: P-256 or RSA with 2048 bits."""
    key: PrivateKey = (
        rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
        if kind == "rsa"
        else ec.generate_private_key(ec.SECP256R1())
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def make_request(name: str, key: bytes) -> bytes:
    """A request for *name* in DER, with nothing but the alternative name in it (RFC 8555, 7.4; RFC 8738).

    Raises ValueError where *key* is none.
    """
    san = x509.SubjectAlternativeName([general_name(name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(san, critical=False)
    return builder.sign(load_key(key), hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def load_key(key: bytes) -> PrivateKey:
    """A key made by `new_key`. Raises ValueError."""
    try:
        loaded = serialization.load_pem_private_key(key, None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from error
    if not isinstance(loaded, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError("neither ECDSA nor RSA")
    return loaded


def general_name(name: str) -> x509.GeneralName:
    """A parsed certificate name as certificates write it."""
    return x509.IPAddress(ipaddress.ip_address(name)) if is_address(name) else x509.DNSName(name)


def checked_chain(body: bytes, key: bytes, name: str, host: str) -> bytes:
    """The chain of *body* as PEM and nothing else, once it is certain that it is for *key* and *name*.

    Raises CertificateFailed.
    """
    try:
        chain = x509.load_pem_x509_certificates(body)
        leaf = chain[0]
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        public = leaf.public_key()
    except (ValueError, IndexError, x509.ExtensionNotFound, UnsupportedAlgorithm) as error:
        raise _wrong(name, host, f"what it sent is no certificate that can be used ({error})") from error
    if _bytes(public) != _bytes(load_key(key).public_key()):
        raise _wrong(name, host, "its certificate is for another key")
    if not any(_is(one, name) for one in san):
        raise _wrong(name, host, f"its certificate is for {', '.join(str(one.value) for one in san) or 'nothing'}")
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)


def _is(one: x509.GeneralName, name: str) -> bool:
    if not isinstance(one, x509.DNSName | x509.IPAddress):
        return False
    try:
        return parse_certificate_name(str(one.value)) == name
    except ValueError:
        return False


def _bytes(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined,no-any-return]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _wrong(name: str, host: str, what: str) -> CertificateFailed:
    return CertificateFailed(
        f"{host} gives no certificate for {name}: {what}",
        kind="not-acme",
        remedy="nothing was changed; tell the authority",
    )


def leaf_of(chain: bytes) -> x509.Certificate | None:
    """The first certificate of *chain*, PEM; None where there is none that can be read."""
    try:
        return x509.load_pem_x509_certificate(chain)
    except ValueError:
        return None


def fingerprint(chain: bytes) -> str:
    """SHA-256 of the leaf in hexadecimal; "" where there is none."""
    leaf = leaf_of(chain)
    return leaf.fingerprint(hashes.SHA256()).hex() if leaf is not None else ""


def is_fresh(chain: bytes, now: int) -> bool:
    """Whether more than two thirds of the leaf's lifetime are left; *now* in microseconds."""
    leaf = leaf_of(chain)
    if leaf is None:
        return False
    start, end = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    return end - now / 1e6 > (end - start) * 2 / 3


def certificate_id(chain: bytes) -> str | None:
    """How renewal information names the leaf of *chain* (RFC 9773, 4.1); None: it cannot."""
    leaf = leaf_of(chain)
    if leaf is None:
        return None
    try:
        identifier = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, ValueError):
        return None
    if not identifier:
        return None
    serial = leaf.serial_number
    # As in DER: big-endian, with a leading zero where the first bit is one.
    number = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{_base64url(identifier)}.{_base64url(number)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
