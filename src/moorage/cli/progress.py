"""How far a long command has come, on one line of the terminal."""

from __future__ import annotations

import sys
import threading
import time
from typing import Final, Self

from moorage.cli.tables import size

_REDRAW_SECONDS: Final = 0.1
_CLEAR: Final = "\r\x1b[K"


class ProgressLine:
    """Draws on standard error if that is a terminal, else nothing; also a context manager, which takes it away."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._lock = threading.Lock()
        self._drawn = 0.0
        self._begin("", 0, size=False)

    def step(self, name: str, total: int, *, size: bool = False) -> None:
        """A new part of the work begins, of *total* things, or bytes where *size*."""
        with self._lock:
            self._begin(name, total, size=size)
            self._draw(time.monotonic())

    def advance(self, done: int = 1) -> None:
        """So much more of it is done; from any thread."""
        with self._lock:
            self._done += done
            now = time.monotonic()
            if now - self._drawn >= _REDRAW_SECONDS:
                self._draw(now)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._shown:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()

    def _begin(self, name: str, total: int, *, size: bool) -> None:
        self._name, self._total, self._size = name, total, size
        self._done, self._started = 0, time.monotonic()

    def _draw(self, now: float) -> None:
        self._drawn = now
        if self._shown and self._total:
            sys.stderr.write(_CLEAR + self._line(now))
            sys.stderr.flush()

    def _line(self, now: float) -> str:
        share = min(100, 100 * self._done // self._total)
        if not self._size:
            return f"{self._name} {share:3d}%  {self._done:,} of {self._total:,}"
        rate = int(self._done / max(now - self._started, 0.001))
        return f"{self._name} {share:3d}%  {size(self._done)} of {size(self._total)}, {size(rate)}/s"
