"""One log line for what all processes of a tree notice at the same time."""

from __future__ import annotations

import logging
import mmap
import os
import struct
import time
from hashlib import blake2b

# Processes that watch the same file look twice a second; a change back and forth takes a person longer (arbitrary).
_SECONDS = 5
_SLOTS = 256
_SLOT = struct.Struct("=QQQ")


class Repeats(logging.Filter):
    """Drops a message that another process said within the last five seconds.

    It works among processes that were forked after it was made. Two that speak in the same microsecond may both be
    heard, and of two messages that share a slot the earlier is forgotten: what is lost is the filter's effect, never a
    message.
    """

    def __init__(self) -> None:
        super().__init__()
        self._slots = mmap.mmap(-1, _SLOTS * _SLOT.size)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether nobody else has just said the same."""
        text = f"{record.levelno} {record.name} {record.getMessage()}".encode("utf-8", "backslashreplace")
        digest = int.from_bytes(blake2b(text, digest_size=8).digest())
        offset = digest % _SLOTS * _SLOT.size
        now = int(time.monotonic())
        said, speaker, when = _SLOT.unpack_from(self._slots, offset)
        if said == digest and speaker != os.getpid() and now - when < _SECONDS:
            return False
        _SLOT.pack_into(self._slots, offset, digest, os.getpid(), now)
        return True
