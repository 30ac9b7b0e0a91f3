"""What people put in the place of a PEM file, and the command that makes the right file of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_BYTE_ORDER_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_MARKED: Final = "begins with a byte order mark; save it as plain text (UTF-8 without a mark)"
_SIGNED_DATA: Final = bytes.fromhex("06092a864886f70d010702")
"""RFC 5652, 5.1: what a PKCS #7 file begins with, after its length."""
_PFX: Final = bytes.fromhex("020103")
"""RFC 7292, 4: the version, with which a PKCS #12 file begins after its length."""


def blocks(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The label of each complete PEM block in *data*, and the block itself; text around them is no part of it."""
    label, lines = b"", []
    for line in map(bytes.strip, data.splitlines()):
        if line.startswith(b"-----BEGIN ") and line.endswith(b"-----"):
            label, lines = line[11:-5], [line]
        elif label:
            lines.append(line)
            if line == b"-----END " + label + b"-----":
                yield label.decode("ascii", "replace"), b"\n".join(lines) + b"\n"
                label = b""


def has_mark(data: bytes) -> bool:
    """Whether *data* begins with a mark of UTF-8, for which OpenSSL does not see its first block."""
    return data.startswith(_UTF8_MARK)


def not_a_certificate(data: bytes, source: str) -> str:
    """Why there is no certificate in *data*, and what to do about it."""
    if has_mark(data):
        return _MARKED
    labels = [label for label, _ in blocks(data)]
    if any(label.endswith("CERTIFICATE REQUEST") for label in labels):
        return "holds a request for a certificate (CSR); the certificate is what the authority makes of it"
    if any(label.endswith("PRIVATE KEY") for label in labels):
        return "holds a private key and no certificate: are the two files swapped?"
    if "PKCS7" in labels or "CMS" in labels:
        return f"is PKCS #7; write it as PEM: openssl pkcs7 -print_certs -in {source} -out CHAIN.pem"
    if "TRUSTED CERTIFICATE" in labels:
        return f"is OpenSSL's own form; write it as PEM: openssl x509 -in {source} -out CERTIFICATE.pem"
    return _binary(data, source) or _text(data, "CERTIFICATE")


def not_a_key(data: bytes, source: str) -> str:
    """Why there is no private key in *data*, and what to do about it."""
    if has_mark(data):
        return _MARKED
    labels = [label for label, _ in blocks(data)]
    if any(label.endswith("PUBLIC KEY") for label in labels):
        return "holds a public key; the private one is needed"
    if "OPENSSH PRIVATE KEY" in labels:
        return "is a key for SSH, not for TLS"
    if "CERTIFICATE" in labels:
        return "holds a certificate without its key: are the two files swapped, or is the key in another file?"
    return _binary(data, source) or _text(data, "PRIVATE KEY")


def _binary(data: bytes, source: str) -> str:
    """A sentence where *data* is DER (X.690); it begins with a SEQUENCE then."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    if not data.startswith(b"\x30"):
        return ""
    if _PFX in data[2:9]:
        return (
            f"is PKCS #12 (.pfx, .p12); take both out of it: openssl pkcs12 -in {source} -nokeys -out CHAIN.pem, and"
            f" openssl pkcs12 -in {source} -nocerts -nodes -out KEY.pem"
        )
    if _SIGNED_DATA in data[2:24]:
        return f"is PKCS #7; write it as PEM: openssl pkcs7 -inform der -print_certs -in {source} -out CHAIN.pem"
    try:
        x509.load_der_x509_certificate(data)
    except ValueError:
        pass
    else:
        return f"is a certificate in DER; write it as PEM: openssl x509 -inform der -in {source} -out CERTIFICATE.pem"
    try:
        load_der_private_key(data, None)
    except TypeError:
        pass  # It is encrypted; the same command asks for the passphrase.
    except Exception:  # noqa: BLE001  (whatever else begins like DER)
        return ""
    return f"is a key in DER; write it as PEM: openssl pkey -inform der -in {source} -out KEY.pem"


def _text(data: bytes, wanted: str) -> str:
    if not data.strip():
        return "is empty"
    if data.startswith(_BYTE_ORDER_MARKS):
        return "is UTF-16, as some editors write it; save it as plain text (UTF-8 without a mark)"
    if b"-----BEGIN" in data:
        return f"has no complete -----BEGIN {wanted}----- ... -----END {wanted}----- block; copy it again"
    return f"is not PEM: a file begins with -----BEGIN {wanted}-----"
