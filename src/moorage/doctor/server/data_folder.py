"""The data folder: there, ours, writable in every way that the server needs, with room, and kept."""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moorage.app import Folders
from moorage.doctor.accounts import Account, acting_as
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong
from moorage.doctor.mounts import Mount, mount_of
from moorage.durable import fsync_directory, write_all

_SLOW_FSYNC: Final = 2.0
"""Seconds for the quickest of three; a spinning disk under load takes a tenth of that. Arbitrary."""
_MOST_ENTRIES: Final = 2000
"""Of one folder: whoever is looked at is there to find a pattern, not every file. Arbitrary."""
_PROBE_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Ground:
    """What the data folder is looked at with: the user of the server, the mounts, and whether this is a container."""

    folders: Folders
    user: Account
    mounts: Sequence[Mount]
    container: bool = False

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folders.data

    @property
    def existing(self) -> Path:
        """The data folder, or the nearest folder above it that is there."""
        path = Path(os.path.abspath(self.data))
        return next(folder for folder in (path, *path.parents) if os.path.isdir(folder) or folder == folder.parent)


def look_at_place(ground: Ground) -> Iterator[Finding]:
    """Whether the folder is there at all; blocks where it cannot be one."""
    path = ground.data
    try:
        there = path.is_dir()
        os.stat(path)
    except OSError as error:
        if error.errno != errno.ENOENT:
            yield _cannot_be_entered(path, error)
            return
        if path.is_symlink():
            yield wrong(
                f"{path} is a link to {os.readlink(path)}, and there is nothing",
                "Its disk is not mounted, or the folder was moved. The server would not start.",
                f"ls -ld {shlex.quote(str(path))} && findmnt",
                blocks=True,
                path=str(path),
            )
            return
        yield from _not_made_yet(ground)
        return
    if not there:
        yield wrong(f"{path} is not a folder", "Give the server a folder with --data.", blocks=True, path=str(path))
        return
    real = os.path.realpath(path)
    shown = str(path) if real == os.path.abspath(path) else f"{path} (really {real})"
    yield ok(f"{shown} belongs to {_owner(path)}, and the server runs as {ground.user.name}", path=real)


def _cannot_be_entered(path: Path, error: OSError) -> Finding:
    if error.errno == errno.ELOOP:
        return wrong(
            f"{path} leads in a circle: a link on the way points back to itself",
            "The server cannot start. Give it the folder itself.",
            f"namei -l {shlex.quote(str(path))}",
            blocks=True,
            path=str(path),
        )
    if error.errno == errno.ENOTDIR:
        return wrong(f"{path} cannot be: something above it is a file", "", blocks=True, path=str(path))
    return wrong(
        f"{path} cannot be looked at by this user: {error.strerror}",
        "Either this is not the server's user, and then the diagnosis has to be asked for as that user or as root, or"
        " it is, and the folders above let it not in.",
        "sudo moorage doctor",
        f"namei -l {shlex.quote(str(path))}",
        blocks=True,
        path=str(path),
    )


def _not_made_yet(ground: Ground) -> Iterator[Finding]:
    above = ground.existing
    with acting_as(ground.user):
        may = os.access(above, os.W_OK | os.X_OK, effective_ids=True)
    if may:
        yield ok(f"{ground.data} is not there yet; the server makes it when it starts first", path=str(ground.data))
        return
    yield wrong(
        f"{ground.data} is not there, and {ground.user.name} may not make it in {above}",
        "The server will not start.",
        f"sudo install -d -o {ground.user.name} -m 750 {shlex.quote(str(ground.data))}",
        blocks=True,
        path=str(ground.data),
    )


def look_at_links(ground: Ground) -> Iterator[Finding]:
    """Links in place of the folders that the server expects, which lead to a disk that is not there."""
    tree = ground.folders.tree
    for path in (tree.parent.parent, tree.parent, tree, tree / "blobs", ground.folders.ours, ground.folders.uploads):
        if os.path.islink(path) and not os.path.exists(path):
            yield wrong(
                f"{path} is a link to {os.readlink(path)}, and there is nothing",
                "Its disk is not mounted, or the folder was moved. The server does not start, or answers 503.",
                f"namei -l {shlex.quote(str(path))} && findmnt",
                path=str(path),
            )


