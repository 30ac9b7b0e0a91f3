"""Single requests whose answer is looked at: what a registry is checked with before it is measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urljoin

from bench.drivers import Unexpected
from bench.registries import Registry


@dataclass(frozen=True)
class Found:
    """A whole answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def expect(self, status: int, size: int | None = None) -> Found:
        """Itself. Raises Unexpected for another status, or a body of another length (of HEAD: an announced one)."""
        if self.status != status:
            raise Unexpected(f"status {self.status} instead of {status}: {self.body[:200]!r}")
        held = str(len(self.body)) if self.body else self.headers.get("content-length")
        if size is not None and held != str(size):
            raise Unexpected(f"a body of {held} bytes instead of {size}")
        return self


@contextmanager
def line_to(registry: Registry) -> Iterator[HTTPConnection]:
    """A connection that is kept alive."""
    connection = HTTPConnection("127.0.0.1", registry.port, timeout=300)
    connection.sock = registry.connect()
    connection.sock.settimeout(300)
    try:
        yield connection
    finally:
        connection.close()


def ask(
    line: HTTPConnection,
    registry: Registry,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str | None] | None = None,
) -> Found:
    """One request over *line*; *headers* are those that differ from the registry's own, None for one left out."""
    carried = {**registry.headers, **(headers or {})}
    try:
        line.request(method, path, headers={name: value for name, value in carried.items() if value is not None})
        answer = line.getresponse()
        body = answer.read()
    except HTTPException as error:
        raise Unexpected(f"{type(error).__name__} at {path}") from error
    return Found(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)


def look(
    registry: Registry,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str | None] | None = None,
) -> Found:
    """One request on a connection of its own."""
    with line_to(registry) as line:
        return ask(line, registry, path, method=method, headers=headers)


def pages(line: HTTPConnection, registry: Registry, path: str) -> Iterator[Any]:
    """The JSON documents of a list from its beginning to its end, by way of `Link` (RFC 8288)."""
    following: str | None = path
    while following is not None:
        found = ask(line, registry, following).expect(200)
        yield json.loads(found.body)
        link = found.headers.get("link", "")
        target = link.partition("<")[2].partition(">")[0]
        following = urljoin(following, target) if target and "next" in link else None
