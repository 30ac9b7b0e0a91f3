"""What all connections of one worker share."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from moorage.observe.access import AccessLog
from moorage.server.forwarded import Network

# One read; uvloop's own buffer has the same size. Shared by all connections of a worker: a read is used up, or copied,
# before the next one begins, so an idle connection costs no buffer.
READ_BYTES = 256 * 1024

# How long a stopping server waits for a handshake, or for the rest of a request's headers.
_ARRIVAL_SECONDS = 1

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the wire: bytes, counts, and seconds.

    *header_timeout* runs from a request's first byte, and from the connection's beginning, until its headers are
    complete; *body_timeout* while the client sends nothing of a body that is waited for; *write_timeout* while it reads
    nothing of an answer; *keep_alive* between requests.
    """

    header_bytes: int = 32 * 1024
    header_count: int = 100
    target_bytes: int = 8 * 1024
    header_timeout: float = 20
    body_timeout: float = 60
    write_timeout: float = 60
    # Go's clients drop an idle connection after 90 s; a server that is quicker races them.
    keep_alive: float = 120


class Served(Protocol):
    """A connection, as its worker sees it."""

    def check(self, now: float) -> None:
        """Called once a second, *now* being the loop's time: end what has made no progress for too long."""
        ...

    def drain(self, *, patient: bool) -> None:
        """The server is stopping: close if nothing runs here; unless *patient*, also if half a request came."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...


class Serving:
    """One worker's limits, log and clock, and the connections it serves."""

    def __init__(self, limits: Limits, log: AccessLog, trusted: Sequence[Network] = ()) -> None:
        """*trusted* are the proxies whose word about the client's address is taken."""
        self.limits = limits
        self.log = log
        self.trusted = trusted
        self.loop = asyncio.get_running_loop()
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.connections: set[Served] = set()
        self.arriving: set[asyncio.Task[None]] = set()
        self.draining = False
        self.now = 0.0
        self.date = b""
        self._ids = 0
        self._prefix = os.urandom(5).hex()
        self._ticker: asyncio.TimerHandle | None = None
        self._tick()

    def next_id(self) -> str:
        """A request id that no other worker or run gives."""
        self._ids += 1
        return f"{self._prefix}{self._ids:08x}"

    def _tick(self) -> None:
        """Once a second: the Date header, and whoever has been silent too long."""
        self._ticker = self.loop.call_later(1, self._tick)
        self.now = self.loop.time()
        self.date = time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime()).encode("ascii")
        for connection in list(self.connections):
            connection.check(self.now)

    async def drain(self, seconds: float) -> None:
        """Let running requests end within *seconds*, then cut what is left."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain(patient=True)
        self.loop.call_later(_ARRIVAL_SECONDS, self._end_arrivals)
        deadline = self.loop.time() + seconds
        while (self.connections or self.arriving) and self.loop.time() < deadline:  # noqa: ASYNC110  (once in a life)
            await asyncio.sleep(0.02)
        self._end_arrivals()
        for connection in list(self.connections):
            connection.abort()
        if self._ticker is not None:
            self._ticker.cancel()
        self.log.flush()

    def _end_arrivals(self) -> None:
        """Wait no more for clients that have connected and say nothing, or not all."""
        for task in self.arriving:
            task.cancel()
        for connection in list(self.connections):
            connection.drain(patient=False)