def look_at_owner(ground: Ground) -> Iterator[Finding]:
    """Whether what the server has to write belongs to it; usually a command as root left files that do not."""
    if not os.path.isdir(ground.data):
        return
    user, strangers, closed = ground.user, [], []
    for path in _own_paths(ground.folders):
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            continue
        except OSError:
            closed.append(path)
            continue
        if found.st_uid != user.uid and not _may_write(path, user):
            strangers.append((path, found.st_uid))
    if closed and not user.can_be_tried:
        yield skipped(
            f"what lies in {ground.folders.ours} can be seen by {user.name} and root alone: sudo moorage doctor"
        )
    if not strangers:
        return
    names = ", ".join(f"{path} ({_owner(path)})" for path, _ in strangers[:3])
    more = f" and {len(strangers) - 3} more" if len(strangers) > 3 else ""
    folder = shlex.quote(str(ground.data))
    yield wrong(
        f"the server runs as {user.name}, which may not write {names}{more}",
        "A command given as root, a restored backup or another user of the same folder left it so. Pushes, or the start"
        " of the server, fail with permission denied (a 503 for clients).",
        f"sudo chown -R {user.owner} {folder}",
        paths=[str(path) for path, _ in strangers[:20]],
        user=user.name,
    )


def _own_paths(folders: Folders) -> Iterator[Path]:
    """What the server writes itself, and the upper folders of the tree; below them things are alike."""
    tree = folders.tree
    yield from (folders.data, tree.parent.parent, tree.parent, tree, folders.ours)
    for folder in (folders.ours, folders.uploads, folders.tls, tree, tree / "blobs", tree / "blobs/sha256"):
        yield from _entries(folder)
    yield from _entries(tree / "repositories")


def _entries(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(_MOST_ENTRIES), entries, strict=False):
                yield Path(entry.path)
    except OSError:
        return


def _may_write(path: Path, user: Account) -> bool:
    if not user.can_be_tried:
        return False
    with acting_as(user):
        return os.access(path, os.W_OK, effective_ids=True)


def look_at_mount(ground: Ground) -> Iterator[Finding]:
    """Where the folder really lies: read-only, in memory, on another machine, in a container's own layer."""
    mount = mount_of(ground.existing, ground.mounts)
    if mount is None:
        yield skipped("where the data folder lies cannot be seen: /proc/self/mountinfo is not to be read")
        return
    if mount.read_only:
        yield wrong(
            f"{mount.point}, which holds the data folder, is mounted read-only ({mount.kind} from {mount.source})",
            "Nothing can be pushed, and the server does not start. A disk that had errors is put into this state too:"
            " look into the kernel's log before anything is written to it.",
            "sudo dmesg | tail -50",
            f"sudo mount -o remount,rw {shlex.quote(str(mount.point))}",
            mount=str(mount.point),
        )
    if mount.network:
        yield warning(
            f"the data folder lies on {mount.kind}, a network file system ({mount.source})",
            "What is acknowledged is as safe as that makes it, and SQLite's locks cannot be relied on there: the"
            " database has to lie elsewhere.",
            "moorage serve --database sqlite:////var/lib/moorage/moorage.db ...",
            mount=str(mount.point),
        )
    yield from _kept(ground, mount)


def _kept(ground: Ground, mount: Mount) -> Iterator[Finding]:
    data = shlex.quote(os.path.abspath(ground.data))
    if mount.goes_with_the_container(container=ground.container):
        elsewhere = [other for other in ground.mounts if other.belongs_to_a_person]
        hint = ""
        if elsewhere:
            places = ", ".join(str(other.point) for other in elsewhere[:5])
            hint = f" There is a volume at {places}, and nothing of the registry's lies there: was that to be {data}?"
        yield wrong(
            f"{data} is no volume: it lies in the container's own layer",
            f"All images and users are gone when the container is removed, as with every new version.{hint}",
            f"docker run -v moorage:{data} ...",
            mount=str(mount.point),
        )
    elif mount.in_memory:
        yield warning(
            f"{data} lies in memory ({mount.kind} at {mount.point})",
            "All images and users are gone after a reboot, and every image takes memory.",
            "moorage serve --data /var/lib/moorage ...",
            mount=str(mount.point),
        )
    elif mount.anonymous_volume:
        yield warning(
            f"{data} is a volume without a name ({mount.anonymous_volume[:12]}...)",
            "`docker rm -v`, `docker run --rm` and `docker volume prune` remove it, and a new container gets an empty"
            " one.",
            f"docker run -v moorage:{data} ...",
            mount=str(mount.point),
        )
    elif not mount.read_only and not mount.network:
        yield ok(f"it lies on {mount.kind}, mounted at {mount.point}", mount=str(mount.point), type=mount.kind)


