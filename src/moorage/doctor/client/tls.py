"""Step `tls`: whether the port speaks what the URL says, TLS or plain HTTP, and how old the TLS is."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from moorage.doctor.client.http import Answer, Line, Silence
from moorage.doctor.client.journey import Journey, unverified
from moorage.doctor.client.names import Address, kind_of
from moorage.doctor.finding import Finding, ok, warning, wrong

_OLD: Final = frozenset({"SSLv3", "TLSv1", "TLSv1.1"})
_HTTPS_WANTED: Final = ("http request to an https server", "http request was sent to https port", "speaking plain http")
_ABOUT_CLIENTS: Final = (
    "_ALERT_CERTIFICATE_",
    "_ALERT_BAD_CERTIFICATE",
    "_ALERT_UNSUPPORTED_CERTIFICATE",
    "UNKNOWN_CA",
)
"""Alerts of a server against the certificate of its client, or for want of one (RFC 8446, 6.2)."""

_GREETING: Final = 300
_ALERT_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Shaken:
    """How a handshake went: *chain* is empty where it failed, and *error* says how; *answer* is that of `GET /v2/`."""

    address: Address
    chain: tuple[bytes, ...] = ()
    version: str = ""
    cipher: str = ""
    answer: Answer | None = None
    error: OSError | None = None

    @property
    def reason(self) -> str:
        """OpenSSL's name for what went wrong, in capitals and underscores; empty where it was not OpenSSL."""
        return (self.error.reason or "") if isinstance(self.error, ssl.SSLError) else ""


async def look(journey: Journey) -> AsyncIterator[Finding]:
    """Findings for each address that can be reached; `journey.first` and `journey.chains` are set."""
    if not journey.target.tls:
        async for finding in _plain(journey):
            yield finding
        return
    shaken = await asyncio.gather(*(asyncio.to_thread(shake, journey.line(one)) for one in journey.reachable))
    good = [one for one in shaken if one.chain]
    for one in shaken:
        where = f" at {one.address}" if len(shaken) > 1 else ""
        if one.chain:
            journey.chains[one.address] = one.chain
            journey.first = journey.first or one.answer
            journey.old = journey.old or one.version in _OLD
            for finding in _spoken(one, where):
                yield finding
        else:
            yield await asyncio.to_thread(_failed, journey, one, where, blocks=not good)
    # What does not speak TLS is not asked any further.
    journey.reachable = [one.address for one in good] or journey.reachable
    if good and journey.first is None:
        yield _unanswered(journey, good[0])


def shake(line: Line) -> Shaken:
    """One handshake, and one request over it; never raises OSError."""
    try:
        with line.open() as stream:
            assert isinstance(stream, ssl.SSLSocket)
            chain, version, cipher = sent_chain(stream), stream.version() or "", (stream.cipher() or ("",))[0]
    except OSError as error:
        return Shaken(line.address, error=error)
    try:
        return Shaken(line.address, chain, version, cipher, answer=line.ask("GET", "/v2/"))
    except OSError as error:
        return Shaken(line.address, chain, version, cipher, error=_alerted(line) or error)


def _alerted(line: Line) -> OSError | None:
    """What the server says against a client that it has shaken hands with.

    In TLS 1.3 a client's certificate is looked at after the client is done. A server that then closes while a request
    is on its way may take its alert back (TCP's reset discards what was not yet read), so nothing is sent here.
    """
    try:
        with replace(line, timeout=min(line.timeout, _ALERT_SECONDS)).open() as stream:
            stream.recv(1)
    except ssl.SSLError as error:
        return error
    except OSError:
        pass
    return None


def sent_chain(stream: ssl.SSLSocket) -> tuple[bytes, ...]:
    """The certificates in the order in which the server sent them, in DER; the server's own first."""
    public: Any = getattr(stream, "get_unverified_chain", None)  # Python 3.13
    if public is not None:
        return tuple(public())
    # Python 3.10 to 3.12 have it only on the object below.
    below: Any = getattr(stream, "_sslobj", None)
    if hasattr(below, "get_unverified_chain"):
        encoding_der = 2
        return tuple(one.public_bytes(encoding_der) for one in below.get_unverified_chain() or ())
    return (stream.getpeercert(binary_form=True) or b"",)


