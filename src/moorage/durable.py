"""What must survive a crash: atomic durable files, the lock of a folder, and where a folder really lies.

"Durable" means here what POSIX promises and no more: after fsync(2) of a file its bytes are on the disk, and after
fsync(2) of a directory so are the names in it. A file that is only written, or only renamed, may be empty or absent
after a crash.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from moorage.errors import RefusedForNow, StartRefused

# How long what is left of a killed server may take to end, and how often it is looked at, in seconds (arbitrary).
_ENDING_SECONDS = 10
_ENDING_STEP = 0.02

# The types of file systems whose bytes live on another machine: locks and shared memory (SQLite's WAL) are not to be
# trusted there. Names as /proc/self/mountinfo writes them (proc(5)).
NETWORK_FILESYSTEMS = frozenset(
    {
        "9p",
        "afs",
        "ceph",
        "cifs",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb3",
        "smbfs",
    }
)

# linux/fs.h: begin to write dirty pages, wait for nothing.
_SYNC_FILE_RANGE_WRITE = ctypes.c_uint(2)


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace or create *path* so that a reader, or a crash, sees the old content or the new and nothing between.

    On return the content and the name are on the disk. *mode* holds exactly, whatever the umask. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    # 0600 until the bytes are in: a secret must never be readable by others, not for a moment.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(descriptor, data)
            os.fchmod(descriptor, mode)
            # Before the rename: a name that appears before its bytes is an empty file after a crash.
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    # The rename itself is only an entry of the directory.
    fsync_directory(path.parent)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of *data* at the descriptor's own position; write(2) may stop early. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def make_directory(path: Path) -> None:
    """Make directory *path* and its missing ancestors, so that they outlive a crash. Raises OSError."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        fsync_directory(folder.parent)


def fsync_directory(path: str | Path) -> None:
    """Make the names in directory *path* durable: what was created, renamed or removed in it. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def begin_write_back(descriptor: int, offset: int, length: int) -> None:
    """Ask the kernel to begin writing a range of a file to the disk, so that a later fsync has less to wait for.

    Promises nothing and fails in silence; what goes wrong with the bytes is for that fsync to report.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "sync_file_range"):
        libc.sync_file_range(descriptor, ctypes.c_int64(offset), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE)


def sync_volume(path: str | Path) -> None:
    """Make everything written so far to the file system that holds *path* durable, in one syncfs(2).

    For batches of many small files this is one flush where fsync would be three for each. Where the C library has no
    syncfs, sync(2) does the same for all file systems. Raises OSError (Linux 5.8 on reports what could not be written).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


class FolderLock:
    """The right to serve one data folder, held by one process tree.

    It is an flock(2) on the file *path*, which belongs to the open file and not to the process: children forked while
    it is held share it, and it ends when the last of them is gone, however they die. So a second tree cannot start
    beside orphaned workers. The file holds the holder's process id, for messages only, and is never removed: removing
    it would let two processes lock two files of one name.

    Whoever was killed may still be in a flush: where the process that took the lock is gone, those that it left get a
    moment to end too.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises StartRefused, naming the process that holds it or why the file cannot be used."""
        self._descriptor = -1
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            self._take(path)
        except OSError as error:
            self.close()
            raise StartRefused(f"cannot use {path}: {error.strerror}") from error
        except BaseException:
            self.close()
            raise

    def _take(self, path: Path) -> None:
        deadline = time.monotonic() + _ENDING_SECONDS
        while not self._locked():
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            if not _has_ended(holder) or time.monotonic() > deadline:
                raise RefusedForNow(
                    f"another server (process {holder or 'unknown'}) already uses the data folder {path.parent}; "
                    "stop it first, or give this one a folder of its own"
                )
            time.sleep(_ENDING_STEP)
        # Only for messages: a full disk is no reason not to serve what is on it.
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Give the lock up in this process; harmless when done twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _has_ended(holder: str) -> bool:
    """Whether there is no such process any more; not where that cannot be told."""
    try:
        os.kill(int(holder), 0)
    except ProcessLookupError:
        return True
    except (ValueError, OverflowError, OSError):
        return False
    return False


def is_locked(path: Path) -> bool:
    """Whether a process tree holds the `FolderLock` on *path*. Raises OSError where that cannot be seen."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, and let go at once: several may look, and who starts in this very instant is told to try again.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def is_network_filesystem(path: Path) -> str | None:
    """The type of the network file system that holds *path* ("nfs4", "cifs", ...), or None for a local one.

    *path* need not exist: its nearest existing ancestor counts. None too where /proc is not to be read.
    """
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    kind = filesystem_type(Path(os.path.realpath(path)), mounts)
    return kind if kind in NETWORK_FILESYSTEMS else None


def filesystem_type(path: Path, mounts: str) -> str | None:
    """The type of the mount that holds the absolute *path*, by the text of a mountinfo file (proc(5)).

    The deepest mount point wins, and of several on one point the last, which hides the others. None if no line fits.
    """
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        fields, separator, rest = line.partition(" - ")
        parts = fields.split(" ")
        if not separator or len(parts) < 5:
            continue
        point = Path(_unescape(parts[4]))
        if path.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = (len(point.parts), rest.split(" ", 1)[0])
    return found[1] if found else None


def _unescape(field: str) -> str:
    # The kernel writes space, tab, newline and backslash as three octal digits.
    for written, meant in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(written, meant)
    return field
