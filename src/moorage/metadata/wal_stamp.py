"""Telling in 100 ns that no process has committed to a SQLite database since one last looked.

In WAL mode the first 96 bytes of the `-shm` file are the header of the WAL index, twice. Every commit, by any process,
rewrites it after its frames are in the log and before any reader can see them; SQLite itself decides by these bytes
whether a reader's view is still the newest (sqlite.org/walformat.html, "The WAL-Index Header"). A read through SQLite
costs two more system calls for its locks and some microseconds for the B-trees, so a read whose answer is remembered
under the same header is not made at all.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

_HEADER_BYTES = 48

# Mapped for the life of the process, by device and inode: closing any descriptor of a file drops all POSIX locks that
# the process has on it (fcntl(2)), and SQLite has its own there.
_mapped: dict[tuple[int, int], mmap.mmap] = {}


class WalStamp:
    """The header of one database's WAL index.

    Made while a connection to the database is open, and good for as long as it is: the file is removed, and made anew,
    only when the last connection of all processes is closed.
    """

    def __init__(self, database: Path) -> None:
        """Raises OSError where there is no WAL index."""
        path = database.with_name(database.name + "-shm")
        found = path.stat()
        key = (found.st_dev, found.st_ino)
        if key not in _mapped:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            _mapped[key] = mmap.mmap(descriptor, 2 * _HEADER_BYTES, access=mmap.ACCESS_READ)
        self._map = _mapped[key]
        self._whole = b""

    def read(self) -> bytes | None:
        """What stays the same while nobody commits; None while somebody is about to have committed."""
        header = self._map[: 2 * _HEADER_BYTES]
        if header != self._whole:
            if header[:_HEADER_BYTES] != header[_HEADER_BYTES:]:
                return None
            self._whole = header
        return header
