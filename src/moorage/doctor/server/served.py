"""What the running server shows, beside what lies on the disk: renewed and not in force, or another program's."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from moorage.doctor.client.http import Line
from moorage.doctor.finding import Finding, ok, skipped, warning
from moorage.settings.listen import TcpAddress, parse_address
from moorage.settings.model import Settings
from moorage.tls.machine import everywhere
from moorage.tls.names import is_address
from moorage.tls.pem import CertificateFacts

_SECONDS = 10.0


def own_line(settings: Settings, host: str) -> Line | None:
    """The way to the server on this machine by its first TCP address that speaks TLS; *host* is asked for by name."""
    for text in settings.listen:
        address = parse_address(text)
        if isinstance(address, TcpAddress) and address.port:
            where = "127.0.0.1" if everywhere(address.host) else address.host
            return Line(host or where, host or where, where, address.port, _lenient(), _SECONDS)
    return None


async def look_at_served(settings: Settings, leaf: CertificateFacts, path: Path) -> AsyncIterator[Finding]:
    """Whether the server shows the certificate in the file at *path*, whose facts are *leaf*."""
    host = next((name for name in leaf.names if not is_address(name) and not name.startswith("*")), "")
    line = own_line(settings, host)
    if line is None:
        return
    try:
        shown = await asyncio.to_thread(shown_leaf, line)
    except OSError as error:
        yield skipped(f"which certificate {line.address}:{line.port} shows could not be seen: {error}")
        return
    if hashlib.sha256(shown).hexdigest().upper() == leaf.fingerprint.replace(":", ""):
        yield ok(f"the server shows that certificate at {line.address}:{line.port}")
        return
    yield warning(
        f"{line.address}:{line.port} shows another certificate than {path} has",
        "It was renewed, and the server sees the old file: a file mounted by itself into a container stays the old one,"
        " and one that cannot be used is not put in force (the log says why). Or another program answers there.",
        "journalctl -u moorage | grep -i certificate | tail    # or: docker logs NAME",
        "docker restart NAME    # and mount the folder, not the file",
        path=str(path),
    )


def shown_leaf(line: Line) -> bytes:
    """The certificate that the server shows, in DER. Raises OSError."""
    with line.open() as connection:
        assert isinstance(connection, ssl.SSLSocket)
        found = connection.getpeercert(binary_form=True)
    if not found:
        raise OSError("no certificate was shown")
    return found


def _lenient() -> ssl.SSLContext:
    """Takes whatever is shown: it is looked at, and nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
