"""The values that the server and a face exchange: a request in, a response out.

A face is an `async` function from one to the other. It knows no socket; the server knows no route. Header names are
lower-case bytes and values raw bytes, as the parser hands them over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class Body(Protocol):
    """A request's body, received at the pace of whoever takes it."""

    @property
    def length(self) -> int | None:
        """Bytes announced by Content-Length, 0 without a body, None when the body is chunked."""
        ...

    async def receive(self, sink: Callable[[memoryview], None]) -> int:
        """Give every byte to *sink*, in order, and return their number.

        *sink* runs inside the event loop's read callback: the view is valid only until it returns, and what it raises
        is raised here. Raises ClientGone when the peer closes or goes silent first. May be called once.
        """
        ...

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises TooLarge beyond *limit* bytes, ClientGone as `receive` does."""
        ...


class Sendable(Protocol):
    """Bytes that wait in a store to be sent."""

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    def fileno(self) -> int | None:
        """A descriptor that the kernel can send from, or None."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Up to *length* bytes from *offset*."""
        ...

    def close(self) -> None:
        """Let go of it; twice is once."""
        ...


@dataclass(slots=True, frozen=True)
class Part:
    """*length* bytes of *content* from *offset*; whoever sends the response closes the content."""

    content: Sendable
    offset: int
    length: int


class Request:
    """One request, its body not yet received.

    *path* is the raw path without the query, *query* what follows the question mark. *peer* is the client's address as
    text, *secure* whether the connection is TLS. *repeated* holds the names of headers that came more than once: the
    first value is in *headers*. *principal* and *repository* are for the log: the face fills them in. *proxied*: a
    trusted proxy handed it over, so that what only proxies write counts. *certificate* is what the client has shown and
    the TLS library has verified, as `ssl.SSLSocket.getpeercert` has it, or None.
    """

    __slots__ = (
        "body",
        "certificate",
        "headers",
        "id",
        "method",
        "path",
        "peer",
        "principal",
        "proxied",
        "query",
        "repeated",
        "repository",
        "secure",
    )

    def __init__(  # noqa: PLR0917  (made in one place, for every request)
        self,
        method: str,
        path: str,
        query: str,
        headers: dict[bytes, bytes],
        repeated: frozenset[bytes] | set[bytes],
        body: Body,
        peer: str,
        *,
        secure: bool,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.repeated = repeated
        self.body = body
        self.peer = peer
        self.secure = secure
        self.id = ""
        self.principal = ""
        self.proxied = False
        self.certificate: Mapping[str, Any] | None = None
        self.repository = ""

    def header(self, name: bytes) -> str | None:
        """The header's value as text, or None; bytes beyond ASCII become U+FFFD and match no grammar."""
        value = self.headers.get(name)
        return None if value is None else value.decode("ascii", "replace")


class Response:
    """*head* is the block of header lines, each ended by CRLF, without status line, Date and Connection.

    The body is *body*, or the *parts* one after another. A HEAD's response carries the headers of the GET; the server
    leaves the body away. *declared* is the Content-Length, in bytes, where it is not the body's.

    One without parts may be given as often as it fits, to different requests: nobody changes it.
    """

    __slots__ = ("_framing", "body", "declared", "head", "parts", "status")

    def __init__(
        self,
        status: int,
        head: bytes,
        body: bytes = b"",
        *,
        parts: tuple[bytes | Part, ...] | None = None,
        declared: int | None = None,
    ) -> None:
        self.status = status
        self.head = head
        self.body = body
        self.parts = parts
        self.declared = declared
        self._framing: bytes | None = None

    @property
    def framing(self) -> bytes:
        """The line that says how long the body is; none in answers that never have one (RFC 9110, 8.6)."""
        if self._framing is None:
            length = self.length if self.declared is None else self.declared
            self._framing = b"" if self.status in {204, 304} else b"Content-Length: %d\r\n" % length
        return self._framing

    @property
    def length(self) -> int:
        """Bytes of body."""
        if self.parts is None:
            return len(self.body)
        return sum(part.length if isinstance(part, Part) else len(part) for part in self.parts)

    def close(self) -> None:
        """Let go of what the parts hold."""
        if self.parts is not None:
            for part in self.parts:
                if isinstance(part, Part):
                    part.content.close()


Face = Callable[[Request], Coroutine[Any, Any, Response]]


def header_lines(*pairs: tuple[str, str]) -> bytes:
    """Header lines for `Response.head`.

    Raises ValueError for a name or value with a control character or a character beyond Latin-1: nothing that a client
    sent may end a line.
    """
    lines = []
    for name, value in pairs:
        if not (value.isascii() and value.isprintable()) or not name.isascii():
            raise ValueError(f"the header {name!r} cannot carry {value!r}")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("ascii")


async def suspended() -> None:
    """Return once this coroutine runs in a task.

    A handler starts without one, and some libraries (asyncpg, `asyncio.timeout`) need it.
    """
    if asyncio.current_task() is None:
        await asyncio.sleep(0)
