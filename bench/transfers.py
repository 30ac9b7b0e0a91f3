"""Bulk transfers, each on a blocking connection."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from bench.drivers import Answer, Unexpected, length, parse

_RECEIVE_BYTES = 1 << 20


def exchange(stream: socket.socket, head: bytes, body: Callable[[socket.socket], None] | None = None) -> Answer:
    """One request on *stream*; the answer's body is read away."""
    stream.sendall(head)
    if body is not None:
        body(stream)
    data = b""
    while b"\r\n\r\n" not in data:
        more = stream.recv(65536)
        if not more:
            raise Unexpected("the registry closed the connection")
        data += more
    first, _, rest = data.partition(b"\r\n\r\n")
    answer = parse(first)
    left = (0 if head.startswith(b"HEAD ") else length(answer)) - len(rest)
    sink = bytearray(_RECEIVE_BYTES) if left > 0 else bytearray()
    while left > 0:
        taken = stream.recv_into(sink, min(left, len(sink)))
        if not taken:
            raise Unexpected("the registry closed the connection in mid-body")
        left -= taken
    return answer


def send_pieces(pieces: Sequence[memoryview]) -> Callable[[socket.socket], None]:
    """A body whose length was announced."""

    def send(stream: socket.socket) -> None:
        for piece in pieces:
            stream.sendall(piece)

    return send


def send_chunked(pieces: Sequence[memoryview], chunk: int = 32 * 1024) -> Callable[[socket.socket], None]:
    """A body in chunks, of the size that Go's clients send."""

    def send(stream: socket.socket) -> None:
        for piece in pieces:
            for start in range(0, len(piece), chunk):
                part = piece[start : start + chunk]
                _send_chunk(stream, part)
        stream.sendall(b"0\r\n\r\n")

    return send


def _send_chunk(stream: socket.socket, part: memoryview) -> None:
    pieces: list[bytes | memoryview] = [b"%x\r\n" % len(part), part, b"\r\n"]
    sent = stream.sendmsg(pieces)
    if sent < sum(map(len, pieces)):
        stream.sendall(b"".join(pieces)[sent:])
