"""Puts a file in its place and takes it away again, without harm to what others wrote there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from moorage.durable import fsync_directory, write_file
from moorage.errors import UserError
from moorage.trust.content import KEPT

_MOST_BYTES: Final = 1 << 20

What = Literal["written", "renewed", "unchanged", "replaced", "removed", "put back", "left"]
"""What became of a file. "replaced": another's is kept beside it; "left": another's is there and stays."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that a client reads: *is_ours* tells our own from another's by its content.

    *add*: what its owner has to add to another's file, which then stays; empty: it is kept under another name.
    """

    path: Path
    content: bytes
    is_ours: Callable[[bytes], bool]
    add: str = ""


def check(wanted: Wanted) -> None:
    """Whether `place` can do its work, before anything is changed.

    Raises UserError for a file that is in the way, and PermissionError with the folder that this user cannot write.
    """
    present = _read(wanted.path)
    if present is not None and not wanted.is_ours(present):
        if wanted.add:
            return
        if _read(_kept(wanted.path)) is not None:
            raise UserError(
                f"neither {wanted.path} nor {_kept(wanted.path)} is of our making; move one of them away first"
            )
    _check_writable(wanted.path.parent)


def place(wanted: Wanted) -> What:
    """Put the file there with mode 0644, durable and at once. Raises OSError."""
    present = _read(wanted.path)
    if present == wanted.content:
        return "unchanged"
    kept = present is not None and not wanted.is_ours(present)
    if present is not None and kept and wanted.add:
        return "unchanged" if wanted.add.strip().encode() in present else "left"
    _make_folder(wanted.path.parent)
    if kept:
        # A second name for it, so that there is no moment without a file, and owner and mode stay.
        os.link(wanted.path, _kept(wanted.path), follow_symlinks=False)
    write_file(wanted.path, wanted.content, 0o644)
    if kept:
        return "replaced"
    return "written" if present is None else "renewed"


def check_removable(path: Path, is_ours: Callable[[bytes], bool]) -> None:
    """Whether `remove` can do its work. Raises UserError and PermissionError as `check` does."""
    present = _read(path)
    if (present is not None and is_ours(present)) or _read(_kept(path)) is not None:
        _check_writable(path.parent)


def remove(path: Path, is_ours: Callable[[bytes], bool]) -> What | None:
    """Take our file away and put back what was there. None: there is nothing to take away."""
    present = _read(path)
    if present is not None and not is_ours(present):
        return "left"
    if _read(_kept(path)) is not None:
        os.rename(_kept(path), path)
        fsync_directory(path.parent)
        return "put back"
    if present is None:
        return None
    path.unlink()
    fsync_directory(path.parent)
    return "removed"


def remove_empty(folder: Path) -> None:
    """Remove *folder* unless something is in it."""
    try:
        folder.rmdir()
    except OSError:
        return
    fsync_directory(folder.parent)


def _kept(path: Path) -> Path:
    return path.with_name(path.name + KEPT)


def _read(path: Path) -> bytes | None:
    """The content of a plain file; None if there is none. Raises UserError for anything else by that name."""
    for link in (path.parent, path):
        if link.is_symlink():
            raise UserError(f"{link} is a symbolic link, and what it leads to is not ours to change; remove it first")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise UserError(f"{path.parent} is no folder") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UserError(f"{path} is no plain file")
        return os.read(descriptor, _MOST_BYTES)
    finally:
        os.close(descriptor)


def _check_writable(folder: Path) -> None:
    at = next(one for one in (folder, *folder.parents) if one.exists())
    if not at.is_dir():
        raise UserError(f"{at} is no folder")
    if not os.access(at, os.W_OK | os.X_OK, effective_ids=True):
        raise PermissionError(13, os.strerror(13), str(at))


def _make_folder(folder: Path) -> None:
    """With mode 0755 whatever the umask: other users' clients read it too."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(0o755, exist_ok=True)
        one.chmod(0o755)
        fsync_directory(one.parent)
