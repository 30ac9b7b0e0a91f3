"""HTTP/1.1 as the doctor needs it: one connection for each request, to an address of its choice, nothing followed."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import moorage
from moorage.doctor.client.names import Address

_MOST_BODY: Final = 4 * 1024 * 1024
_PIECE: Final = 64 * 1024
_EARLY_BYTES: Final = 16 * 1024
_EARLY_PIECES: Final = 32
"""Go's server reads 256 KiB of a body that its handler did not want (maxPostHandlerReadBytes); this is twice that."""

_TRICKLE_BYTES: Final = 256
_TRICKLE_SECONDS: Final = 0.05
_AGENT: Final = f"moorage-doctor/{moorage.__version__}"

Body = bytes | Iterable[bytes] | None
"""Bytes are announced by Content-Length; pieces go out in chunks as they come."""


class Silence(OSError):
    """The server closed the connection without an answer, or what it sent is not HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. *head* has the headers in their order, *seconds* is from the request's first byte to the last one of
    the response, *at* when its head came; *body* ends after 4 MiB."""

    status: int
    head: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    seconds: float
    at: datetime

    def __getitem__(self, name: str) -> str:
        """The first header of this name, or the empty string."""
        return next(iter(self.all(name)), "")

    def all(self, name: str) -> list[str]:
        """All headers of this name."""
        return [value for header, value in self.head if header.lower() == name.lower()]

    @property
    def by(self) -> str:
        """Who answered, as far as the headers say: ` (Server: nginx/1.22.1)`, or the empty string."""
        words = [f"{name}: {self[name][:60]}" for name in ("Server", "Via") if self[name]]
        return f" ({', '.join(words)})" if words else ""

    @property
    def is_html(self) -> bool:
        """Whether this is a page for people."""
        return "html" in self["Content-Type"].lower() or self.body[:200].lstrip().lower().startswith(
            (b"<!doc", b"<html")
        )

    @property
    def codes(self) -> list[str]:
        """The protocol's error codes in the body (distribution-spec, "Error Codes")."""
        return [str(entry.get("code", "")) for entry in self._errors()]

    @property
    def said(self) -> str:
        """The registry's own words for what went wrong, or the status."""
        words = [f"{entry.get('code', '')}: {entry.get('message', '')}" for entry in self._errors()]
        return f"{self.status} {'; '.join(words)[:200]}" if words else f"{self.status} {self.phrase}"

    @property
    def phrase(self) -> str:
        """The status in words."""
        return http.client.responses.get(self.status, "")

    def _errors(self) -> list[Mapping[str, object]]:
        try:
            value = json.loads(self.body)
        except ValueError:
            return []
        errors = value.get("errors") if isinstance(value, dict) else None
        return [one for one in errors if isinstance(one, dict)] if isinstance(errors, list) else []


@dataclass(frozen=True, slots=True)
class Line:
    """The way to a server: *host* is the name in TLS, *authority* that in the Host header."""

    host: str
    authority: str
    address: Address
    port: int
    context: ssl.SSLContext | None
    timeout: float

    def open(self, *, named: bool = True) -> socket.socket:
        """A connection, with TLS where there is a context; not *named*: without a server name. Raises OSError."""
        plain = socket.create_connection((self.address, self.port), self.timeout)
        if self.context is None:
            return plain
        try:
            return self.context.wrap_socket(plain, server_hostname=self.host if named else None)
        except BaseException:
            plain.close()
            raise

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Body = None, *, head: bool = False
    ) -> Answer:
        """Send a request and return the answer, also one that came before the whole body was sent; with *head* its
        body is not read.

        Raises OSError: Silence, TimeoutError, ssl.SSLError, ConnectionError.
        """
        connection = self._connection()
        began = time.monotonic()
        try:
            try:
                self._send(connection, method, path, headers or {}, body)
            except (BrokenPipeError, ConnectionResetError):
                pass  # It may have answered before it hung up.
            response = connection.getresponse()
            at = datetime.now(UTC)
            content = b"" if head else response.read(_MOST_BODY)
            return Answer(response.status, tuple(response.getheaders()), content, time.monotonic() - began, at)
        except http.client.RemoteDisconnected:
            raise Silence("the connection was closed without an answer") from None
        except http.client.HTTPException as error:
            raise Silence(f"the answer is not HTTP: {str(error) or type(error).__name__}"[:200]) from None
        finally:
            connection.close()

    def early(self, method: str, path: str, length: int, seconds: float) -> bytes:
        """The first bytes of what is answered to a request whose body of *length* bytes never comes to its end; none
        where nothing is answered within *seconds*. Raises OSError.

        So much is sent at once that servers written in Go do not wait for the rest before they refuse, and then it
        trickles: proxies written in Go pass an early answer on only when the next bytes come.
        """
        connection = self._connection()
        stream = connection.sock
        try:
            self._begin(connection, method, path, {"Content-Length": str(length)})
            for _ in range(_EARLY_PIECES):
                if said := _received(stream, 0.002):
                    return said
                connection.send(bytes(_EARLY_BYTES))
            began = time.monotonic()
            while time.monotonic() - began <= seconds:
                if said := _received(stream, _TRICKLE_SECONDS):
                    return said
                connection.send(bytes(_TRICKLE_BYTES))
            return b""
        except (BrokenPipeError, ConnectionResetError):
            return _received(stream, _TRICKLE_SECONDS) or b"closed"
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=self.timeout)
        connection.auto_open = 0
        connection.sock = self.open()
        return connection

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, headers: Mapping[str, str], body: Body
    ) -> None:
        if body is None:
            length = {"Content-Length": "0"} if method in {"POST", "PUT", "PATCH"} else {}
            self._begin(connection, method, path, {**headers, **length})
        elif isinstance(body, bytes):
            self._begin(connection, method, path, {**headers, "Content-Length": str(len(body))})
            for start in range(0, len(body), _PIECE):  # a timeout is for each piece, however slow the line
                connection.send(body[start : start + _PIECE])
        else:
            self._begin(connection, method, path, {**headers, "Transfer-Encoding": "chunked"})
            for piece in body:
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            connection.send(b"0\r\n\r\n")

    def _begin(
        self, connection: http.client.HTTPConnection, method: str, path: str, headers: Mapping[str, str]
    ) -> None:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": self.authority, "User-Agent": _AGENT, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()


def _received(stream: socket.socket, seconds: float) -> bytes:
    """What comes within *seconds*; TLS has records, such as session tickets, that hold nothing to read."""
    usual = stream.gettimeout()
    stream.settimeout(seconds)
    try:
        return stream.recv(64) or b"closed"
    except TimeoutError:
        return b""
    finally:
        stream.settimeout(usual)
