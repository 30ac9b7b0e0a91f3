"""The reading half of a connection: bytes in, exchanges out, over httptools' parser (RFC 9112).

A body of known length passes the parser by: its bytes go from the read buffer straight to whoever takes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import httptools

from moorage.message import Request
from moorage.server.body import RequestBody, Source
from moorage.server.exchange import Exchange
from moorage.server.serving import Serving

_TLS_HELLO = 0x16


class Incoming:
    """Parses one connection's requests and hands each to *begin* as soon as its headers are complete.

    After `feed`, *refusal* is a status and a sentence if what came is no acceptable HTTP; nothing may be fed then.
    *current* is the request whose body is still to come.
    """

    def __init__(
        self, serving: Serving, source: Source, begin: Callable[[Exchange], None], peer: str, *, secure: bool
    ) -> None:
        self._serving = serving
        self._limits = serving.limits
        self._source = source
        self._hand_over = begin
        self._peer = peer
        self._secure = secure
        self._parser = httptools.HttpRequestParser(self)
        self._raw_left = 0
        self.current: Exchange | None = None
        self.refusal: tuple[int, str] | None = None
        self.on_message_begin()

    def refuse(self, status: int, message: str) -> None:
        """Take no more; the first reason counts."""
        self.refusal = self.refusal or (status, message)

    def feed(self, data: memoryview) -> None:
        """Take what has been read; the view is not kept."""
        if self._raw_left:
            data = self._feed_raw(data)
        if data:
            self._parse(data)

    def _feed_raw(self, data: memoryview) -> memoryview:
        """Give a body's bytes on without parsing them; return what lies behind them."""
        take = min(len(data), self._raw_left)
        self._raw_left -= take
        if self.current is not None:
            self.current.body.feed(data[:take])
        if not self._raw_left:
            self.on_message_complete()
        return data[take:]

    def _parse(self, data: memoryview) -> None:
        if self._in_headers:
            self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Nothing is upgraded to: the request is answered as if the header were not there (RFC 9110, 7.8).
            self._parser = httptools.HttpRequestParser(self)
            self.feed(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self.refuse(400, _complaint(data, error))
        if self._in_headers and self._fed > self._limits.header_bytes:
            self.refuse(431, "the request's headers are too long")
        current = self.current
        if current is not None and self.refusal is None and current.body.remaining:
            self._raw_left = current.body.remaining
            self._parser = httptools.HttpRequestParser(self)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._repeated: set[bytes] = set()
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
        """One header field."""
        limits = self._limits
        self._header_count += 1
        self._header_bytes += len(name) + len(value)
        if self._header_count > limits.header_count or self._header_bytes > limits.header_bytes:
            self.refuse(431, "the request's headers are too many or too long")
            return
        key = name.lower()
        if key in self._headers:
            self._repeated.add(key)
        else:
            self._headers[key] = value

    def on_headers_complete(self) -> None:
        """The headers are here."""
        self._in_headers = False
        self._fed = 0
        if self.refusal is None:
            exchange = self._exchange()
            self.current = None if exchange.body.complete else exchange
            self._hand_over(exchange)

    def on_body(self, body: bytes) -> None:
        """A piece of a body that came with its headers, or of a chunked one."""
        if self.current is not None:
            self.current.body.feed(memoryview(body))

    def on_message_complete(self) -> None:
        """The body has ended."""
        if self.current is not None:
            ended, self.current = self.current, None
            ended.body.finish()

    def _exchange(self) -> Exchange:
        parser, headers = self._parser, self._headers
        chunked = b"transfer-encoding" in headers
        body = RequestBody(self._source, None if chunked else int(headers.get(b"content-length", b"0")))
        path, _, query = self._url.decode("latin-1").partition("?")
        if not path.startswith("/"):
            path = "/" + path.partition("://")[2].partition("/")[2]
        request = Request(
            parser.get_method().decode("latin-1"),
            path,
            query,
            headers,
            self._repeated,
            body,
            self._peer,
            secure=self._secure,
        )
        request.id = self._serving.next_id()
        return Exchange(
            request,
            body,
            keep_alive=parser.should_keep_alive(),
            old=parser.get_http_version() == "1.0",
            expects=headers.get(b"expect", b"").lower() == b"100-continue",
            started=time.monotonic(),
        )


def _complaint(data: memoryview, error: Exception) -> str:
    if data[0] == _TLS_HELLO:
        return "this port speaks plain HTTP, and the client speaks TLS: use http:// or configure a certificate"
    return f"malformed HTTP: {error}"
