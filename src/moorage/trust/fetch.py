"""Asks a registry for its authority's certificates, believing nothing of the answer."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Final

from moorage.errors import CertificateFailed
from moorage.trust.certificates import Certificate, read_certificates
from moorage.trust.place import Place

PATH: Final = "/ca.crt"
SECONDS: Final = 30.0
"""For the whole of it (arbitrary)."""
MOST_BYTES: Final = 65536
"""A certificate has some 600 bytes to 2 KiB (arbitrary)."""


def fetch_authority(place: Place, seconds: float = SECONDS) -> tuple[Certificate, ...]:
    """What the server at *place* calls its authority's certificates; who it is, nobody knows yet.

    Over TLS without verifying, and where the port speaks none, over plain HTTP. Raises CertificateFailed.
    """
    deadline = time.monotonic() + seconds
    try:
        text = _get(http.client.HTTPSConnection(place.host, place.port, timeout=seconds, context=_trusting()), deadline)
    except ssl.SSLError:
        text = _guarded(place, http.client.HTTPConnection(place.host, place.port, timeout=seconds), deadline)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(place, error) from None
    try:
        return read_certificates(text)
    except ValueError as error:
        raise CertificateFailed(
            f"what {place.url}{PATH} gives is no certificate: {error}",
            kind="local",
            remedy="is it Moorage that answers there, and no proxy's or hotspot's page?",
        ) from None


def what_is_wrong(place: Place, authority: Sequence[Certificate], seconds: float = SECONDS) -> str:
    """Why a client that trusts *authority* would still refuse the server, in OpenSSL's words; empty if it would not.

    Empty too where the server cannot be reached: it has been reached before.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=b"".join(one.der for one in authority))
    try:
        with socket.create_connection((place.host, place.port), seconds) as plain:
            with context.wrap_socket(plain, server_hostname=place.host):
                return ""
    except ssl.SSLCertVerificationError as error:
        return str(error.verify_message)
    except OSError:
        return ""


def _guarded(place: Place, connection: http.client.HTTPConnection, deadline: float) -> bytes:
    try:
        return _get(connection, deadline)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(place, error) from None


def _get(connection: http.client.HTTPConnection, deadline: float) -> bytes:
    try:
        connection.request("GET", PATH, headers={"Accept": "*/*", "Connection": "close"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise CertificateFailed(
                f"the server has no authority of its own to be trusted: it answers {PATH} with {answer.status}",
                kind="local",
                remedy="its certificate may come from a public authority, which needs none of this; look at its log",
            )
        text = b""
        # Piece by piece: the timeout of a socket is for each, and a server that trickles would hold us forever.
        while piece := answer.read1(MOST_BYTES + 1 - len(text)):
            text += piece
            if len(text) > MOST_BYTES:
                raise http.client.HTTPException(f"more than {MOST_BYTES} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError("it takes too long")
        return text
    finally:
        connection.close()


def _unreachable(place: Place, error: Exception) -> CertificateFailed:
    what = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return CertificateFailed(
        f"{place.url}{PATH} cannot be fetched: {what}",
        kind="unreachable",
        remedy="check the name, the port, and that the server runs",
    )


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # The fingerprint that a person compares says whether to believe what comes.
    context.verify_mode = ssl.CERT_NONE
    return context
