"""Hashing a large upload in a thread while more of it arrives.

Hashing is two fifths of what an upload costs, receiving and writing the rest (measured on 512 MiB), so a client that
sends one large blob gets it done in two thirds of the time where a second processor is idle. It costs a copy of each
byte and a hand-over for each piece, a tenth of the processor time, which small uploads are spared.
"""

from __future__ import annotations

import os
import queue
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from hashlib import _Hash

# What one read brings at most; a hand-over costs a tenth of the hashing (measured).
PIECE_BYTES: Final = 256 * 1024
# One is being filled while the other is being hashed.
_PIECES: Final = 2
# How many uploads a process does this for (arbitrary): with more of them every processor is busy anyway.
_MOST: Final = 4


class _Work(NamedTuple):
    running: _Hash
    piece: memoryview
    owner: Overlap


class HashThread:
    """One thread that hashes for up to *most* uploads at once, by default none on a single processor."""

    def __init__(self, most: int | None = None) -> None:
        self._work: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._free = most if most is not None else _MOST if len(os.sched_getaffinity(0)) > 1 else 0
        self._started = False

    def take(self, running: _Hash) -> Overlap | None:
        """What *running* is to be fed through until `Overlap.settle`; None where it had better be fed at once."""
        if not self._free:
            return None
        if not self._started:
            threading.Thread(target=self._run, name="hash", daemon=True).start()
            self._started = True
        self._free -= 1
        return Overlap(self, running)

    def give_back(self) -> None:
        """An upload needs no pieces any more."""
        self._free += 1

    def submit(self, work: _Work) -> None:
        """Hash it, and tell its owner."""
        self._work.put(work)

    def _run(self) -> None:
        while True:
            running, piece, owner = self._work.get()
            running.update(piece)
            owner.hashed()
            del running, piece, owner


class Overlap:
    """Feeds one hash object in pieces; nobody else may touch that until `settle`."""

    def __init__(self, thread: HashThread, running: _Hash) -> None:
        self._thread = thread
        self._running = running
        self._pieces = [memoryview(bytearray(PIECE_BYTES)) for _ in range(_PIECES)]
        self._idle = threading.Semaphore(_PIECES - 1)
        self._filling = 0
        self._filled = 0

    def update(self, data: memoryview) -> None:
        """Take *data*, which is not kept; waits where the thread has not hashed the last piece but one yet."""
        while data:
            piece = self._pieces[self._filling]
            count = min(len(data), PIECE_BYTES - self._filled)
            piece[self._filled : self._filled + count] = data[:count]
            self._filled += count
            data = data[count:]
            if self._filled == PIECE_BYTES:
                self._thread.submit(_Work(self._running, piece, self))
                self._idle.acquire()
                self._filling = (self._filling + 1) % _PIECES
                self._filled = 0

    def hashed(self) -> None:
        """The thread has hashed a piece."""
        self._idle.release()

    def settle(self) -> None:
        """Wait until everything is hashed; after that the hash object is the caller's again."""
        for _ in range(_PIECES - 1):
            self._idle.acquire()
        self._running.update(self._pieces[self._filling][: self._filled])
        self._thread.give_back()
