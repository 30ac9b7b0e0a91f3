"""One blob's file, open for reading."""

from __future__ import annotations

import errno
import os
import stat
from typing import Self

from moorage.errors import BlobUnknown
from moorage.storage.faults import fault


class FileContent:
    """A `Content` in a file."""

    def __init__(self, descriptor: int, size: int) -> None:
        """Made by `open`."""
        self._descriptor = descriptor
        self._size = size

    @classmethod
    def open(cls, path: str) -> Self:
        """Open a plain file. Raises BlobUnknown when there is none, Unavailable."""
        try:
            # Non-blocking, so that a named pipe in a blob's place does not hang us before fstat shows it.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            raise BlobUnknown from None
        except OSError as error:
            # What O_NOFOLLOW says of a symbolic link.
            if error.errno == errno.ELOOP:
                raise BlobUnknown from None
            raise fault(error) from error
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise BlobUnknown
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, found.st_size)

    @property
    def size(self) -> int:
        return self._size

    def fileno(self) -> int | None:
        return self._opened()

    def read(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._opened(), length, offset)
        except OSError as error:
            raise fault(error) from error

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _opened(self) -> int:
        if self._descriptor < 0:
            raise ValueError("this blob is closed")
        return self._descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
