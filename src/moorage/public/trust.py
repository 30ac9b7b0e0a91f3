"""`/trust`: how each client is made to trust this server's private authority, filled in with the server's own name.

A browser gets a page, everything else the same as commented shell. Neither holds the fingerprint: whoever could put
another authority in our place on the way could put another fingerprint there too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from moorage.message import Request, Response, header_lines
from moorage.public.trust_html import CONTENT_SECURITY_POLICY, html_page
from moorage.public.trust_text import text_page
from moorage.tls.names import covers, is_wildcard, parse_certificate_name
from moorage.trust.place import HTTPS_PORT, Place, parse_place
from moorage.trust.steps import KEYS, step, steps

_HEADERS = (
    # It depends on Host and on what the client is, and it may change with the authority.
    ("Cache-Control", "no-store"),
    ("Vary", "Accept, Host"),
    ("Referrer-Policy", "no-referrer"),
)
_NOSNIFF = "X-Content-Type-Options"


def trust_page(
    request: Request,
    *,
    names: Sequence[str] = (),
    port: int = HTTPS_PORT,
    plain_ports: Collection[int] = (80,),
    extra: bytes = b"",
) -> Response:
    """The answer to `GET /trust`, and with `?client=KEY` the part for that client alone.

    *names* are the certificate's, parsed (`moorage.tls.names`). The port is the Host header's, which also knows of
    ports that are mapped; only where that is one of *plain_ports*, which serve plain HTTP beside TLS, it is *port*.
    *extra* are header lines for every answer.
    """
    asked = _asked(request, port, plain_ports)
    place = _place(asked, names, port)
    key = _client(request.query)
    if key and key not in KEYS:
        return _text(404, f"no such client; there are {', '.join(KEYS)}\n", extra)
    if place is None:
        return _text(400, "ask for this page by the name that clients know the registry by\n", extra)
    chosen = (step(place, key),) if key else steps(place)
    wrong = "" if asked is None or asked.host == place.host else asked.host
    if not _is_browser(request):
        return _text(200, text_page(place, chosen, names=names, wrong=wrong), extra)
    policy = ("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    page = html_page(place, chosen, names=names, wrong=wrong).encode()
    return Response(200, _head("text/html", extra, policy), page)


def _text(status: int, text: str, extra: bytes) -> Response:
    return Response(status, _head("text/plain", extra), text.encode())


def _head(kind: str, extra: bytes, *more: tuple[str, str]) -> bytes:
    known = _NOSNIFF.lower().encode() in extra.lower()
    nosniff = () if known else ((_NOSNIFF, "nosniff"),)
    return header_lines(("Content-Type", f"{kind}; charset=utf-8"), *_HEADERS, *nosniff, *more) + extra


def _asked(request: Request, port: int, plain_ports: Collection[int]) -> Place | None:
    """Where the client believes to be, by its Host header; None where that is no place that a client could write."""
    host = request.header(b"host") or ""
    try:
        found = parse_place(host)
    except ValueError:
        return None
    if request.secure:
        return found
    # What parse_place takes for 443 is 80 to who speaks plain HTTP, unless it stands there.
    written = found.port if found.port != HTTPS_PORT or host.endswith(f":{HTTPS_PORT}") else 80
    return Place(found.host, port) if written in plain_ports else Place(found.host, written)


def _place(asked: Place | None, names: Sequence[str], port: int) -> Place | None:
    """*asked* if the certificate is for it, else the certificate's first name. None where there is nothing to go by."""
    if asked is not None and (not names or _covered(asked.host, names)):
        return asked
    for name in names:
        if not is_wildcard(name):
            return Place(name, port if asked is None else asked.port)
    return asked


def _covered(host: str, names: Sequence[str]) -> bool:
    try:
        parsed = parse_certificate_name(host)
    except ValueError:
        return False
    return any(covers(name, parsed) for name in names)


def _client(query: str) -> str:
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name == "client":
            return value
    return ""


def _is_browser(request: Request) -> bool:
    """curl, wget and PowerShell accept anything or say nothing; only browsers ask for HTML by name."""
    return "text/html" in (request.header(b"accept") or "").lower()
