"""Time that stands still until a test moves it."""

from __future__ import annotations

import time
from datetime import timedelta


class HandClock:
    """Implements `moorage.clock.Clock`; begins now, so that real clients accept what is made by it."""

    def __init__(self) -> None:
        self.time = time.time_ns() // 1000

    def now(self) -> int:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += int(seconds * 1_000_000)

    def go_on(self, **span: float) -> None:
        """Moves it by a `timedelta` of these parts."""
        self.time += timedelta(**span) // timedelta(microseconds=1)
