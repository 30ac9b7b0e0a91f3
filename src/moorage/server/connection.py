"""HTTP/1.1 on one connection (RFC 9112), over httptools' parser.

Requests are answered one after another. A request is started as soon as its headers are parsed; those that are
pipelined behind it wait, and while they do, nothing more is read. A body of known length passes the parser by: its
bytes go from the read buffer straight to whoever takes them.

    IDLE -> HEADERS -> HANDLING -> SENDING -> IDLE ...     LINGERING: answered, closing, the client still sends
"""

from __future__ import annotations

import asyncio
import enum
import logging
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools
import orjson

from moorage.errors import ClientGone
from moorage.message import Request, Response
from moorage.server.body import RequestBody
from moorage.server.drive import Rest
from moorage.server.exchange import Exchange
from moorage.server.sending import Gone, Sender
from moorage.server.serving import STATUS_LINES, Serving

if TYPE_CHECKING:
    from collections.abc import Coroutine

_log = logging.getLogger("moorage.server")

# Answers given within one read before other connections get their turn (arbitrary; 16 take well below a millisecond).
_TURN = 16
# An answer that comes before its body keeps the connection if no more than this is still to come; else it is closed,
# since nobody should be made to take in what was refused.
_DRAIN_BYTES = 64 * 1024
# How much of a refused body is read away so that the client can see the answer, and for how many seconds.
_LINGER_BYTES = 1024 * 1024
_LINGER_SECONDS = 5
_TLS_HELLO = 0x16


class Phase(enum.IntEnum):
    """Where a connection stands; each has its own patience."""

    IDLE = 0
    HEADERS = 1
    HANDLING = 2
    SENDING = 3
    LINGERING = 4


