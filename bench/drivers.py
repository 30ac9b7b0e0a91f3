"""What all that puts load on a registry shares: requests, answers, and what was done."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.registries import Registry


class Unexpected(Exception):
    """A registry answered what a case does not expect."""


@dataclass(frozen=True)
class Load:
    """What a driver did: answered requests, those with a status that was not expected, seconds."""

    requests: int
    unexpected: int
    seconds: float


Headers = dict[str, str]


@dataclass(frozen=True)
class Answer:
    """A response, its body read away."""

    status: int
    headers: Headers

    def expect(self, *statuses: int, size: int | None = None) -> Answer:
        """Itself. Raises Unexpected for any other status, or a body of another length."""
        if self.status not in statuses:
            raise Unexpected(f"status {self.status} instead of {' or '.join(map(str, statuses))}")
        if size is not None and self.headers.get("content-length") != str(size):
            raise Unexpected(f"a body of {self.headers.get('content-length')} bytes instead of {size}")
        return self


def request(registry: Registry, method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request's bytes; underscores in header names stand for hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{n}: {v}" for n, v in registry.headers.items())]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body or method in {"POST", "PUT", "PATCH"}:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def parse(head: bytes) -> Answer:
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(status.split(" ", 2)[1]), headers)


class Body:
    """Tells when all of an answer's body has come; of a request for the *head* only there is none."""

    def __init__(self, answer: Answer, *, head: bool) -> None:
        self._tail: bytes | None = None
        self.left = 0
        if head or answer.status in {204, 304}:
            return
        if "content-length" in answer.headers:
            self.left = int(answer.headers["content-length"])
        elif answer.headers.get("transfer-encoding", "").lower() == "chunked":
            self._tail = b"\r\n"
        else:
            raise Unexpected(f"an answer of status {answer.status} whose length nobody can know")

    def ends(self, data: bytes | memoryview) -> bool:
        """Whether *data*, the next of it, is the last."""
        if self._tail is None:
            self.left -= len(data)
            return self.left <= 0
        # Answers in chunks are short ones, or JSON, which holds no such line; nobody sends trailers.
        self._tail = (self._tail + bytes(data[-7:]))[-7:]
        return self._tail == b"\r\n0\r\n\r\n"


def target_of(location: str, **query: str) -> str:
    """The request target of a Location, absolute or not, with more parameters."""
    parts = urlsplit(location)
    more = "&".join(f"{name}={value}" for name, value in query.items())
    return parts.path + "?" + "&".join(filter(None, [parts.query, more]))
