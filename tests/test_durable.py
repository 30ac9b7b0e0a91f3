"""Durable files, the data folder's lock, and the mount table."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from moorage import durable
from moorage.durable import (
    FolderLock,
    filesystem_type,
    fsync_directory,
    is_network_filesystem,
    make_directory,
    sync_volume,
    write_file,
)
from moorage.errors import StartRefused


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o666])
@pytest.mark.parametrize("old", [None, b"old"])
def test_write_file(tmp_path: Path, mode: int, old: bytes | None) -> None:
    """A file is created or replaced with the bytes and the mode asked for, whatever the umask, and is alone there."""
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    umask = os.umask(0o077)

    try:
        write_file(path, b"new" * 100_000, mode)
    finally:
        os.umask(umask)

    assert path.read_bytes() == b"new" * 100_000
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert list(tmp_path.iterdir()) == [path]


def test_readers_keep_the_old_file(tmp_path: Path) -> None:
    """Who has the old content open reads it to its end: it is replaced, not overwritten."""
    path = tmp_path / "file"
    path.write_bytes(b"old")

    with path.open("rb") as reader:
        write_file(path, b"new")

        assert reader.read() == b"old"


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """When the file cannot be put in its place, what was there stays and no temporary file is left."""
    (tmp_path / "folder").mkdir()

    with pytest.raises(IsADirectoryError):
        write_file(tmp_path / "folder", b"new")

    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_make_directory(tmp_path: Path) -> None:
    """Missing ancestors are made too, and what is there is no error."""
    path = tmp_path / "a" / "b" / "c"

    make_directory(path)
    make_directory(path)

    assert path.is_dir()


def test_what_cannot_be_flushed(tmp_path: Path) -> None:
    """Flushing something that is not there, or no directory, is an error and not a silence."""
    (tmp_path / "file").write_bytes(b"")

    fsync_directory(tmp_path)
    sync_volume(tmp_path)

    with pytest.raises(NotADirectoryError):
        fsync_directory(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        sync_volume(tmp_path / "nothing")


HOLDER = """
import os, sys
from pathlib import Path
from moorage.durable import FolderLock
lock = FolderLock(Path(sys.argv[1]))
child = os.fork() if "fork" in sys.argv else None
if child != 0:
    print(child or os.getpid(), flush=True)
sys.stdin.read()
"""


def test_folder_lock(tmp_path: Path) -> None:
    """A second process is refused with the first one's id, and gets the lock when that one is killed."""
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=-1, stdout=-1) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()

        with pytest.raises(StartRefused, match=rf"process {holder.pid}\b") as refused:
            FolderLock(path)
        holder.kill()
        holder.wait()

    assert str(tmp_path) in str(refused.value)
    with FolderLock(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_folder_lock_that_cannot_be_made(tmp_path: Path) -> None:
    """A lock file that cannot be opened is a reason not to start, with its name in the sentence."""
    with pytest.raises(StartRefused, match="nowhere/lock: No such file"):
        FolderLock(tmp_path / "nowhere" / "lock")


@contextmanager
def orphan(path: Path) -> Iterator[int]:
    """A process that shares the lock of one that was killed."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, path, "fork"], stdin=-1, stdout=-1) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        holder.kill()
        holder.wait()
        try:
            yield child
        finally:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            # The child held the pipe's other end: it is gone when the pipe is.
            holder.stdout.read()


def test_folder_lock_in_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children forked while the lock is held keep it when their parent dies, until they are gone too."""
    monkeypatch.setattr(durable, "_ENDING_SECONDS", 0.1)
    path = tmp_path / "lock"
    with orphan(path), pytest.raises(StartRefused):
        FolderLock(path)

    FolderLock(path).close()


def test_folder_lock_of_a_server_that_is_ending(tmp_path: Path) -> None:
    """What a killed server has left gets a moment to end, as after a flush: whoever starts meanwhile waits."""
    path = tmp_path / "lock"
    with orphan(path) as child:
        ending = threading.Timer(0.5, os.kill, (child, signal.SIGKILL))
        ending.start()

        FolderLock(path).close()

        ending.join()


def test_folder_lock_given_up(tmp_path: Path) -> None:
    """A closed lock is free at once, even in the same process, and closing it twice does no harm."""
    first = FolderLock(tmp_path / "lock")
    with pytest.raises(StartRefused):
        FolderLock(tmp_path / "lock")

    first.close()
    first.close()

    FolderLock(tmp_path / "lock").close()


MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:21 / /proc rw - proc proc rw
30 22 0:40 /export /mnt/nas rw,relatime shared:7 - nfs4 server:/export rw,vers=4.2
31 30 8:1 / /mnt/nas/local rw - xfs /dev/sda1 rw
32 22 0:41 / /mnt/with\040space rw - cifs //server/share rw
33 22 0:42 / /mnt/twice rw - nfs old:/ rw
34 33 8:2 / /mnt/twice rw - ext4 /dev/sdb1 rw
35 22 0:43 / /mnt/home rw - fuse.sshfs user@host: rw
not a line of a mount table
""".lstrip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib/moorage", "ext4"),
        ("/mnt/nas", "nfs4"),
        ("/mnt/nas/data/deep", "nfs4"),
        ("/mnt/nasty", "ext4"),
        ("/mnt/nas/local/data", "xfs"),
        ("/mnt/with space/data", "cifs"),
        ("/mnt/twice/data", "ext4"),
        ("/mnt/home/data", "fuse.sshfs"),
    ],
)
def test_file_system_of_a_path(path: str, kind: str) -> None:
    """The deepest mount above a path decides, by whole components, and on one mount point the last."""
    assert filesystem_type(Path(path), MOUNTS) == kind


def test_empty_mount_table() -> None:
    """Without a mount table nothing is known."""
    assert filesystem_type(Path("/data"), "") is None


def test_local_folder(tmp_path: Path) -> None:
    """A temporary folder is local, and so is one in it that does not exist yet."""
    assert is_network_filesystem(tmp_path) is None
    assert is_network_filesystem(tmp_path / "not" / "yet") is None
