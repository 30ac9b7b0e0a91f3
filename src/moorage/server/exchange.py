"""One request and its answer on a connection."""

from __future__ import annotations

from moorage.message import Request
from moorage.server.body import RequestBody


class Exchange:
    """A request as the connection sees it.

    *keep_alive* is what the client allows, *old* whether it speaks HTTP/1.0, *expects* whether it waits for `100
    Continue`. *started* is `time.monotonic`, in seconds.
    """

    __slots__ = ("body", "expects", "keep_alive", "old", "request", "started")

    def __init__(
        self, request: Request, body: RequestBody, started: float, *, keep_alive: bool, old: bool, expects: bool
    ) -> None:
        self.request = request
        self.body = body
        self.keep_alive = keep_alive
        self.old = old
        self.expects = expects
        self.started = started
