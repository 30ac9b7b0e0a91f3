"""Folders of files that belong together: all of them are there, or none."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from moorage.durable import fsync_directory, write_file
from moorage.tls.store import CertificateStore

_UNFINISHED: Final = ".making."


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Be the only one who changes *folder*, among all processes; waits for who is at it. Raises OSError."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        own_like(folder / "lock", folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def add_folder(parent: Path, name: str, files: Mapping[str, tuple[bytes, int]]) -> Path:
    """Make *parent*/*name* with *files* (content and mode), durably and at once: a crash leaves all of it or nothing.

    Whoever calls holds `exclusive(parent)`; what a crash left unfinished is removed. Raises OSError.
    """
    for left in parent.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
    making = parent / f"{_UNFINISHED}{secrets.token_hex(8)}"
    making.mkdir(mode=0o700)
    for file, (content, mode) in files.items():
        write_file(making / file, content, mode)
        own_like(making / file, parent)
    own_like(making, parent)
    os.rename(making, parent / name)
    fsync_directory(parent)
    return parent / name


def own_folder(store: CertificateStore, kind: str) -> Path:
    """`CertificateStore.place`, closed to others, for one who may be root beside the server's user. Raises OSError."""
    folder = store.place(kind)
    os.chmod(folder, 0o700)
    own_like(store.folder, store.folder.parent)
    own_like(folder, store.folder)
    return folder


def own_like(path: Path, folder: Path) -> None:
    """Give what root has made in another user's *folder* to that user, whose server has to read it. Raises OSError."""
    if os.geteuid() == 0:
        owner, now = folder.stat(), path.lstat()
        if (owner.st_uid, owner.st_gid) != (now.st_uid, now.st_gid):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