class Connection(asyncio.BufferedProtocol):
    """One client's connection."""

    def __init__(self, serving: Serving, sock: socket.socket, peer: str, *, secure: bool) -> None:
        self._serving = serving
        self._socket = sock
        self._peer = peer
        self._secure = secure
        self._parser = httptools.HttpRequestParser(self)
        self._phase = Phase.HEADERS
        self._since = serving.now
        self._current: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._incoming: Exchange | None = None
        self._answered = 0
        self._held = False
        self._closing = False
        self._refusal: tuple[int, str] | None = None
        self._raw_left = 0
        self._lingered = 0
        self._seen = -1
        self._fresh()

    def _fresh(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._repeated: set[bytes] = set()
        self._header_count = 0
        self._header_total = 0
        self._header_bytes = 0
        self._in_headers = True

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up."""
        self._transport: Any = transport
        self._sender = Sender(self._serving.loop, transport, self._socket, plain=not self._secure)
        self._serving.connections.add(self)
        if self._serving.draining:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self._serving.connections.discard(self)
        self._closing = True
        self._sender.lose()
        for exchange in (self._current, self._incoming):
            if exchange is not None:
                exchange.body.lose("the client closed the connection")
        self._waiting.clear()

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._sender.pause()

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self._sender.resume()

    def eof_received(self) -> bool:
        """The client has half-closed: it may still wait for an answer."""
        if self._incoming is not None:
            self._incoming.body.lose("the client closed the connection in mid-body")
        self._closing = True
        return self._current is not None and not self._secure

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next read goes."""
        return self._serving.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        data = self._serving.buffer[:nbytes]
        self._answered = 0
        if self._phase == Phase.LINGERING:
            self._linger(nbytes)
            return
        if self._phase == Phase.IDLE:
            self._enter(Phase.HEADERS)
        if self._raw_left:
            data = self._feed_raw(data)
        if data:
            self._parse(data)

    def _feed_raw(self, data: memoryview) -> memoryview:
        """Give a body's bytes on without parsing them; return what lies behind them."""
        take = min(len(data), self._raw_left)
        self._raw_left -= take
        self._since = self._serving.now
        if self._incoming is not None:
            self._incoming.body.feed(data[:take])
        if not self._raw_left:
            self.on_message_complete()
        return data[take:]

    def _parse(self, data: memoryview) -> None:
        if self._closing:
            return
        if self._in_headers:
            self._header_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Nothing is upgraded to: the request is answered as if the header were not there (RFC 9110, 7.8).
            self._parser = httptools.HttpRequestParser(self)
            self._parse(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._refusal = self._refusal or (400, self._parse_complaint(data, error))
        if self._in_headers and self._header_bytes > self._serving.limits.header_bytes:
            self._refusal = self._refusal or (431, "the request's headers are too long")
        if self._refusal is not None:
            self._refuse()
        else:
            self._pass_parser_by()

    @staticmethod
    def _parse_complaint(data: memoryview, error: Exception) -> str:
        if data[0] == _TLS_HELLO:
            return "this port speaks plain HTTP, and the client speaks TLS: use http:// or configure a certificate"
        return f"malformed HTTP: {error}"

    def _pass_parser_by(self) -> None:
        """Let the rest of a body whose length is known go around the parser."""
        incoming = self._incoming
        if incoming is not None and incoming.body.remaining:
            self._raw_left = incoming.body.remaining
            self._parser = httptools.HttpRequestParser(self)

    # The parser's side.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._fresh()

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._url += url
        if len(self._url) > self._serving.limits.target_bytes:
            self._refusal = self._refusal or (414, "the request target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field."""
        limits = self._serving.limits
        self._header_count += 1
        self._header_total += len(name) + len(value)
        if self._header_count > limits.header_count or self._header_total > limits.header_bytes:
            self._refusal = self._refusal or (431, "the request's headers are too many or too long")
            return
        key = name.lower()
        if key in self._headers:
            self._repeated.add(key)
        else:
            self._headers[key] = value

    def on_headers_complete(self) -> None:
        """The headers are here: begin, or wait for the request before this one."""
        self._in_headers = False
        self._header_bytes = 0
        if self._refusal is not None:
            return
        exchange = self._exchange()
        self._incoming = None if exchange.body.complete else exchange
        if self._current is not None or self._waiting or self._answered >= _TURN or self._sender.paused:
            self._waiting.append(exchange)
            self.hold()
            if self._current is None:
                self._serving.loop.call_soon(self._next)
        else:
            self._begin(exchange)

    def on_body(self, body: bytes) -> None:
        """A piece of a body that came with its headers, or of a chunked one."""
        self._since = self._serving.now
        if self._incoming is not None:
            self._incoming.body.feed(memoryview(body))

    def on_message_complete(self) -> None:
        """The body has ended."""
        if self._incoming is not None:
            incoming, self._incoming = self._incoming, None
            incoming.body.finish()

    def _exchange(self) -> Exchange:
        parser, headers = self._parser, self._headers
        if b"transfer-encoding" in headers:
            length = None
        else:
            length = int(headers.get(b"content-length", b"0"))
        body = RequestBody(self, length)
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

    # Answering.

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        self._enter(Phase.HANDLING)
        coroutine = self._serving.face(exchange.request)
        try:
            awaited = coroutine.send(None)
        except StopIteration as done:
            self._respond(exchange, done.value)
        except Exception as error:
            self._fail(exchange, error)
        else:
            self._serving.loop.create_task(self._finish(exchange, coroutine, awaited))

    async def _finish(self, exchange: Exchange, coroutine: Coroutine[Any, Any, Response], awaited: Any) -> None:
        """Go on with a handler that waits, in a task of its own."""
        try:
            response = await Rest(coroutine, awaited)
        except Exception as error:
            self._fail(exchange, error)
        else:
            self._respond(exchange, response)

    def _fail(self, exchange: Exchange, error: Exception) -> None:
        if isinstance(error, ClientGone):
            self._respond(exchange, _plain(408, str(error)), close=True)
            return
        _log.error("request %s failed", exchange.request.id, exc_info=error)
        self._respond(exchange, _plain(500, "an internal error; the log has its details"), close=True)

    def _respond(self, exchange: Exchange, response: Response, *, close: bool = False) -> None:
        if self._transport.is_closing():
            response.close()
            self._done(exchange, response.status, 0)
            return
        exchange.body.abandon()
        remaining = exchange.body.remaining
        if remaining is None or remaining > _DRAIN_BYTES or (remaining and exchange.expects):
            close = True
        close = close or self._closing or self._serving.draining or not exchange.keep_alive
        head = self._head(exchange, response, close=close)
        head_only = exchange.request.method == "HEAD"
        self._closing = self._closing or close
        if response.parts is None or head_only:
            body = b"" if head_only else response.body
            response.close()
            self._transport.write(head + body)
            self._done(exchange, response.status, len(body))
        else:
            self._enter(Phase.SENDING)
            self._serving.loop.create_task(self._send(exchange, response, head))

    async def _send(self, exchange: Exchange, response: Response, head: bytes) -> None:
        sent = self._sender.sent
        try:
            await self._sender.send(head, response.parts or ())
        except Gone as gone:
            _log.debug("request %s: %s", exchange.request.id, gone)
            self.abort()
        except Exception:
            _log.exception("request %s: its answer broke off", exchange.request.id)
            self.abort()
        finally:
            response.close()
        self._done(exchange, response.status, max(0, self._sender.sent - sent - len(head)))

    def _head(self, exchange: Exchange, response: Response, *, close: bool) -> bytes:
        status = response.status
        length = response.length if response.declared is None else response.declared
        ending = (
            b"Connection: close\r\n\r\n" if close else (b"Connection: keep-alive\r\n\r\n" if exchange.old else b"\r\n")
        )
        return b"%b%b%bX-Request-Id: %b\r\n%b%b" % (
            STATUS_LINES[status],
            self._serving.date,
            response.head,
            exchange.request.id.encode("ascii"),
            b"" if status in {204, 304} else b"Content-Length: %d\r\n" % length,
            ending,
        )

    def _done(self, exchange: Exchange, status: int, sent: int) -> None:
        """The answer is on its way: log it, and turn to the next request."""
        serving = self._serving
        serving.log.request(exchange.request, status, sent, exchange.body.received, exchange.started)
        self._current = None
        self._answered += 1
        if self._closing:
            self._close(still_sending=not exchange.body.complete)
        elif self._waiting:
            serving.loop.call_soon(self._next)
        else:
            # What is left of a body that was answered early has as long as headers have.
            self._enter(Phase.IDLE if self._incoming is None else Phase.HEADERS)
            self._read_on()

    def _next(self) -> None:
        """Answer the request that waits longest."""
        if self._current is not None or not self._waiting or self._transport.is_closing():
            return
        if self._sender.paused:
            self._sender.when_resumed(self._next)
            return
        self._answered = 0
        exchange = self._waiting.popleft()
        self._begin(exchange)
        if not self._waiting and self._refusal is not None and self._current is None:
            self._refuse()

    def _refuse(self) -> None:
        """Answer what is no HTTP, after the requests before it, and close."""
        if self._current is not None or self._waiting or self._transport.is_closing():
            self.hold()
            return
        status, message = self._refusal or (400, "malformed HTTP")
        body = _body(message)
        self._closing = True
        self._transport.write(
            b"%b%bContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
            % (STATUS_LINES[status], self._serving.date, len(body), body)
        )
        self._serving.log.refusal(self._peer, status, message)
        self._close(still_sending=True)

    # Closing, waiting, pacing.

    def _close(self, *, still_sending: bool) -> None:
        """Close so that the client can read the answer: a reset would take it away from it."""
        if self._transport.is_closing():
            return
        if not still_sending or self._secure:
            self._transport.close()
            return
        self._enter(Phase.LINGERING)
        self._read_on()
        self._transport.write_eof()

    def _linger(self, nbytes: int) -> None:
        self._lingered += nbytes
        if self._lingered > _LINGER_BYTES:
            self._transport.close()

    def hold(self) -> None:
        """Read no more for now."""
        if not self._held and not self._transport.is_closing():
            self._held = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if self._held and not self._transport.is_closing():
            self._held = False
            self._transport.resume_reading()

    def want(self) -> None:
        """A handler waits for its body."""
        self._since = self._serving.now
        if self._current is not None and self._current.expects and not self._current.body.received:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._read_on()

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._since = self._serving.now

    def check(self, now: float) -> None:
        """Once a second: end what has made no progress for too long."""
        limits = self._serving.limits
        silent = now - self._since
        match self._phase:
            case Phase.IDLE if silent > limits.keep_alive:
                self._transport.close()
            case Phase.HEADERS if silent > limits.header_timeout and self._current is None:
                self._refusal = (408, "the request's headers took too long")
                self._refuse()
            case Phase.HANDLING if self._current is not None and self._current.body.waiting:
                if silent > limits.body_timeout:
                    self._current.body.lose("the client sent nothing of the body for too long")
            case Phase.LINGERING if silent > _LINGER_SECONDS:
                self._transport.close()
            case _:
                self._check_writing(now)

    def _check_writing(self, now: float) -> None:
        """End a connection whose client reads nothing of what is sent."""
        seen = self._sender.progress()
        if seen != self._seen or not self._sender.pending():
            self._seen = seen
            if self._phase == Phase.SENDING:
                self._since = now
        elif now - self._since > self._serving.limits.write_timeout:
            self.abort()

    def drain(self) -> None:
        """The server is stopping: close if nothing runs here."""
        if self._current is None and not self._waiting:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()


def _body(message: str) -> bytes:
    return orjson.dumps({"errors": [{"code": "UNKNOWN", "message": message, "detail": None}]})


def _plain(status: int, message: str) -> Response:
    return Response(status, b"Content-Type: application/json\r\n", _body(message))
