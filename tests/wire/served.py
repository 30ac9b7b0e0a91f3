"""A running server with something in it, and what may be asked about its processes."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import Authority
from tests.content import Client, digest_of, encode, image, noise
from tests.raw_http import Answer, Line, message
from tests.servers import Moorage, group_members

USERS = {"alice": "wire-Alice-1", "bob": "wire-Bob-22"}
REPOSITORY = "wire/base"
SMALL = noise(3_000, seed=11)
LARGE = noise(8 << 20, seed=12)


@dataclass(frozen=True)
class Served:
    """A server that holds the image `wire/base:v1` with the layers SMALL and LARGE; *context* where it speaks TLS."""

    server: Moorage
    context: ssl.SSLContext | None
    alice: Client
    bob: Client
    manifest: bytes

    def line(self, *, receive_buffer: int | None = None, seconds: float = 20) -> Line:
        """A new connection."""
        return Line(self.server, self.context, receive_buffer=receive_buffer, seconds=seconds)

    def get(self, what: str, headers: dict[str, str] | None = None, user: Client | None = None) -> bytes:
        """A GET below the repository, as *user* or alice."""
        return message("GET", f"/v2/{REPOSITORY}/{what}", {**(user or self.alice).headers, **(headers or {})})

    def blob(self, data: bytes, headers: dict[str, str] | None = None) -> bytes:
        """A GET of a blob."""
        return self.get(f"blobs/{digest_of(data)}", headers)

    def ask(self, raw: bytes, method: str = "GET") -> Answer:
        """The first answer to *raw* on a new connection."""
        with self.line() as line:
            line.send(raw)
            return line.answer(method)


def trusting(authority: Authority) -> ssl.SSLContext:
    """A client's context that trusts *authority* alone."""
    return ssl.create_default_context(cafile=str(authority.path))


def fill(server: Moorage, context: ssl.SSLContext | None) -> Served:
    """Push the image."""
    alice, bob = (Client(server, name, word, context=context) for name, word in USERS.items())
    alice.push_image(REPOSITORY, "v1", SMALL, LARGE)
    return Served(server, context, alice, bob, encode(image(b"{}", SMALL, LARGE)))


def lines_of(server: Moorage) -> list[dict[str, object]]:
    """The log, line by line."""
    return [json.loads(line) for line in server.log.read_text("utf-8").splitlines()]


def check_log(server: Moorage) -> None:
    """Nothing in the log is a warning or worse, and no answer was 500 or more."""
    loud = [
        line
        for line in lines_of(server)
        if line["level"] not in {"info", "debug"} or (isinstance(status := line.get("status"), int) and status >= 500)
    ]
    assert not loud, loud[:3]


def descriptors(server: Moorage) -> int:
    """Open file descriptors of the whole process tree."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in group_members(server.pid))


def memory(server: Moorage) -> int:
    """The proportional set size of the whole process tree, in bytes."""
    total = 0
    for pid in group_members(server.pid):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total * 1024


def eventually(holds: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether *holds* becomes true within so long."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
