"""Bulk transfers, each on a blocking connection."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from bench.drivers import Answer, Body, Load, Unexpected, parse, request, target_of
from bench.registries import Registry

_RECEIVE_BYTES = 1 << 20

Pieces = Sequence[memoryview]


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
    rest_of_it = Body(answer, head=head.startswith(b"HEAD "))
    over = rest_of_it.ends(rest)
    sink = bytearray(_RECEIVE_BYTES if rest_of_it.left > 0 else 65536) if not over else bytearray()
    while not over:
        # Never more than the answer's own: what follows on the connection belongs to the next one.
        most = min(rest_of_it.left, len(sink)) if rest_of_it.left > 0 else len(sink)
        taken = stream.recv_into(sink, most)
        if not taken:
            raise Unexpected("the registry closed the connection in mid-body")
        over = rest_of_it.ends(memoryview(sink)[:taken])
    return answer


def send_pieces(pieces: Pieces) -> Callable[[socket.socket], None]:
    """A body whose length was announced."""

    def send(stream: socket.socket) -> None:
        for piece in pieces:
            stream.sendall(piece)

    return send


def send_chunked(pieces: Pieces, chunk: int = 32 * 1024) -> Callable[[socket.socket], None]:
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


def push_with_put(stream: socket.socket, registry: Registry, repository: str, pieces: Pieces, digest: str) -> None:
    """POST, then everything in the PUT: containerd, BuildKit, regctl."""
    answer = exchange(stream, request(registry, "POST", f"/v2/{repository}/blobs/uploads/")).expect(202)
    target = target_of(answer.headers["location"], digest=digest)
    framing = f"Content-Length: {sum(map(len, pieces))}"
    exchange(stream, _head(registry, "PUT", target, framing), send_pieces(pieces)).expect(201)


def push_with_patch(stream: socket.socket, registry: Registry, repository: str, pieces: Pieces, digest: str) -> None:
    """POST, a PATCH of unknown length, PUT: Docker, Podman, crane."""
    answer = exchange(stream, request(registry, "POST", f"/v2/{repository}/blobs/uploads/")).expect(202)
    target = target_of(answer.headers["location"])
    head = _head(registry, "PATCH", target, "Transfer-Encoding: chunked")
    answer = exchange(stream, head, send_chunked(pieces)).expect(202)
    target = target_of(answer.headers["location"], digest=digest)
    exchange(stream, request(registry, "PUT", target)).expect(201)


def _head(registry: Registry, method: str, target: str, framing: str) -> bytes:
    """A request's head whose body is sent by itself."""
    plain = request(registry, "GET", target).replace(b"GET", method.encode(), 1)
    return plain[:-2] + f"Content-Type: application/octet-stream\r\n{framing}\r\n\r\n".encode()


def together(clients: int, work: Callable[[int], None]) -> Load:
    """Do *work* in so many threads at once, each given its place; raises what the first of them to fail raised."""
    with ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        for done in [pool.submit(work, place) for place in range(clients)]:
            done.result()
        return Load(clients, 0, time.perf_counter() - started)
