"""The reading half of a connection: bytes in, exchanges out, over httptools' parser (RFC 9112).

A body of known length passes the parser by: its bytes go from the read buffer straight to whoever takes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import httptools

from moorage.errors import BadRequest
from moorage.message import Request
from moorage.server.body import EMPTY, RequestBody, Source
from moorage.server.exchange import Exchange
from moorage.server.forwarded import client_address, trusts
from moorage.server.serving import Serving

_TLS_HELLO = 0x16
# How much of a chunked body may be framing: chunks of a single byte have five bytes around it (RFC 9112, 7.1.1 wants a
# limit on extensions and names none).
_FRAMING_BYTES = 16 * 1024
_FRAMING_FACTOR = 8
_NOTHING = memoryview(b"")
_NONE: frozenset[bytes] = frozenset()


class Incoming:
    """Parses one connection's requests and hands each to *begin* as soon as its headers are complete.

    After `feed`, *refusal* is a status and a sentence if what came is no acceptable HTTP; nothing may be fed then.
    *current* is the request whose body is still to come. *certificate* is the client's, set before anything is fed.
    """

    def __init__(
        self, serving: Serving, source: Source, begin: Callable[[Exchange], None], peer: str, *, secure: bool
    ) -> None:
        self._serving = serving
        self._limits = serving.limits
        self._source = source
        self._hand_over = begin
        self._peer = peer
        self._proxied = trusts(serving.trusted, peer)
        self._secure = secure
        self._parser = httptools.HttpRequestParser(self)
        self._raw_left = 0
        self._upgrading = False
        self.current: Exchange | None = None
        self.refusal: tuple[int, str] | None = None
        self.certificate: Mapping[str, Any] | None = None
        self.on_message_begin()
        self._in_headers = False

    def refuse(self, status: int, message: str) -> None:
        """Take no more; the first reason counts. The rest of a body that is still to come will not."""
        if self.refusal is None:
            self.refusal = (status, message)
            if self.current is not None:
                self.current.body.spoil(BadRequest(status, message))

    def feed(self, data: memoryview) -> None:
        """Take what has been read; the view is not kept."""
        while data and self.refusal is None:
            data = self._feed_raw(data) if self._raw_left else self._parse(data)

    @property
    def partial(self) -> bool:
        """Whether a request's headers have begun and not ended."""
        return self._in_headers

    def _feed_raw(self, data: memoryview) -> memoryview:
        """Give a body's bytes on without parsing them; return what lies behind them."""
        take = min(len(data), self._raw_left)
        self._raw_left -= take
        if self.current is not None:
            self.current.body.feed(data[:take])
        if not self._raw_left:
            self._end_body()
        return data[take:]

    def _parse(self, data: memoryview) -> memoryview:
        """Parse, up to the end or to an upgrade; return what lies behind that."""
        current = self.current
        if self._in_headers or current is not None:
            self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade()
            return data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            self.refuse(400, _complaint(data, error))
        if self._in_headers:
            if self._fed > self._limits.header_bytes:
                self.refuse(431, "the request's headers are too long")
        elif self.current is not None and self.refusal is None:
            self._measure_body(self.current, going_on=self.current is current)
        return _NOTHING

    def _ignore_upgrade(self) -> None:
        """Nothing is upgraded to: the request means what it means without the header (RFC 9110, 7.8).

        The parser sees the end of the request in the end of its headers. A body behind them would be taken for
        requests, so it goes around the parser, or another one is told that it comes in chunks.
        """
        self._upgrading = False
        self._parser = httptools.HttpRequestParser(self)
        if self.current is not None and self.current.body.remaining is None:
            self._parser = httptools.HttpRequestParser(_InBody(self))
            self._parser.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        elif self.current is not None:
            self._raw_left = self.current.body.remaining or 0

    def _measure_body(self, exchange: Exchange, *, going_on: bool) -> None:
        """Let a body of known length go around the parser, and stop one that is mostly framing."""
        body = exchange.body
        if body.remaining:
            self._raw_left = body.remaining
            self._parser = httptools.HttpRequestParser(self)
        elif going_on and self._fed > _FRAMING_BYTES + _FRAMING_FACTOR * body.received:
            self.refuse(400, "the chunked body has more framing than content")

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._repeated: set[bytes] | frozenset[bytes] = _NONE
        self._header_count = 0
        self._header_bytes = 0
        self._fed = 0
        self._in_headers = True

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._url += url
        if len(self._url) > self._limits.target_bytes:
            self.refuse(414, "the request target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field, or a trailer, which nobody here wants (RFC 9112, 7.1.2)."""
        limits = self._limits
        self._header_count = count = self._header_count + 1
        self._header_bytes = size = self._header_bytes + len(name) + len(value)
        if count > limits.header_count or size > limits.header_bytes:
            self.refuse(431, "the request's headers are too many or too long")
        elif self._in_headers:
            key = name.lower()
            if key in self._headers:
                self._repeated = self._repeated | {key}
            else:
                self._headers[key] = value

    def on_headers_complete(self) -> None:
        """The headers are here."""
        headers = self._headers
        self._in_headers = False
        self._fed = 0
        self._upgrading = b"upgrade" in headers and self._parser.should_upgrade()
        version = self._parser.get_http_version()
        if version == "1.1":
            if b"host" not in headers or b"host" in self._repeated:
                self.refuse(400, "a request has one Host header")  # RFC 9112, 3.2
        elif version != "1.0":
            self.refuse(400, "this server speaks HTTP/1.1")
        elif b"transfer-encoding" in headers:
            # RFC 9112, 6.1: whoever came before may have read it otherwise
            self.refuse(400, "HTTP/1.0 has no chunks")
        if self.refusal is None:
            exchange = self._exchange(old=version == "1.0")
            self.current = None if exchange.body is EMPTY else exchange
            self._hand_over(exchange)

    def on_body(self, body: bytes) -> None:
        """A piece of a body that came with its headers, or of a chunked one."""
        if self.current is not None:
            self.current.body.feed(memoryview(body))

    def on_message_complete(self) -> None:
        """The body has ended, or headers that ask for an upgrade."""
        if not self._upgrading:
            self._end_body()

    def _end_body(self) -> None:
        if self.current is not None:
            ended, self.current = self.current, None
            ended.body.finish()

    def _exchange(self, *, old: bool) -> Exchange:
        parser, headers, body = self._parser, self._headers, self._body()
        method = parser.get_method().decode("latin-1")
        path, _, query = self._url.decode("latin-1").partition("?")
        if not path.startswith("/"):
            path = "/" + path.partition("://")[2].partition("/")[2]
        request = Request(
            method,
            path,
            query,
            headers,
            self._repeated,
            body,
            client_address(self._serving.trusted, self._peer, headers) if self._proxied else self._peer,
            secure=self._secure,
        )
        request.id = self._serving.next_id()
        request.proxied = self._proxied
        request.certificate = self.certificate
        return Exchange(
            request,
            body,
            time.monotonic(),
            keep_alive=parser.should_keep_alive() and method != "CONNECT",
            old=old,
            expects=b"expect" in headers and not old and headers[b"expect"].lower() == b"100-continue",
        )

    def _body(self) -> RequestBody:
        headers = self._headers
        if b"transfer-encoding" in headers:
            return RequestBody(self._source, None)
        length = int(headers[b"content-length"]) if b"content-length" in headers else 0
        return RequestBody(self._source, length) if length else EMPTY


class _InBody:
    """The callbacks of a parser that begins in the middle of a request: its first headers were heard before."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._begun = False
        self.on_body = incoming.on_body
        self.on_message_complete = incoming.on_message_complete

    def on_message_begin(self) -> None:
        if self._begun:
            self._incoming.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self._begun:
            self._incoming.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._begun:
            self._incoming.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._begun:
            self._incoming.on_headers_complete()
        self._begun = True


def _complaint(data: memoryview, error: Exception) -> str:
    if data[0] == _TLS_HELLO:
        return "this port speaks plain HTTP, and the client speaks TLS: use http:// or configure a certificate"
    return f"malformed HTTP: {error}"
