"""Fetches a public document that a certificate names: small, over plain HTTP, no redirects, no proxy."""

from __future__ import annotations

import base64
import binascii
import http.client
import re
from typing import Final
from urllib.parse import urlsplit

_MOST: Final = 256 * 1024
_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


def fetch(url: str, timeout: float) -> bytes:
    """The document at *url*; nothing where it cannot be had."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return b""
    try:
        connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=min(timeout, 5.0))
        try:
            connection.request("GET", parts.path or "/")
            response = connection.getresponse()
            return response.read(_MOST) if response.status == 200 else b""
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException):
        return b""


def certificates_in(document: bytes) -> list[bytes]:
    """The certificates in PEM text, or the one that DER bytes are, in DER; also those of a PKCS #7 bag."""
    if found := _PEM.findall(document):
        try:
            return [base64.b64decode(text) for text in found]
        except binascii.Error:
            return []
    if not document.startswith(b"0"):
        return []
    return _from_pkcs7(document) or [document]


def _from_pkcs7(document: bytes) -> list[bytes]:
    from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

    try:
        return [one.public_bytes(Encoding.DER) for one in pkcs7.load_der_pkcs7_certificates(document)]
    except ValueError:
        return []
