"""What puts load on a registry: wrk and ab for small requests, many scripted clients in one thread, bulk transfers."""

from __future__ import annotations

import re
import selectors
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.registries import Registry

_RECEIVE_BYTES = 1 << 20


class Unexpected(Exception):
    """A registry answered what a case does not expect."""


@dataclass(frozen=True)
class Load:
    """What a driver did: answered requests, those with a status that was not expected, seconds."""

    requests: int
    unexpected: int
    seconds: float


def wrk(
    registry: Registry,
    path: str,
    *,
    seconds: float,
    connections: int = 16,
    headers: Mapping[str, str] | None = None,
    good: bool = True,
) -> Load:
    """GET *path* from one thread over keep-alive connections; *good* says whether 2xx and 3xx are what is expected."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    for name, value in {**registry.headers, **(headers or {})}.items():
        command += ["-H", f"{name}: {value}"]
    text = subprocess.run([*command, registry.url + path], check=True, capture_output=True).stdout.decode()
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", text)
    if found is None:
        raise Unexpected(f"wrk said:\n{text}")
    requests, taken = int(found[1]), float(found[2]) * {"ms": 0.001, "s": 1, "m": 60}[found[3]]
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    bad = int(refused[1]) if refused else 0
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    broken = sum(map(int, errors.groups())) if errors else 0
    return Load(requests, (bad if good else requests - bad) + broken, taken)


def ab_head(registry: Registry, path: str, *, seconds: float, connections: int = 16) -> Load:
    """HEAD *path* with ab: wrk waits for the body that a HEAD's Content-Length announces."""
    command = ["ab", "-q", "-i", "-k", "-c", str(connections), "-t", str(max(1, round(seconds))), "-n", "10000000"]
    for name, value in registry.headers.items():
        command += ["-H", f"{name}: {value}"]
    text = subprocess.run([*command, registry.url + path], check=True, capture_output=True).stdout.decode()

    def number(label: str) -> float:
        found = re.search(rf"^{label}:\s+([\d.]+)", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    bad = int(number("Failed requests") + number("Non-2xx responses"))
    return Load(int(number("Complete requests")), bad, number("Time taken for tests"))


# Scripted clients.

Headers = dict[str, str]


@dataclass(frozen=True)
class Answer:
    """A response, its body read away unless a script asks for more."""

    status: int
    headers: Headers

    def expect(self, *statuses: int) -> Answer:
        """Itself. Raises Unexpected for any other status."""
        if self.status not in statuses:
            raise Unexpected(f"status {self.status} instead of {statuses}")
        return self


Script = Generator[bytes, Answer, None]


@dataclass
class _Client:
    stream: socket.socket
    script: Script
    buffer: bytes = b""
    skip: int = 0
    answer: Answer | None = None


def request(registry: Registry, method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request's bytes; underscores in header names stand for hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{n}: {v}" for n, v in registry.headers.items())]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body or method in {"POST", "PUT", "PATCH"}:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def run_scripts(registry: Registry, scripts: Iterable[Script]) -> float:
    """Run every script on a connection of its own (plain HTTP), all at once; returns the seconds until the last ended.

    A script yields a request's bytes and is sent its answer.
    """
    selector = selectors.DefaultSelector()
    running = 0
    started = time.perf_counter()
    for script in scripts:
        client = _Client(registry.connect(), script)
        client.stream.setblocking(False)
        selector.register(client.stream, selectors.EVENT_READ, client)
        running += _advance(client, None)
    try:
        while running:
            ready = selector.select(120)
            if not ready:
                raise Unexpected("no answer within two minutes")
            for key, _ in ready:
                running -= not _receive(key.data)
    finally:
        for key in list(selector.get_map().values()):
            key.data.stream.close()
        selector.close()
    return time.perf_counter() - started


def _advance(client: _Client, answer: Answer | None) -> bool:
    """Send the script's next request; False at its end."""
    try:
        data = next(client.script) if answer is None else client.script.send(answer)
    except StopIteration:
        return False
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[client.stream.send(rest) :]
        except BlockingIOError:
            # Requests are small against the socket's buffer: this is rare, and short.
            client.stream.setblocking(True)
            client.stream.sendall(rest)
            client.stream.setblocking(False)
            break
    return True


def _receive(client: _Client) -> bool:
    """Take what has come; False once the script has ended."""
    try:
        data = client.stream.recv(262144)
    except BlockingIOError:
        return True
    if not data:
        raise Unexpected("the registry closed the connection")
    if client.answer is None:
        client.buffer += data
        head, separator, rest = client.buffer.partition(b"\r\n\r\n")
        if not separator:
            return True
        client.answer = _parse(head)
        client.skip = _length(client.answer) - len(rest)
        client.buffer = b""
    else:
        client.skip -= len(data)
    if client.skip > 0:
        return True
    answer, client.answer = client.answer, None
    return _advance(client, answer)


def _parse(head: bytes) -> Answer:
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(status.split(" ", 2)[1]), headers)


def _length(answer: Answer) -> int:
    if answer.status in {204, 304}:
        return 0
    if "content-length" not in answer.headers:
        raise Unexpected(f"an answer of status {answer.status} without a Content-Length")
    return int(answer.headers["content-length"])


def target_of(location: str, **query: str) -> str:
    """The request target of a Location, absolute or not, with more parameters."""
    parts = urlsplit(location)
    more = "&".join(f"{name}={value}" for name, value in query.items())
    return parts.path + "?" + "&".join(filter(None, [parts.query, more]))


# Bulk transfers, each on a blocking connection.


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
    answer = _parse(first)
    left = (0 if head.startswith(b"HEAD ") else _length(answer)) - len(rest)
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
