"""Pages that need no authorisation, and what plain HTTP gets beside TLS."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import quote

import orjson

from moorage.message import Request, Response, header_lines

CHALLENGES = "/.well-known/acme-challenge/"
"""RFC 8555, 8.3."""
AUTHORITY = "/ca.crt"

_HOST = re.compile(
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9.])?|\[(?P<literal>[0-9A-Fa-f:.]{2,45})\])"
    r"(?::[0-9]{0,5})?"
)
"""RFC 9110, 7.2, without what no registry is called: user names, percent-encoding, sub-delimiters."""
_KEPT = "/%:@!$&'()*+,;=~-._"
"""What may stand in a path as it is (RFC 3986, 3.3)."""

Page = Callable[[Request], Response]


class Public:
    """Answers the pages that everybody may read; None for every other path.

    *challenge* gives the answer to a challenge's token, or None; *authorities* the certificates of the private
    authority as one PEM text, empty where there is none; *trust* is the page at /trust. *extra* are header lines for
    every answer.
    """

    def __init__(
        self,
        challenge: Callable[[str], bytes | None],
        authorities: Callable[[], bytes] | None,
        trust: Page | None,
        extra: bytes,
    ) -> None:
        self._challenge = challenge
        self._pages: dict[str, Page] = {}
        if authorities is not None:
            self._pages[AUTHORITY] = self._certificates
            self._authorities = authorities
        if trust is not None:
            self._pages["/trust"] = trust
        self._extra = extra

    def answer(self, request: Request) -> Response | None:
        """The page that *request* is for."""
        path = request.path
        if path.startswith(CHALLENGES):
            return self._read(request, self._token)
        page = self._pages.get(path)
        return None if page is None else self._read(request, page)

    def text(self, status: int, sentence: str, *headers: tuple[str, str]) -> Response:
        """A sentence as an answer."""
        return Response(
            status, self._head("text/plain; charset=utf-8", *headers), sentence.encode("utf-8", "replace") + b"\n"
        )

    def error(self, status: int, code: str, sentence: str) -> Response:
        """A sentence in the protocol's form, for clients that show it to people (distribution-spec, "Error Codes")."""
        body = orjson.dumps({"errors": [{"code": code, "message": sentence, "detail": None}]})
        return Response(status, self._head("application/json"), body)

    def _read(self, request: Request, page: Page) -> Response:
        if request.method not in {"GET", "HEAD"}:
            return self.text(405, "this page can only be read", ("Allow", "GET, HEAD"))
        return page(request)

    def _token(self, request: Request) -> Response:
        found = self._challenge(request.path.removeprefix(CHALLENGES))
        if found is None:
            return self.text(404, "no challenge waits here for this token")
        return Response(200, self._head("application/octet-stream"), found)

    def _certificates(self, _request: Request) -> Response:
        found = self._authorities()
        if not found:
            return self.text(404, "this server's certificate comes from no private authority")
        return Response(200, self._head("application/x-x509-ca-cert"), found)

    def _head(self, kind: str, *more: tuple[str, str]) -> bytes:
        return header_lines(("Content-Type", kind), ("Cache-Control", "no-cache"), *more) + self._extra


class Redirect:
    """Plain HTTP beside TLS: the public pages, and for everything else the way to https at *port*.

    A request that writes or carries a password is refused and not redirected: a client that follows would work, and
    send its password in the clear each time.
    """

    def __init__(self, public: Public, port: int) -> None:
        self._public = public
        self._port = port

    async def __call__(self, request: Request) -> Response:
        """Answer *request*."""
        answer = self._public.answer(request)
        if answer is not None:
            return answer
        host = host_of(request.header(b"host") or "")
        if host is None:
            return self._public.text(400, "the Host header names no host")
        origin = f"https://{host}" if self._port == 443 else f"https://{host}:{self._port}"
        if request.method not in {"GET", "HEAD"} or b"authorization" in request.headers:
            sentence = f"this is plain HTTP, where passwords can be read by others: use {origin}"
            return self._public.error(403, "DENIED", sentence)
        place = quote(request.path.encode("latin-1"), safe=_KEPT)
        query = "?" + quote(request.query.encode("latin-1"), safe=_KEPT + "?") if request.query else ""
        return self._public.text(308, f"use {origin}", ("Location", origin + place + query))


class Misdirected:
    """Plain HTTP on a port that speaks TLS: the public pages, and a word to everybody else."""

    def __init__(self, public: Public) -> None:
        self._public = public

    async def __call__(self, request: Request) -> Response:
        """Answer *request*."""
        return self._public.answer(request) or self._public.text(400, "This port speaks TLS: use https://")


def host_of(header: str) -> str | None:
    """The host in a Host header, without its port; None where it is none.

    What it returns can stand in a URL as it is: letters, digits, dots, dashes and underscores, or an IPv6 address in
    brackets.
    """
    found = _HOST.fullmatch(header)
    if found is None:
        return None
    if found["literal"] is not None:
        try:
            return f"[{ipaddress.IPv6Address(found['literal'])}]"
        except ValueError:
            return None
    return found["host"]