def _spoken(one: Shaken, where: str) -> Iterator[Finding]:
    facts: dict[str, Any] = {
        "address": one.address,
        "version": one.version,
        "cipher": one.cipher,
        "certificates": len(one.chain),
    }
    if one.version in _OLD:
        yield wrong(
            f"the newest that is spoken{where} is {one.version}, which clients have given up",
            'They say "tls: protocol version not supported" or "remote error: tls: protocol version"; TLS 1.2 is from'
            " 2008.",
            "ssl_protocols TLSv1.2 TLSv1.3;    # nginx",
            **facts,
        )
    else:
        yield ok(f"{one.version} is spoken{where}", **facts)


def _unanswered(journey: Journey, one: Shaken) -> Finding:
    """The handshake went well, the request did not."""
    if any(mark in one.reason for mark in _ABOUT_CLIENTS):
        return _wants_certificate(journey)
    return wrong(
        f"TLS is spoken, but a request is not answered: {one.error}",
        "What ends TLS there does not pass requests on, or the registry behind it hangs.",
        f"curl -vk {journey.target.url}/v2/",
        blocks=True,
    )


def _wants_certificate(journey: Journey) -> Finding:
    folder = f"/etc/docker/certs.d/{journey.target.authority}"
    shown = journey.options.client_certificate is not None
    return wrong(
        "the server refuses the client certificate" if shown else "the server wants a certificate of the client's own",
        'Clients say "remote error: tls: certificate required" or "bad certificate". Docker shows what lies in'
        f" {folder} as client.cert with client.key (a .crt there is an authority).",
        f"moorage doctor --client {journey.target.url} --cert client.cert --key client.key",
        f"sudo cp client.cert client.key {folder}/",
        blocks=True,
    )


def _failed(journey: Journey, one: Shaken, where: str, *, blocks: bool) -> Finding:
    """No handshake: what does the port speak?"""
    target, facts = journey.target, {"address": one.address, "error": str(one.error)}
    said = _greeting(journey, one.address)
    if said.startswith(b"HTTP/") and not any(words.encode() in said.lower() for words in _HTTPS_WANTED):
        return wrong(
            f"port {target.port}{where} speaks plain HTTP, not TLS",
            'Clients say "http: server gave HTTP response to HTTPS client". Give the registry a certificate; or let'
            " clients speak HTTP with it, which shows passwords to whoever listens in.",
            f"moorage serve --domain {target.host}    # public name",
            f"moorage serve --tls-name {target.host}    # private authority",
            f'in /etc/docker/daemon.json, for HTTP: {{"insecure-registries": ["{target.bracketed}:{target.port}"]}}',
            f"moorage doctor --client http://{target.bracketed}:{target.port}",
            blocks=blocks,
            **facts,
        )
    if said and not said.startswith((b"HTTP/", b"\x15\x03")):
        return wrong(
            f"port {target.port}{where} speaks neither TLS nor HTTP; it says {said[:40]!r}",
            "Another program listens there.",
            f"on the server: ss -ltnp 'sport = :{target.port}'",
            blocks=blocks,
            **facts,
        )
    return _alert(journey, one, where, blocks=blocks)


_ALERTS: Final = (
    (
        "UNRECOGNIZED_NAME",
        "the server has no certificate for the name {host} and ends the handshake",
        "It is set up for other names, or chooses by name (SNI) among several sites, of which none is this one.",
        "server_name {host};    # nginx, in the site of the registry",
    ),
    (
        "INTERNAL_ERROR",
        "the server ends the handshake by an internal error",
        "Servers that get certificates by themselves (Caddy, Traefik, autocert) do so while they have none for {host}.",
        "read the server's log for {host}",
    ),
    (
        "PROTOCOL",
        "the server and this machine have no version of TLS in common",
        "One of them is very old, or set to one version alone.",
        "ssl_protocols TLSv1.2 TLSv1.3;    # nginx",
    ),
    (
        "HANDSHAKE_FAILURE",
        "the server ends the handshake: no cipher in common, or it wants a certificate of the client's own",
        'Clients say "remote error: tls: handshake failure".',
        "openssl s_client -connect {bracketed}:{port} -servername {host}",
    ),
)


