"""Blobs in the classic layout of the distribution registry: `blobs/<algorithm>/<two hex digits>/<hex>/data`.

What one commit costs, and why nothing less will do:

1. fdatasync of the staged file. The bytes, before any name in the tree leads to them: whoever finds a blob finds it
   whole.
2. mkdir of `<hex>` and rename of the staged file to `data` in it, no fsync of their own.
3. fsync of `<hex>`: the entry `data` in it.
4. fsync of its parent: the entry `<hex>` in that. Also when the directory was there already, because another process
   may have made it a moment ago and not come so far yet.

The directories above are made and flushed once per process and then known to be durable, since nobody removes them.
On a journaling file system the threads of simultaneous commits share the journal's commits.

Rename and not link: a file that is a blob and a staged upload at once could be spoilt by whoever goes on with the
upload after a crash. The price is that an upload whose directories could not be flushed is gone.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from moorage.durable import fsync_directory, make_directory
from moorage.errors import StartRefused
from moorage.oci.digest import ALGORITHMS, Digest
from moorage.storage import layout
from moorage.storage.blobs import UPLOAD_ID, Content, Staging
from moorage.storage.content import FileContent
from moorage.storage.faults import fault
from moorage.storage.staging import FileStaging, WriteBack
from moorage.storage.threads import Threads

_SHARD = re.compile(r"[0-9a-f]{2}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)

# Measured: commits of 4 KiB blobs a second with 1, 4, 8 and 16 threads were 380, 2,280, 2,900 and 2,900.
_THREADS = 8

# Arbitrary but bounded: how often a commit makes its directory anew when a simultaneous delete takes it away.
_ATTEMPTS = 10


class FilesystemBlobStore:
    """A `BlobStore` in two folders of one file system: *root* holds blobs, *uploads* what is staged.

    May be made before a fork: it starts its threads with the first commit.
    """

    def __init__(self, root: Path, uploads: Path) -> None:
        """Make both folders where they are missing. Raises StartRefused when they cannot be used together."""
        self._root = root
        self._uploads = uploads
        self._durable: set[str] = set()
        self._threads = Threads(_THREADS, "blobs")
        self._write_back = WriteBack()
        try:
            make_directory(root)
            make_directory(uploads)
            _try_rename(uploads, root)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise StartRefused(f"{root} and {uploads} must lie on one file system") from error
            raise StartRefused(f"cannot use {error.filename or root}: {error.strerror}") from error

    def locate(self, digest: Digest) -> str:
        return layout.blob(digest)

    def stat(self, location: str) -> int | None:
        try:
            found = os.stat(self._path(location), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise fault(error) from error
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def open(self, location: str) -> Content:
        return FileContent.open(self._path(location))

    def stage(self, upload_id: str, *, new: bool) -> Staging:
        enter = FileStaging.create if new else FileStaging.resume
        return enter(self._uploads, upload_id, self._write_back)

    async def commit(self, staging: Staging, digest: Digest) -> str:
        if not isinstance(staging, FileStaging):
            raise TypeError("this upload was staged by another store")
        location = self.locate(digest)
        path = self._path(location)
        # A descriptor of its own: the caller may be cancelled and close the staging while the thread still works.
        descriptor = staging.duplicate()
        try:
            work = self._threads.submit(partial(self._commit, staging.path, descriptor, path))
        except BaseException:
            os.close(descriptor)
            raise
        try:
            await work
        except OSError as error:
            staging.measure()
            if not os.path.lexists(staging.path):
                staging.close()
            raise fault(error) from error
        staging.close()
        return location

    def _commit(self, staged: str, descriptor: int, path: str) -> None:
        try:
            try:
                os.fdatasync(descriptor)
            except OSError:
                # Linux reports a failed write-back once and then takes the pages for clean, so a second fsync would
                # succeed over bytes that never reached the disk. They must come from the client again. Twice made
                # sure, since a disk in this state may refuse either.
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
                with suppress(OSError):
                    os.unlink(staged)
                raise
            self._place(staged, path)
            fsync_directory(os.path.dirname(path))
            fsync_directory(os.path.dirname(os.path.dirname(path)))
        finally:
            os.close(descriptor)

    def _place(self, staged: str, path: str) -> None:
        folder = os.path.dirname(path)
        algorithm = os.path.dirname(os.path.dirname(folder))
        for _ in range(_ATTEMPTS):
            try:
                self._make_shards(algorithm)
                with suppress(FileExistsError):
                    os.mkdir(folder)
                os.rename(staged, path)
            except FileNotFoundError:
                # A simultaneous delete of the same blob took its folder, or somebody the shard behind our back.
                self._durable.discard(algorithm)
            else:
                return
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)

    def _make_shards(self, folder: str) -> None:
        """Make the directories `<two hex digits>` of *folder*, `blobs/<algorithm>`, durably; once per process.

        All at once, since one by one each would cost three more fsyncs in the middle of somebody's push.
        """
        if folder in self._durable:
            return
        os.makedirs(folder, exist_ok=True)
        for name in sorted({f"{number:02x}" for number in range(256)}.difference(os.listdir(folder))):
            with suppress(FileExistsError):
                os.mkdir(f"{folder}/{name}")
        # Up to the root, whoever made them: it may not have flushed them yet.
        fsync_directory(folder)
        above = folder
        while above != str(self._root):
            above = os.path.dirname(above)
            fsync_directory(above)
        self._durable.add(folder)

    async def delete(self, location: str) -> bool:
        path = self._path(location)
        try:
            return await self._threads.submit(partial(_delete, path))
        except OSError as error:
            raise fault(error) from error

    def list(self) -> Iterator[tuple[str, Digest, int]]:
        for algorithm in ALGORITHMS:
            for shard in _names(self._root / "blobs" / algorithm, _SHARD):
                for name in _names(self._root / "blobs" / algorithm / shard, _HEX):
                    digest = Digest(algorithm, name)
                    location = layout.blob(digest)
                    # Fits neither its algorithm nor its shard: not a blob, and not to be found by its digest.
                    valid = layout.LOCATION.fullmatch(location) and name.startswith(shard)
                    size = self.stat(location) if valid else None
                    if size is not None:
                        yield location, digest, size

    def staged(self) -> Iterator[tuple[str, int, float]]:
        for name in _names(self._uploads, UPLOAD_ID):
            try:
                found = os.stat(self._uploads / name, follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise fault(error) from error
            yield name, found.st_size, found.st_mtime

    def _path(self, location: str) -> str:
        # Locations come from the database and not from clients; the check is for the day when one does not.
        if layout.LOCATION.fullmatch(location) is None:
            raise ValueError(f"not a location of this store: {location!r}")
        return f"{self._root}/{location}"


def _delete(path: str) -> bool:
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    # The directory stays when a commit of the same blob is under way in it.
    with suppress(OSError):
        os.rmdir(os.path.dirname(path))
    return True


def _try_rename(uploads: Path, root: Path) -> None:
    """Do once what every commit does: st_dev says too little, one device may be mounted twice."""
    name = secrets.token_hex(16)
    source, target = f"{uploads}/{name}", f"{root}/{name}"
    os.close(os.open(source, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        os.rename(source, target)
    finally:
        for path in (source, target):
            with suppress(FileNotFoundError):
                os.unlink(path)


def _names(folder: Path, pattern: re.Pattern[str]) -> Iterator[str]:
    """The names in *folder* that match; none when it is missing. Raises Unavailable."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if pattern.fullmatch(entry.name):
                    yield entry.name
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise fault(error) from error