def look_at_writing(ground: Ground) -> Iterator[Finding]:
    """Write, flush, rename and remove a file, from where uploads are staged to where blobs lie, as the server does."""
    if not ground.user.can_be_tried:
        yield skipped(
            f"whether {ground.user.name} can write there was not tried",
            f"Give the command as that user: sudo -u {ground.user.name} moorage doctor",
        )
        return
    folders = ground.folders
    with acting_as(ground.user):
        staged = _first_folder(folders.uploads, folders.ours, folders.data)
        blobs = _first_folder(folders.tree / "blobs", folders.tree, staged)
        trouble: OSError | None = None
        try:
            seconds = min(_write_once(staged, blobs) for _ in range(3))
            folds = _ignores_case(staged)
        except OSError as error:
            trouble = error
    if trouble is not None:
        yield _cannot_be_written(ground, staged, blobs, trouble)
        return
    yield ok(
        f"writing, flushing, renaming and removing a file as {ground.user.name} works, in {seconds * 1000:.0f} ms",
        milliseconds=round(seconds * 1000, 1),
    )
    if seconds > _SLOW_FSYNC:
        yield warning(
            f"the disk takes {seconds:.1f} s until a file is safe",
            "Every push waits for that several times. A busy or failing disk, or one far away, is so slow.",
            "sudo dmesg | tail -50",
            milliseconds=round(seconds * 1000),
        )
    if folds:
        yield warning(
            f"{staged} does not tell capital letters from small ones",
            "Tags that differ only in case get one link file. The database is right all the same, but the tree alone"
            " cannot tell them apart. Use a file system that does, as ext4 or XFS.",
        )


def _first_folder(*paths: Path) -> Path:
    """The first that is there, or the last."""
    return next((path for path in paths if os.path.isdir(path)), paths[-1])


def _write_once(staged: Path, blobs: Path) -> float:
    """Seconds until the file was safe. Raises OSError."""
    name = f".moorage-doctor-{secrets.token_hex(8)}"
    first, second = staged / name, blobs / name
    begin = time.monotonic()
    descriptor = os.open(first, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            # What cannot be compressed away: a quota or a full disk shows only where bytes are really kept.
            write_all(descriptor, os.urandom(_PROBE_BYTES))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(first, second)
        fsync_directory(blobs)
        seconds = time.monotonic() - begin
        os.unlink(second)
        fsync_directory(blobs)
        return seconds
    finally:
        for left in (first, second):
            with suppress(OSError):
                os.unlink(left)


def _ignores_case(folder: Path) -> bool:
    name = f".moorage-doctor-{secrets.token_hex(8)}-a"
    try:
        os.close(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return (folder / name.upper()).exists()
    except OSError:
        return False
    finally:
        with suppress(OSError):
            os.unlink(folder / name)


def _cannot_be_written(ground: Ground, staged: Path, blobs: Path, error: OSError) -> Finding:
    where = os.path.dirname(str(error.filename)) if error.filename else str(staged)
    said = f"a file cannot be written in {where} as {ground.user.name}: {error.strerror}"
    meaning, remedies = _causes(ground, staged, blobs).get(
        error.errno or 0, ("Every push fails with 503 until that is mended.", ("sudo dmesg | tail -50",))
    )
    return wrong(said, meaning, *remedies, errno=errno.errorcode.get(error.errno or 0, ""), path=where)


def _causes(ground: Ground, staged: Path, blobs: Path) -> dict[int, tuple[str, tuple[str, ...]]]:
    data = shlex.quote(str(ground.data))
    own = f"sudo chown -R {ground.user.owner} {data}"
    return {
        errno.ENOSPC: (
            "The disk is full, or has no inodes left: every push fails with 507. Pulls go on.",
            (f"df -h {data}; df -i {data}", "moorage garbage-collect --help"),
        ),
        errno.EDQUOT: (
            f"The quota of {ground.user.name} is used up, although the disk may have room: every push fails with 507.",
            (f"sudo quota -u {ground.user.name}", f"sudo setquota -u {ground.user.name} 0 0 0 0 -a"),
        ),
        errno.EROFS: (
            "The file system is read-only: nothing can be pushed. A disk that had errors is put into this state.",
            ("sudo dmesg | tail -50", f"sudo mount -o remount,rw {data}"),
        ),
        errno.EACCES: ("The server's user may not write there: every push fails with 503.", (own,)),
        errno.EPERM: (
            "Something beyond ordinary permissions forbids it: the immutable flag, or a security module.",
            (f"sudo lsattr -d {data}; sudo chattr -R -i {data}",),
        ),
        errno.EIO: (
            "The disk fails. Save what is there before anything else.",
            ("sudo dmesg | tail -50", "sudo smartctl -a /dev/DISK"),
        ),
        errno.EXDEV: (
            (
                f"{staged} and {blobs} lie on two file systems, so that no upload can be renamed to its place: the"
                f" server does not start. Mount the disk at {ground.data} itself."
            ),
            (f"findmnt -T {shlex.quote(str(staged))}; findmnt -T {shlex.quote(str(blobs))}",),
        ),
    }


def _owner(path: Path) -> str:
    from moorage.doctor.processes import user_name

    try:
        return user_name(os.lstat(path).st_uid)
    except OSError:
        return "nobody that can be seen"
