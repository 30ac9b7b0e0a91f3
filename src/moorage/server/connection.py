"""HTTP/1.1 on one connection: requests answered in order, and patience with whoever is slow.

Requests are answered one after another. A request is started as soon as its headers are parsed; those that are
pipelined behind it wait, and while they do, nothing more is read.

    IDLE -> HEADERS -> HANDLING -> SENDING -> IDLE ...     LINGERING: answered, closing, the client still sends
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

import orjson

from moorage.errors import ClientGone
from moorage.message import Face, Response
from moorage.server.body import EMPTY
from moorage.server.drive import Rest
from moorage.server.exchange import Exchange
from moorage.server.incoming import Incoming
from moorage.server.phase import HANDLING, HEADERS, IDLE, LINGERING, SENDING, Phase
from moorage.server.sending import ClosedTransport, Gone, Sender
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


class Connection(asyncio.BufferedProtocol):
    """One client's connection; *face* answers what it asks."""

    def __init__(self, serving: Serving, face: Face, sock: socket.socket, peer: str, *, secure: bool) -> None:
        self._serving = serving
        self._face = face
        self._socket = sock
        self._peer = peer
        self._secure = secure
        self._incoming = Incoming(serving, self, self._take, peer, secure=secure)
        self._phase = HEADERS
        self._since = serving.now
        self._current: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._task: asyncio.Task[None] | None = None
        self._answered = 0
        self._held = False
        self._closing = False
        self._ended = False
        self._parting = False
        self._lingered = 0
        self._seen: int | None = None
        self._moved = serving.now

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up."""
        self._transport: Any = transport
        self._sender = Sender(self._serving.loop, transport, self._socket, plain=not self._secure)
        if self._secure:
            self._incoming.certificate = transport.get_extra_info("peercert") or None
        self._serving.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self._serving.connections.discard(self)
        self._closing = True
        self._transport = ClosedTransport()
        self._sender.lose()
        for exchange in (self._current, self._incoming.current):
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
        """The client has half-closed: it may still wait for an answer. Under TLS the loop lets nothing more out."""
        if self._incoming.current is not None:
            self._incoming.current.body.lose("the client closed the connection in mid-body")
        self._ended = True
        if self._secure:
            self._closing = True
            self._sender.lose()
            self._waiting.clear()
            return False
        return self._phase is not LINGERING and (self._current is not None or bool(self._waiting))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next read goes."""
        return self._serving.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        serving, incoming, phase = self._serving, self._incoming, self._phase
        self._answered = 0
        if phase is LINGERING:
            self._linger(nbytes)
            return
        if self._closing:
            return
        if phase is IDLE:
            self._enter(HEADERS)
        elif phase is HANDLING and incoming.current is not None:
            self._since = serving.now
        incoming.feed(serving.buffer[:nbytes])
        if incoming.refusal is not None:
            self._refuse()
        elif incoming.partial and self._phase is IDLE:
            self._enter(HEADERS)

    # Answering.

    def _take(self, exchange: Exchange) -> None:
        """A request's headers are here: begin, or let it wait for the request before it."""
        if self._closing:
            exchange.body.abandon()
        elif self._current is not None or self._waiting or self._answered >= _TURN or self._sender.paused:
            self._waiting.append(exchange)
            self.hold()
            if self._current is None:
                self._serving.loop.call_soon(self._next)
        else:
            self._begin(exchange)

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        self._enter(HANDLING)
        coroutine = self._face(exchange.request)
        try:
            awaited = coroutine.send(None)
        except StopIteration as done:
            self._respond(exchange, done.value)
        except Exception as error:  # noqa: BLE001  (whatever a handler does, the connection answers)
            self._fail(exchange, error)
        else:
            self._task = self._serving.loop.create_task(self._finish(exchange, coroutine, awaited))

    async def _finish(self, exchange: Exchange, coroutine: Coroutine[Any, Any, Response], awaited: Any) -> None:
        """Go on with a handler that waits, in a task of its own."""
        try:
            response = await Rest(coroutine, awaited)
        except Exception as error:  # noqa: BLE001  (as above)
            self._fail(exchange, error)
        else:
            self._respond(exchange, response)

    def _fail(self, exchange: Exchange, error: Exception) -> None:
        if isinstance(error, ClientGone):
            self._respond(exchange, _plain(408, "UNSUPPORTED", str(error)), close=True)
            return
        _log.error("request %s failed", exchange.request.id, exc_info=error)
        self._respond(exchange, _plain(500, "UNKNOWN", "an internal error; the log has its details"), close=True)

    def _respond(self, exchange: Exchange, response: Response, *, close: bool = False) -> None:
        if self._transport.is_closing() or (self._ended and self._secure):
            response.close()
            self._done(exchange, response.status, 0)
            return
        if (
            (exchange.body is not EMPTY and self._leave_body(exchange))
            or close
            or not exchange.keep_alive
            or self._serving.draining
            or (self._ended and not self._waiting)
        ):
            self._closing = True
        head = self._head(exchange, response)
        head_only = exchange.request.method == "HEAD"
        if response.parts is None or head_only:
            body = b"" if head_only else response.body
            response.close()
            self._transport.write(head + body)
            self._done(exchange, response.status, len(body))
        else:
            self._enter(SENDING)
            self._task = self._serving.loop.create_task(self._send(exchange, response, head))

    def _leave_body(self, exchange: Exchange) -> bool:
        """Take no more of the request's body; whether the connection cannot go on after it."""
        exchange.body.abandon()
        remaining = exchange.body.remaining
        return remaining is None or remaining > _DRAIN_BYTES or (remaining > 0 and exchange.expects)

    async def _send(self, exchange: Exchange, response: Response, head: bytes) -> None:
        sent = self._sender.sent
        try:
            await self._sender.send(head, response.parts or ())
        except Gone as gone:
            _log.debug("request %s: %s", exchange.request.id, gone)
            self.abort()
        except Exception:  # noqa: BLE001  (as above)
            _log.exception("request %s: its answer broke off", exchange.request.id)
            self.abort()
        finally:
            response.close()
        self._done(exchange, response.status, max(0, self._sender.sent - sent - len(head)))

    def _head(self, exchange: Exchange, response: Response) -> bytes:
        if self._closing:
            ending = b"Connection: close\r\n\r\n"
        else:
            ending = b"Connection: keep-alive\r\n\r\n" if exchange.old else b"\r\n"
        return b"%b%b%bX-Request-Id: %b\r\n%b%b" % (
            STATUS_LINES[response.status],
            self._serving.date,
            response.head,
            exchange.request.id.encode("ascii"),
            response.framing,
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
        elif self._incoming.refusal is not None:
            self._refuse()
        elif self._ended or serving.draining:
            self._transport.close()
        else:
            # What is left of a body that was answered early has as long as headers have.
            between = self._incoming.current is None and not self._incoming.partial
            self._enter(IDLE if between else HEADERS)
            self._read_on()

    def _next(self) -> None:
        """Answer the request that waits longest."""
        if self._current is not None or not self._waiting or self._transport.is_closing():
            return
        if self._sender.paused:
            self._sender.when_resumed(self._next)
            return
        self._answered = 0
        self._begin(self._waiting.popleft())

    def _refuse(self) -> None:
        """Answer what is no HTTP, after the requests before it, and close."""
        if self._closing and self._current is None:
            return
        if self._current is not None or self._waiting or self._transport.is_closing():
            self.hold()
            return
        status, message = self._incoming.refusal or (400, "malformed HTTP")
        body = _body("UNSUPPORTED", message)
        self._closing = True
        self._transport.write(
            b"%b%bContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
            % (STATUS_LINES[status], self._serving.date, len(body), body)
        )
        self._serving.log.refusal(self._peer, status, message)
        self._close(still_sending=not self._secure)

    # Closing, waiting, pacing.

    def _close(self, *, still_sending: bool) -> None:
        """Close so that the client can read the answer: a reset would take it away from it."""
        self._waiting.clear()
        if self._transport.is_closing():
            return
        if not still_sending or self._ended:
            self._transport.close()
            return
        self._enter(LINGERING)
        self._read_on()
        if not self._secure:
            self._transport.write_eof()

    def _linger(self, nbytes: int) -> None:
        self._lingered += nbytes
        if self._lingered > _LINGER_BYTES:
            # A goodbye under TLS waits for the client's, and takes in what comes until then.
            self.abort()

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
        if self._sender.pending():
            self._check_writing(now)
            return
        if self._transport.is_closing():
            self._check_goodbye()
            return
        self._seen = None
        limits = self._serving.limits
        # The server's clock moves once a second: what happened since may have happened a second later.
        silent = now - self._since - 1
        match self._phase:
            case Phase.IDLE if silent > limits.keep_alive:
                self._transport.close()
            case Phase.HEADERS if self._current is None and silent > limits.header_timeout:
                self._give_up()
            case Phase.HANDLING if self._current is not None and self._current.body.waiting:
                if silent > limits.body_timeout:
                    self._current.body.lose("the client sent nothing of the body for too long")
            case Phase.LINGERING if silent > _LINGER_SECONDS:
                self._transport.close()

    def _give_up(self) -> None:
        """A request takes too long to come. A client that never began one expects no answer."""
        if self._incoming.partial or self._incoming.current is not None:
            self._incoming.refuse(408, "the request took too long to come")
            self._refuse()
        else:
            self._transport.close()

    def _check_goodbye(self) -> None:
        """TLS waits for the client's goodbye (close_notify); those that keep connections for later do not say it.

        Once the client has had everything for a second, that is the end. Not at once: a queue that the loop keeps
        below TLS cannot be seen, but it does not outlast an empty one in the kernel for so long.
        """
        if not self._sender.delivered():
            self._parting = False
        elif self._parting:
            self.abort()
        else:
            self._parting = True

    def _check_writing(self, now: float) -> None:
        """End a connection whose client takes nothing of what is sent."""
        seen = self._sender.progress()
        if seen != self._seen:
            self._seen, self._moved = seen, now
        elif now - self._moved > self._serving.limits.write_timeout:
            self.abort()

    def drain(self, *, patient: bool) -> None:
        """See `Served.drain`."""
        if self._current is not None or self._waiting or self._transport.is_closing():
            return
        if self._phase is IDLE:
            self._transport.close()
        elif self._phase is HEADERS and not patient:
            self._give_up()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()


def _body(code: str, message: str) -> bytes:
    """An error as the protocol writes it; clients take UNKNOWN for something that may go better the next time."""
    return orjson.dumps({"errors": [{"code": code, "message": message, "detail": None}]})


def _plain(status: int, code: str, message: str) -> Response:
    return Response(status, b"Content-Type: application/json\r\n", _body(code, message))
