"""Certificates of authorities in PEM, and the fingerprints by which a person recognises them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MOST_CERTIFICATES: Final = 16
"""In one file; an authority and the one before it are two (arbitrary)."""

_PEM: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----[ \t]*\r?\n([A-Za-z0-9+/=\s]{1,65536}?)-----END CERTIFICATE-----"
)
"""RFC 7468, 5.1, with white space as lenient parsers take it."""
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_PREFIX: Final = re.compile(r"sha-?256(?:\s+fingerprint)?\s*[:=]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate, its bytes in DER."""

    der: bytes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER: 64 lower-case hexadecimal digits."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def pem(self) -> bytes:
        """With lines of 64 characters, the last one ended (RFC 7468, 2)."""
        return ssl.DER_cert_to_PEM_cert(self.der).encode("ascii")


def read_certificates(text: bytes) -> tuple[Certificate, ...]:
    """The certificates in *text*, each once. Raises ValueError saying what else is there instead of any."""
    found: dict[bytes, Certificate] = {}
    for match in _PEM.finditer(text):
        try:
            der = base64.b64decode(b"".join(match[1].split()), validate=True)
        except binascii.Error:
            raise ValueError("a certificate in it is not base64") from None
        found.setdefault(der, Certificate(der))
        if len(found) > MOST_CERTIFICATES:
            raise ValueError(f"there are more than {MOST_CERTIFICATES} certificates in it")
    if not found:
        raise ValueError(_instead(text))
    for one in found.values():
        _check(one)
    return tuple(found.values())


def parse_fingerprints(text: str) -> tuple[str, ...]:
    """One SHA-256 fingerprint or several, with white space or commas between, as `Certificate.fingerprint` has them.

    Each may have colons, capital letters, and `SHA256:` or `sha256 Fingerprint=` before it. Raises ValueError.
    """
    words = _PREFIX.sub(" ", text).replace(",", " ").lower().split()
    plain = [word.replace(":", "") for word in words]
    if len(plain) == 32 and all(len(word) == 2 for word in plain):  # as Windows shows it: AB CD EF
        plain = ["".join(plain)]
    if not plain:
        raise ValueError("the fingerprint is empty")
    for word in plain:
        if not _HEX.fullmatch(word):
            digits = "it has 40, as SHA-1 has" if len(word) == 40 else f"this is {len(word)} characters"
            raise ValueError(f"a SHA-256 fingerprint is 64 hexadecimal digits, with or without colons; {digits}")
    return tuple(dict.fromkeys(plain))


def show_fingerprint(digest: str) -> str:
    """As people compare it: `AB:CD:...`, 95 characters."""
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2)).upper()


def confirmed(offered: Sequence[Certificate], fingerprints: Sequence[str]) -> tuple[Certificate, ...]:
    """Those of *offered* that have one of *fingerprints*.

    Raises LookupError with the fingerprints that nothing has: then nothing is to be believed.
    """
    known = {one.fingerprint: one for one in offered}
    if missing := [digest for digest in fingerprints if digest not in known]:
        raise LookupError(*missing)
    return tuple(known[digest] for digest in fingerprints)


def _check(certificate: Certificate) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificate.der)
    except ssl.SSLError:
        raise ValueError("what is between the lines of a certificate is none") from None


def _instead(text: bytes) -> str:
    start = text[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        return "it is a page of HTML and no certificate"
    if b"PRIVATE KEY-----" in text:
        return "it is a private key and no certificate"
    if text[:1] == b"\x30":
        return "it is binary (DER) and not PEM"
    return "there is no certificate in PEM in it"
