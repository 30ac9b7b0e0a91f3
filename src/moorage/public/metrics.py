"""Figures for Prometheus, on an address of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from moorage.message import Request, Response, header_lines
from moorage.observe.metrics import CONTENT_TYPE, Sample, exposition

HEALTH = "/debug/health"
"""Where distribution's second listener tells its health; `{}` is what it says when nothing is wrong."""


class Metrics:
    """Answers *path* with what *samples* gives, and `/debug/health`; *path* None is the health alone."""

    def __init__(self, samples: Callable[[], Iterable[Sample]], path: str | None) -> None:
        self._samples = samples
        self._path = path

    async def __call__(self, request: Request) -> Response:
        """Answer *request*."""
        if request.path not in {self._path, HEALTH}:
            where = HEALTH if self._path is None else self._path
            return _text(404, f"not here: this address answers at {where}\n")
        if request.method not in {"GET", "HEAD"}:
            return _text(405, "this path can only be read\n", ("Allow", "GET, HEAD"))
        if request.path == HEALTH:
            return Response(200, header_lines(("Content-Type", "application/json")), b"{}")
        head = header_lines(("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-cache"))
        return Response(200, head, exposition(self._samples()))


def _text(status: int, sentence: str, *more: tuple[str, str]) -> Response:
    return Response(status, header_lines(("Content-Type", "text/plain; charset=utf-8"), *more), sentence.encode())