def _alert(journey: Journey, one: Shaken, where: str, *, blocks: bool) -> Finding:
    """The port speaks TLS or nothing, and the handshake failed."""
    target = journey.target
    facts: dict[str, Any] = {"address": one.address, "error": str(one.error), "reason": one.reason}
    if any(mark in one.reason for mark in _ABOUT_CLIENTS):
        return _wants_certificate(journey)
    words = {"host": target.host, "bracketed": target.bracketed, "port": target.port}
    for mark, what, meaning, remedy in _ALERTS:
        if mark in one.reason:
            return wrong(
                what.format(**words) + where, meaning.format(**words), remedy.format(**words), blocks=blocks, **facts
            )
    silent = isinstance(one.error, TimeoutError)
    return wrong(
        f"no TLS handshake comes about{where}: {'nothing is answered' if silent else one.error or 'closed'}",
        (
            "The connection is taken, and then nothing comes: the program hangs, or something between swallows large"
            " packets (MTU of a VPN)."
            if silent
            else "The connection is taken and then closed: a balancer without a server behind it, or a firewall that"
            " looks into TLS."
        ),
        f"openssl s_client -connect {target.bracketed}:{target.port} -servername {target.host}",
        blocks=blocks,
        **facts,
    )


async def _plain(journey: Journey) -> AsyncIterator[Finding]:
    """The URL says http."""
    target, address = journey.target, journey.reachable[0]
    line = journey.line(address)
    try:
        journey.first = await asyncio.to_thread(line.ask, "GET", "/v2/")
    except OSError as error:
        trouble: OSError | None = error
    else:
        trouble = None
    first = journey.first
    text = first.body[:2000].lower() if first else b""
    if first is None or (first.status == 400 and any(words.encode() in text for words in _HTTPS_WANTED)):
        secure = Line(target.host, target.authority, address, target.port, unverified(journey.options), line.timeout)
        if (await asyncio.to_thread(shake, secure)).chain:
            yield wrong(
                f"port {target.port} speaks TLS, not plain HTTP",
                'Clients say "Client sent an HTTP request to an HTTPS server" or "malformed HTTP response".',
                f"moorage doctor --client https://{target.bracketed}:{target.port}",
                blocks=True,
            )
            return
    if first is None:
        yield _no_http(journey, trouble)
        return
    if all(kind_of(one) == "loopback" for one in journey.reachable):
        yield ok("plain HTTP, which never leaves this machine", address=address)
    else:
        yield warning(
            "plain HTTP: whoever listens in reads passwords and images, and may change them",
            "Docker and most clients refuse it for addresses outside this machine, unless each is told otherwise.",
            f"moorage serve --domain {target.host}    # public name",
            f"moorage serve --tls-name {target.host}    # private authority",
            f'in /etc/docker/daemon.json: {{"insecure-registries": ["{target.bracketed}:{target.port}"]}}',
            address=address,
        )


def _no_http(journey: Journey, trouble: OSError | None) -> Finding:
    target = journey.target
    said = "nothing is answered in time" if isinstance(trouble, TimeoutError) else str(trouble)
    if isinstance(trouble, Silence) and (greeting := _greeting(journey, journey.reachable[0])):
        said = f"it says {greeting[:40]!r}"
    return wrong(
        f"port {target.port} takes connections, but does not speak HTTP: {said}",
        "Another program listens there, or the one that should answer hangs.",
        f"on the server: ss -ltnp 'sport = :{target.port}'",
        blocks=True,
    )


def _greeting(journey: Journey, address: Address) -> bytes:
    """The first bytes that come back for a plain HTTP request; none for a port that stays silent or closes."""
    target = journey.target
    request = f"GET /v2/ HTTP/1.1\r\nHost: {target.authority}\r\nConnection: close\r\n\r\n".encode()
    try:
        with socket.create_connection((address, target.port), journey.options.timeout) as stream:
            stream.sendall(request)
            return stream.recv(_GREETING)
    except OSError:
        return b""
