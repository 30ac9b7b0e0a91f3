"""One line per request, in JSON or as text, with nothing secret in it.

Lines are collected and written together: at full speed a write per request would cost as much as the answer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Protocol

import orjson

_LONGEST = 256
_FLUSH_LINES = 200


class Loggable(Protocol):
    """What a line says of a request."""

    id: str
    method: str
    path: str
    peer: str
    principal: str
    repository: str

    @property
    def headers(self) -> dict[bytes, bytes]:
        """For the user agent only."""
        ...


class AccessLog:
    """Writes to *descriptor*; *clock* gives seconds on the scale of the `started` that callers pass.

    Strings from clients are cut at 256 characters and escaped by JSON, so that no request writes a line of its own.
    """

    def __init__(self, descriptor: int, clock: Callable[[], float], *, text: bool, fields: dict[str, str]) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self._text = text
        self._fields = fields
        self._lines: list[bytes] = []

    def request(self, request: Loggable, status: int, sent: int, received: int, started: float) -> None:
        """Note an answered request; *sent* and *received* are bytes of body."""
        agent = request.headers.get(b"user-agent", b"")[:_LONGEST].decode("ascii", "replace")
        self._note(
            {
                "time": _now(),
                "level": "info",
                "event": "request",
                "id": request.id,
                "peer": request.peer,
                "principal": request.principal[:_LONGEST],
                "method": request.method,
                "path": request.path[:_LONGEST],
                "repository": request.repository,
                "status": status,
                "sent": sent,
                "received": received,
                "seconds": round(self._clock() - started, 6),
                "agent": agent,
            }
        )

    def refusal(self, peer: str, status: int, why: str) -> None:
        """Note bytes that were no request."""
        self._note(
            {
                "time": _now(),
                "level": "info",
                "event": "refused",
                "peer": peer,
                "status": status,
                "why": why[:_LONGEST],
            }
        )

    def _note(self, facts: dict[str, object]) -> None:
        facts.update(self._fields)
        if self._text:
            line = " ".join(f"{key}={orjson.dumps(value).decode()}" for key, value in facts.items()).encode() + b"\n"
        else:
            line = orjson.dumps(facts, option=orjson.OPT_APPEND_NEWLINE)
        self._lines.append(line)
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what is collected; a log that cannot be written does not stop the server."""
        lines, self._lines = self._lines, []
        if lines:
            try:
                os.write(self._descriptor, b"".join(lines))
            except OSError:
                return


class NoAccessLog(AccessLog):
    """Keeps silent."""

    def __init__(self) -> None:
        super().__init__(-1, time.monotonic, text=False, fields={})

    def request(self, request: Loggable, status: int, sent: int, received: int, started: float) -> None:
        """Nothing."""

    def refusal(self, peer: str, status: int, why: str) -> None:
        """Nothing."""


def _now() -> str:
    seconds = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1e6):06d}Z"
