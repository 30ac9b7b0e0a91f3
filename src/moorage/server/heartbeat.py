"""Signs of life of the workers, which their parent reads without asking.

A worker's event loop writes the time into memory that all processes of the tree share. A loop that hangs writes none.
"""

from __future__ import annotations

import asyncio
import mmap
import time
from collections.abc import Callable

_BEAT_SECONDS = 1
_BYTES = 8


class Heartbeats:
    """Places for *count* workers, made before they are forked; a time is `time.monotonic`'s, 0 before the first.

    A place has one writer at a time, and its eight bytes are written at once, so nothing is locked.
    """

    def __init__(self, count: int) -> None:
        self._times = memoryview(mmap.mmap(-1, _BYTES * count)).cast("d")

    def forget(self, place: int) -> None:
        """Whoever has written there is gone."""
        self._times[place] = 0.0

    def beat(self, place: int) -> None:
        """Write the time."""
        self._times[place] = time.monotonic()

    @property
    def oldest(self) -> float:
        """The time of whoever has written nothing for the longest time."""
        return min(self._times)


async def keep_beating(beat: Callable[[], None]) -> None:
    """Call *beat* again and again, for as long as the event loop turns."""
    while True:
        beat()
        await asyncio.sleep(_BEAT_SECONDS)
