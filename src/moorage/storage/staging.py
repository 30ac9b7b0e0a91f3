"""Unfinished uploads as files: one file for each, locked while a request holds it."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Self

from moorage.durable import begin_write_back
from moorage.errors import BlobUploadUnknown, UploadBusy
from moorage.storage.blobs import UPLOAD_ID
from moorage.storage.faults import fault

_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


# How much may arrive before the disk is set to work on it. Measured on 512 MiB: the last fdatasync took 4 ms after
# steps of 4 or 8 MiB, 9 ms after 32 MiB, 150 to 200 ms after none, with the same time in all or less.
_WRITE_BACK_BYTES = 8 * 1024 * 1024


class WriteBack:
    """Lets the disk begin with an upload's bytes while more of them arrive; one thread, which starts with the first."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None

    def begin(self, path: str, offset: int, length: int) -> Future[None]:
        """Begin with a range of the file *path*."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "write-back")
        return self._thread.submit(_write_back, path, offset, length)


def _write_back(path: str, offset: int, length: int) -> None:
    # Opened anew: a duplicate of the upload's descriptor would hold its lock beyond the upload's close.
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            begin_write_back(descriptor, offset, length)
        finally:
            os.close(descriptor)


class FileStaging:
    """A `Staging` in a file. The lock is flock(2): it ends with its holder, however that dies."""

    def __init__(self, path: str, descriptor: int, size: int, write_back: WriteBack) -> None:
        """Made by `create` and `resume`; *descriptor* is open for both ways and locked."""
        self.path = path
        self._descriptor = descriptor
        self._size = size
        self._write_back = write_back
        self._begun = size
        self._beginning: Future[None] | None = None

    @classmethod
    def create(cls, folder: Path, upload_id: str, write_back: WriteBack) -> Self:
        """Begin an upload. Raises ValueError, UploadBusy, StorageFull, Unavailable."""
        if UPLOAD_ID.fullmatch(upload_id) is None:
            raise ValueError(f"not an upload id: {upload_id!r}")
        path = f"{folder}/{upload_id}"
        try:
            descriptor = os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            raise UploadBusy from None
        except OSError as error:
            raise fault(error) from error
        return cls._lock(path, descriptor, write_back)

    @classmethod
    def resume(cls, folder: Path, upload_id: str, write_back: WriteBack) -> Self:
        """Go on with an upload. Raises BlobUploadUnknown, UploadBusy, Unavailable."""
        if UPLOAD_ID.fullmatch(upload_id) is None:
            raise BlobUploadUnknown
        path = f"{folder}/{upload_id}"
        try:
            descriptor = os.open(path, _OPEN)
        except FileNotFoundError:
            raise BlobUploadUnknown from None
        except OSError as error:
            raise fault(error) from error
        return cls._lock(path, descriptor, write_back)

    @classmethod
    def _lock(cls, path: str, descriptor: int, write_back: WriteBack) -> Self:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.fstat(descriptor)
            # Between open and flock the last holder may have committed or discarded the upload, and then this is the
            # blob itself or a file without a name: only what still has the upload's name is the upload.
            if not os.path.samestat(held, os.stat(path, follow_symlinks=False)):
                raise BlobUploadUnknown
        except BlockingIOError:
            os.close(descriptor)
            raise UploadBusy from None
        except FileNotFoundError:
            os.close(descriptor)
            raise BlobUploadUnknown from None
        except OSError as error:
            os.close(descriptor)
            raise fault(error) from error
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor, held.st_size, write_back)

    @property
    def size(self) -> int:
        return self._size

    def write(self, data: bytes | memoryview) -> None:
        descriptor = self._open()
        rest = memoryview(data).cast("B")
        offset = self._size
        try:
            while rest:
                written = os.pwrite(descriptor, rest, offset)
                offset += written
                rest = rest[written:]
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(descriptor, self._size)
            self.measure()
            raise fault(error) from error
        self._size = offset
        if offset - self._begun >= _WRITE_BACK_BYTES and (self._beginning is None or self._beginning.done()):
            self._beginning = self._write_back.begin(self.path, self._begun, offset - self._begun)
            self._begun = offset

    def truncate(self, size: int) -> None:
        if not 0 <= size <= self._size:
            raise ValueError(f"cannot cut {self._size} staged bytes to {size}")
        try:
            os.ftruncate(self._open(), size)
        except OSError as error:
            raise fault(error) from error
        self._size = size
        self._begun = min(self._begun, size)

    def measure(self) -> None:
        """Learn *size* anew from the file, after something failed."""
        if self._descriptor >= 0:
            with suppress(OSError):
                self._size = os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._open(), length, offset)
        except OSError as error:
            raise fault(error) from error

    def duplicate(self) -> int:
        """A second descriptor of the same open file: it keeps the lock too, so a thread can finish what a task left."""
        try:
            return os.dup(self._open())
        except OSError as error:
            raise fault(error) from error

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        if self._descriptor < 0:
            return
        try:
            # Before the lock goes: afterwards the name might be somebody else's.
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise fault(error) from error
        finally:
            self.close()

    def _open(self) -> int:
        if self._descriptor < 0:
            raise ValueError("this upload is closed")
        return self._descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
