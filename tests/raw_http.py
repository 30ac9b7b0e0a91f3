"""A raw HTTP/1.1 client for tests that must see, and may break, every byte: no retries, no redirects, no clean-up."""

from __future__ import annotations

import base64
import json
import select
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

SECONDS = 20.0
"""Patience with a server that should answer at once, on a machine that may be busy."""

_READ_BYTES = 256 * 1024

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class Server(Protocol):
    """Where to connect, as `tests.servers.Moorage` says it."""

    address: str
    port: int


class Ended(Exception):
    """The server closed or reset the connection where an answer was due; the argument is what came before that."""


@dataclass(frozen=True)
class Answer:
    """One response. *headers* have lower-case names, in order; *body* is decoded from chunks if it came in any."""

    version: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Every value of the header."""
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str:
        """The header's only value; AssertionError if it comes not once."""
        values = self.values(name)
        assert len(values) == 1, f"{name} comes {len(values)} times in {self}"
        return values[0]

    @property
    def closes(self) -> bool:
        """Whether the server says that it closes the connection."""
        return "close" in self.values("connection")

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        """The error codes in the body; AssertionError if it is not an error body."""
        assert self.header("content-type") == "application/json", self
        return [error["code"] for error in self.json()["errors"]]


class Line:
    """One connection; also a context manager."""

    def __init__(
        self,
        server: Server,
        context: ssl.SSLContext | None = None,
        *,
        receive_buffer: int | None = None,
        seconds: float = SECONDS,
    ) -> None:
        """Connect; over TLS with *context*. *receive_buffer* is the socket's, in bytes: small for a slow reader."""
        self.socket = socket.socket()
        self.socket.settimeout(seconds)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect((server.address, server.port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                self.socket = context.wrap_socket(self.socket, server_hostname=server.address)
        except BaseException:
            self.socket.close()
            raise
        self.received = bytearray()

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        self.socket.sendall(data)

    def send_and_receive(self, *pieces: bytes) -> None:
        """Send every piece and take in what comes meanwhile: neither side waits for the other. TimeoutError if both do.

        In one thread, since Python's TLS sockets are not for two.
        """
        before = self.socket.gettimeout()
        self.socket.setblocking(False)
        try:
            for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    rest = rest[self._send_some(rest) :]
                    self._receive_some()
        finally:
            self.socket.settimeout(before)

    def _send_some(self, data: memoryview) -> int:
        try:
            return self.socket.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            poll = select.poll()  # not select(2), which knows the first thousand descriptors only
            poll.register(self.socket, select.POLLIN | select.POLLOUT)
            if not poll.poll(SECONDS * 1000):
                raise TimeoutError("neither side goes on") from None
            return 0

    def _receive_some(self) -> None:
        try:
            self.received += self.socket.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass

    def send_until_refused(self, data: bytes, most: int) -> int:
        """Send *data* again and again, *most* bytes in all or until the server closes; how many were taken."""
        taken = 0
        try:
            while taken < most:
                taken += self.socket.send(data[taken % len(data) :])
        except (ConnectionError, TimeoutError, ssl.SSLError):
            pass
        return taken

    def answer(self, method: str = "GET") -> Answer:
        """The next response; 1xx too. Raises Ended."""
        head = self._until(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = status_line.split(" ", 2)
        headers = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
        return Answer(version, int(status), headers, self._body(method, int(status), dict(headers)))

    def _body(self, method: str, status: int, headers: Mapping[str, str]) -> bytes:
        if method == "HEAD" or status < 200 or status in {204, 304}:
            return b""
        if headers.get("transfer-encoding") == "chunked":
            return self._chunks()
        if "content-length" in headers:
            return self.take(int(headers["content-length"]))
        return self.rest()

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self.take(size)
            self.take(2)
        self._until(b"\r\n")
        return body

    def take(self, count: int) -> bytes:
        """Exactly *count* bytes. Raises Ended."""
        while len(self.received) < count:
            self._receive()
        taken = bytes(self.received[:count])
        del self.received[:count]
        return taken

    def rest(self) -> bytes:
        """Everything until the server closes or resets the connection; TimeoutError if it does neither."""
        try:
            while True:
                self._receive()
        except Ended:
            taken = bytes(self.received)
            self.received.clear()
            return taken

    def silent(self, seconds: float) -> bool:
        """Whether nothing comes for so long; False for a closed connection too."""
        if self.received:
            return False
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self._receive()
        except TimeoutError:
            return True
        except Ended:
            return False
        finally:
            self.socket.settimeout(before)
        return False

    def half_close(self) -> None:
        """Say that no more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leave without a goodbye (RST)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def _until(self, mark: bytes) -> bytes:
        while (at := self.received.find(mark)) < 0:
            self._receive()
        taken = bytes(self.received[:at])
        del self.received[: at + len(mark)]
        return taken

    def _receive(self) -> None:
        try:
            data = self.socket.recv(_READ_BYTES)
        except (ConnectionError, ssl.SSLError) as error:
            raise Ended(bytes(self.received)) from error
        if not data:
            raise Ended(bytes(self.received))
        self.received += data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()


def basic(user: str, password: str) -> str:
    """The value of an Authorization header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def head(method: str, target: str | bytes, headers: Headers = (), version: str = "HTTP/1.1") -> bytes:
    """A request's line and headers, with a Host unless *headers* has one; nothing is checked or escaped."""
    raw = target if isinstance(target, bytes) else target.encode("utf-8")
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    if version == "HTTP/1.1" and not any(name.lower() == "host" for name, _ in pairs):
        pairs.insert(0, ("Host", "registry.test"))
    lines = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in pairs)
    return b"%b %b %b\r\n%b\r\n" % (method.encode("ascii"), raw, version.encode("ascii"), lines)


def message(method: str, target: str | bytes, headers: Headers = (), body: bytes | None = None) -> bytes:
    """A whole request; a Content-Length is added for a *body*."""
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    if body is not None:
        pairs.append(("Content-Length", str(len(body))))
    return head(method, target, pairs) + (body or b"")


def chunked(body: bytes, size: int = 1000) -> bytes:
    """*body* in the chunked coding (RFC 9112, 7.1)."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def ask(
    server: Server,
    method: str,
    target: str | bytes,
    headers: Headers = (),
    body: bytes | None = None,
    *,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Send one request on a connection of its own and return its answer."""
    return ask_raw(server, message(method, target, headers, body), method, context=context)


def ask_raw(server: Server, raw: bytes, method: str = "GET", *, context: ssl.SSLContext | None = None) -> Answer:
    """Send *raw* on a connection of its own and return the first answer. Raises Ended."""
    with Line(server, context) as line:
        try:
            line.send(raw)
        except ConnectionError:
            pass  # refused early: the answer may be there all the same
        return line.answer(method)
