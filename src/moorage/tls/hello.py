"""Reading the first message of a TLS client, without any TLS: whom it asks for, and which protocols it offers.

OpenSSL tells Python's SNI callback the name but not the protocols (ALPN), and the challenge tls-alpn-01 is answered
only where both say so (RFC 8737).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LONGEST: Final = 16 * 1024
"""Bytes of a hello that are looked at: what one record may hold (RFC 8446, 5.1), many times what clients send."""

ACME_PROTOCOL: Final = b"acme-tls/1"
"""RFC 8737, 6.2."""

_BEGINNING: Final = b"\x16\x03"
"""A record of type handshake, of any version since SSL 3.0."""
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_ALPN: Final = 16
_MOST_IN_A_RECORD: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class Hello:
    """*server_name* is in lower case, "" where none is asked for; *protocols* are in the client's order."""

    server_name: str
    protocols: tuple[bytes, ...]

    @property
    def validates(self) -> bool:
        """Whether this is an ACME server's look at a challenge: it offers its protocol and no other (RFC 8737, 3)."""
        return self.protocols == (ACME_PROTOCOL,)


def read_hello(data: bytes) -> Hello | None:
    """The hello that *data* begins with; None while more of it is to come.

    Raises ValueError for what is no ClientHello, or one that contradicts itself (RFC 8446, 4.1.2 and 5.1). What a
    server that speaks TLS would refuse for other reasons passes.
    """
    message = _message(data)
    if message is None:
        return None
    fields = _Fields(message)
    fields.take(2 + 32)  # the version and the random
    fields.vector(1)  # the session
    fields.vector(2)  # the cipher suites
    fields.vector(1)  # the compression methods
    if not fields.left:
        return Hello("", ())
    return _extensions(_Fields(fields.vector(2)))


def _extensions(fields: _Fields) -> Hello:
    name = ""
    protocols: tuple[bytes, ...] = ()
    seen = set()
    while fields.left:
        kind = fields.number(2)
        value = _Fields(fields.vector(2))
        if kind in seen:
            raise ValueError("an extension comes twice")
        seen.add(kind)
        if kind == _SERVER_NAME:
            name = _server_name(value)
        elif kind == _ALPN:
            protocols = _protocols(value)
    return Hello(name, protocols)


def _message(data: bytes) -> bytes | None:
    """The body of the handshake message, put together from its records; None while it is not whole."""
    message = bytearray()
    position = 0
    while True:
        header = data[position : position + 5]
        if not _BEGINNING.startswith(header[:2]):
            raise ValueError("not a TLS handshake")
        if len(header) < 5:
            return None
        length = int.from_bytes(header[3:5])
        if not 0 < length <= _MOST_IN_A_RECORD:
            raise ValueError("a record of a handshake is empty or too long")
        position += 5
        message += data[position : position + length]
        position += length
        if message and message[0] != _CLIENT_HELLO:
            raise ValueError("the handshake does not begin with the client's hello")
        if len(message) >= 4 and len(message) >= (end := 4 + int.from_bytes(message[1:4])):
            return bytes(message[4:end])
        if position > len(data):
            return None


def _server_name(fields: _Fields) -> str:
    """RFC 6066, 3: a list with one name of type 0."""
    names = _Fields(fields.vector(2))
    fields.end()
    found = ""
    while names.left:
        kind = names.number(1)
        name = names.vector(2)
        if kind == 0 and not found:
            found = name.decode("ascii").lower()  # UnicodeDecodeError is a ValueError
    return found


def _protocols(fields: _Fields) -> tuple[bytes, ...]:
    """RFC 7301, 3.1: names of 1 to 255 bytes."""
    names = _Fields(fields.vector(2))
    fields.end()
    found = []
    while names.left:
        name = names.vector(1)
        if not name:
            raise ValueError("a protocol has no name")
        found.append(name)
    return tuple(found)


class _Fields:
    """Bytes that are taken from the front; ValueError where there are not so many."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise ValueError("a field is longer than what it stands in")
        self._position += count
        return self._data[self._position - count : self._position]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))

    def end(self) -> None:
        if self.left:
            raise ValueError("something stands behind the end of a field")
