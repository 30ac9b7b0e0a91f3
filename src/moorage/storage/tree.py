"""Reading the classic layout's link tree as whoever wrote it left it, with everything that is wrong in it.

`ClassicLinks` reads what we wrote; this reads what another registry, a crash or an administrator made of it, in as few
system calls as it takes: a scan of each folder, and of each link file only its status where its content is known.
Symbolic links are never followed, and nothing is written but second names of blobs.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from moorage.durable import fsync_directory, make_directory
from moorage.errors import NameInvalid, TagInvalid
from moorage.oci.digest import ALGORITHMS, Digest
from moorage.oci.name import RepositoryName, parse_name
from moorage.oci.reference import Tag, parse_tag
from moorage.storage import layout
from moorage.storage.content import FileContent
from moorage.storage.faults import fault
from moorage.storage.tree_facts import CONTENT, PARTS, Flaw, Known, Link, Parts, RepositoryLinks, Trouble

_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# The longest digest, sha512's, has 135 characters: more than this is no link.
_LONGEST_LINK: Final = 256
# What links are read for is their digests; by any but this a blob may be another's, and the link says whose.
_CANONICAL: Final = "sha256"
_LINK_BYTES: Final = len("sha256:") + 64
# Manifests are read: few are larger than the first, and room for more costs time even where it stays empty.
_MOST_BODIES: Final = 16 * 1024
_READ_BYTES: Final = 1 << 20
_HEX: Final = {
    "sha256": re.compile(r"[0-9a-f]{64}", re.ASCII).fullmatch,
    "sha512": re.compile(r"[0-9a-f]{128}", re.ASCII).fullmatch,
}
_DIGEST: Final = re.compile(rb"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")


class ClassicTree:
    """The tree below *root*, the folder of `blobs` and `repositories`. Its methods block, and raise Unavailable."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)

    def names(self, trouble: Callable[[Trouble], None]) -> Iterator[tuple[RepositoryName, Parts]]:
        """Every repository that has a folder, those of a folder in order, and which parts it has.

        What cannot be one goes to *trouble*.
        """
        waiting = [""]
        while waiting:
            parent = waiting.pop()
            found = self._folders(f"repositories/{parent}" if parent else "repositories", trouble)
            parts = _parts(found)
            if parent and parts:
                try:
                    yield parse_name(parent), parts
                except NameInvalid as error:
                    trouble(Trouble(Flaw.NAME, f"repositories/{parent}", error.message))
            below = sorted((name for name in found if not name.startswith("_")), reverse=True)
            waiting += [f"{parent}/{name}" if parent else name for name in below]

    def is_empty(self) -> bool:
        """Whether there is no folder of any repository."""
        return not self._folders("repositories", lambda trouble: None)

    @property
    def root(self) -> str:
        """The folder."""
        return self._root

    def repository(
        self, name: RepositoryName, known: Known, since: int, parts: Parts | None = None, *, believe: bool = False
    ) -> RepositoryLinks:
        """What the tree says of the repository, *parts* being what `names` said of it.

        Of links in *known* only the existence is looked at, and of tags in it the content too where the file is as new
        as *since*, nanoseconds. With *believe* a link file of the right size is taken to hold what its path says.
        """
        found = RepositoryLinks()
        base = f"repositories/{name}"
        if parts is None:
            parts = _parts(self._folders(base, found.troubles.append))
        found.present = bool(parts & CONTENT)
        if "_layers" in parts:
            self._digests(f"{base}/_layers", found, found.layers, known.layers, ALGORITHMS, believe)
        if "_manifests" in parts:
            # Distribution links manifests by nothing but sha256, and we only where there are such bytes.
            algorithms = ALGORITHMS if os.path.lexists(f"{self._root}/blobs/{ALGORITHMS[1]}") else ALGORITHMS[:1]
            self._digests(f"{base}/_manifests/revisions", found, found.revisions, known.revisions, algorithms, believe)
            self._tags(f"{base}/_manifests/tags", found, known.tags, since, algorithms)
        if "_uploads" in parts:
            for upload in self._folders(f"{base}/_uploads", found.troubles.append):
                found.uploads.append(self._size(f"{base}/_uploads/{upload}/data"))
        found.unreadable = any(trouble.flaw in {Flaw.UNREADABLE, Flaw.SYMLINK} for trouble in found.troubles)
        return found

    def exists(self, path: str) -> bool:
        """Whether anything is at *path*, which one of `layout`'s functions made."""
        return os.path.lexists(f"{self._root}/{path}")

    def changed_since(self, path: str, since: int) -> bool:
        """Whether the deepest folder that is left of *path* was changed at *since*, nanoseconds, or later.

        So an entry that is gone was removed after that; the folders of a tree that was restored keep their old times,
        and so do those whose entries a failing disk has lost. False where it cannot be seen.
        """
        while path:
            try:
                found = os.stat(f"{self._root}/{path}", follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                path = path.rpartition("/")[0]
                continue
            except OSError:
                return False
            return found.st_mtime_ns >= since
        return False

    def shard(self, algorithm: str, number: int, since: int) -> set[str] | None:
        """The digests, in hex, of the blob folders in the shard; None where nothing changed in it since *since*."""
        path = f"{self._root}/blobs/{algorithm}/{number:02x}"
        try:
            if os.stat(path).st_mtime_ns < since:
                return None
            return set(os.listdir(path))
        except FileNotFoundError:
            return set() if self.changed_since(f"blobs/{algorithm}/{number:02x}", since) else None
        except OSError as error:
            raise fault(error) from error

    def location(self, digest: Digest) -> str:
        """Where a blob lies, in the words of `FilesystemBlobStore` on the same root."""
        return layout.blob(digest)

    def open(self, digest: Digest) -> FileContent:
        """A blob's bytes. Raises BlobUnknown, Unavailable."""
        return FileContent.open(f"{self._root}/{layout.blob(digest)}")

    def add_name(self, digest: Digest, target: Digest) -> bool:
        """Let the bytes of *target* be found by *digest* too, durably; False where the file system cannot.

        Distribution keeps a blob by its sha256 and, where it was pushed by another digest, links that to it. Nothing of
        the volume is changed by a second name of one file.
        """
        path = f"{self._root}/{layout.blob(digest)}"
        folder = os.path.dirname(path)
        try:
            make_directory(Path(folder))
            os.link(f"{self._root}/{layout.blob(target)}", path, follow_symlinks=False)
            fsync_directory(folder)
        except FileExistsError:
            return True
        except OSError:
            return False
        return True

    def size_of(self, digest: Digest) -> int | Flaw | None:
        """The size of a blob's file in bytes; None where there is none, a Flaw where it is no plain file."""
        try:
            found = os.lstat(f"{self._root}/{layout.blob(digest)}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError:
            return Flaw.UNREADABLE
        except OSError as error:
            raise fault(error) from error
        if stat.S_ISREG(found.st_mode):
            return found.st_size
        return Flaw.SYMLINK if stat.S_ISLNK(found.st_mode) else None

    def read(self, digest: Digest, most: int) -> bytes | Flaw | None:
        """At most *most* bytes of a blob's file, else as `size_of`."""
        try:
            descriptor = os.open(f"{self._root}/{layout.blob(digest)}", _OPEN)
        except OSError as error:
            return _meaning(error)
        try:
            data = os.read(descriptor, min(most, _MOST_BODIES))
            while len(data) < most and (more := os.read(descriptor, min(most - len(data), _READ_BYTES))):
                data += more
            return data
        except OSError as error:
            return _meaning(error)
        finally:
            os.close(descriptor)

    def _digests(
        self,
        folder: str,
        found: RepositoryLinks,
        links: dict[Digest, Link],
        known: Collection[Digest],
        algorithms: Sequence[str],
        believe: bool,  # noqa: FBT001 - given by place, as all are
    ) -> None:
        """Fill *links* with the link files of *folder*, by the digests in their paths."""
        for algorithm in algorithms:
            matches = _HEX[algorithm]
            above = f"{folder}/{algorithm}"
            for name in self._folders(above, found.troubles.append):
                if matches(name) is None:
                    continue
                digest = Digest(algorithm, name)
                path = f"{above}/{name}/link"
                if digest in known:
                    link = self._known_link(path, found)
                elif believe and algorithm == _CANONICAL:
                    link = self._likely_link(path, found, digest)
                else:
                    link = self._link(path, found, digest)
                if link is not None:
                    links[digest] = link

    def _known_link(self, path: str, found: RepositoryLinks) -> Link | None:
        """The link at *path* without what it holds, None where there is none."""
        try:
            written = os.lstat(f"{self._root}/{path}").st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            found.troubles.append(_unreadable(path, error))
            return None
        found.files += 1
        return Link(None, written)

    def _likely_link(self, path: str, found: RepositoryLinks, digest: Digest) -> Link | None:
        """The link of *digest* at *path* as `_link`; it is read only where it cannot hold the digest."""
        try:
            status = os.lstat(f"{self._root}/{path}")
        except OSError:
            return self._link(path, found, digest)
        if status.st_size != _LINK_BYTES or not stat.S_ISREG(status.st_mode):
            return self._link(path, found, digest)
        found.files += 1
        return Link(digest, status.st_mtime_ns)

    def _link(self, path: str, found: RepositoryLinks, digest: Digest) -> Link | None:
        """The link of *digest* at *path*, None where there is none. What it holds only makes trouble: its path is what
        a registry looks it up by, and the content under a digest can only be one."""
        data = self._read(path, found)
        if data is None:
            return None
        text, written = data
        found.files += 1
        if text == str(digest).encode("ascii"):
            return Link(digest, written)
        target = _parse(text)
        if target is None:
            found.troubles.append(_broken(path, text))
        elif target.algorithm == digest.algorithm:
            found.troubles.append(Trouble(Flaw.LINK_OTHER, path, str(target)))
        return Link(target, written)

    def _tags(
        self,
        folder: str,
        found: RepositoryLinks,
        known: Mapping[Tag, Digest],
        since: int,
        algorithms: Sequence[str],
    ) -> None:
        for name in self._folders(folder, found.troubles.append):
            try:
                tag = parse_tag(name)
            except TagInvalid as error:
                found.troubles.append(Trouble(Flaw.TAG_NAME, f"{folder}/{name}", error.message))
                continue
            link = self._current(f"{folder}/{name}", found, known.get(tag), since)
            if link is not None:
                found.tags[tag] = link
            if link is None or link.target is not None:
                found.history[tag] = self._history(f"{folder}/{name}/index", found, link and link.target, algorithms)

    def _current(self, folder: str, found: RepositoryLinks, known: Digest | None, since: int) -> Link | None:
        path = f"{folder}/current/link"
        if known is not None:
            try:
                written = os.lstat(f"{self._root}/{path}").st_mtime_ns
            except OSError:
                written = since  # whatever it is, the reading says it
            if written < since:
                found.files += 1
                return Link(None, written)
        data = self._read(path, found)
        if data is None:
            if not any(trouble.path == path for trouble in found.troubles[-1:]):
                found.troubles.append(Trouble(Flaw.TAG_WITHOUT_CURRENT, path))
            return None
        text, written = data
        found.files += 1
        target = _parse(text)
        if target is None:
            broken = _broken(path, text)
            found.troubles.append(Trouble(Flaw.TAG_WITHOUT_CURRENT, path, broken.detail or broken.flaw.value))
            return None
        return Link(target, written)

    def _history(
        self, folder: str, found: RepositoryLinks, current: Digest | None, algorithms: Sequence[str]
    ) -> list[tuple[Digest, int]]:
        """What the tag named besides *current*, in the order of the link files' times."""
        named: list[tuple[Digest, int]] = []
        for algorithm in algorithms:
            for name in self._folders(f"{folder}/{algorithm}", found.troubles.append):
                found.files += 1
                if _HEX[algorithm](name) is None or (algorithm, name) == current:
                    continue
                try:
                    written = os.lstat(f"{self._root}/{folder}/{algorithm}/{name}/link").st_mtime_ns
                except OSError:
                    continue
                named.append((Digest(algorithm, name), written))
        return sorted(named, key=lambda entry: entry[1])

    def _read(self, path: str, found: RepositoryLinks) -> tuple[bytes, int] | None:
        """Content and time of a link file; None where there is none, or none that can be read."""
        try:
            descriptor = os.open(f"{self._root}/{path}", _OPEN)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            found.troubles.append(_unreadable(path, error))
            return None
        try:
            return os.read(descriptor, _LONGEST_LINK), os.fstat(descriptor).st_mtime_ns
        except OSError as error:
            found.troubles.append(_unreadable(path, error))
            return None
        finally:
            os.close(descriptor)

    def _folders(self, path: str, trouble: Callable[[Trouble], None]) -> list[str]:
        """The names of the folders in *path*, none where it is missing."""
        place = f"{self._root}/{path}"
        try:
            with os.scandir(place) as entries:
                every = list(entries)
            found = [entry.name for entry in every if entry.is_dir(follow_symlinks=False)]
            if len(found) < len(every):
                for entry in every:
                    if entry.is_symlink():
                        trouble(Trouble(Flaw.SYMLINK, f"{path}/{entry.name}", _points_to(entry.path)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            trouble(_unreadable(path, error))
            return []
        return found

    def _size(self, path: str) -> int:
        try:
            return os.lstat(f"{self._root}/{path}").st_size
        except OSError:
            return 0


def _parts(folders: Collection[str]) -> Parts:
    return PARTS.intersection(folders)


def _meaning(error: OSError) -> Flaw | None:
    if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}:
        return None
    if error.errno == errno.ELOOP:  # what O_NOFOLLOW says of a symbolic link
        return Flaw.SYMLINK
    if error.errno in {errno.EACCES, errno.EPERM}:
        return Flaw.UNREADABLE
    raise fault(error) from error


def _unreadable(path: str, error: OSError) -> Trouble:
    if error.errno == errno.ELOOP:
        return Trouble(Flaw.SYMLINK, path)
    return Trouble(Flaw.UNREADABLE, path, error.strerror or "")


def _broken(path: str, text: bytes) -> Trouble:
    if not text:
        return Trouble(Flaw.LINK_EMPTY, path)
    return Trouble(Flaw.LINK_GARBAGE, path, ascii(text[:40].decode("latin-1")))


def _parse(text: bytes) -> Digest | None:
    match = _DIGEST.fullmatch(text)
    if match is None:
        return None
    algorithm, digits = match[1] or match[3], match[2] or match[4]
    return Digest(algorithm.decode("ascii"), digits.decode("ascii"))


def _points_to(path: str) -> str:
    try:
        return f"it points to {os.readlink(path)}"
    except OSError:
        return ""
