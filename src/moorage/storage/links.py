"""The classic layout's link files, written behind the database so that the volume says by itself what it holds.

With them the distribution registry can serve the volume, and the database can be rebuilt from it; while we run nobody
reads them. Every write is idempotent and replaces a file at once, but is durable only after `flush`, which is one
syncfs for a whole batch: whoever keeps a list of what to write may forget it when `flush` has returned, and writes it
again after a crash.

One process writes at a time. Limit: where the file system takes `Latest` and `latest` for one name, two such tags share
one folder here, and the later one is in it; the database keeps them apart.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from moorage.durable import sync_volume, write_all
from moorage.errors import DigestInvalid, NameInvalid, TagInvalid
from moorage.oci.digest import ALGORITHMS, Digest
from moorage.oci.name import RepositoryName, parse_name
from moorage.oci.reference import Tag, parse_tag
from moorage.storage import layout
from moorage.storage.faults import fault

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# The longest digest, sha512's, has 135 characters: more than this is no link.
_LONGEST_LINK = 256
_MOST_BODY = 4 * 1024 * 1024


class ClassicLinks:
    """The link tree below *root*, the folder of `blobs` and `repositories`; it raises StorageFull and Unavailable."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put_layer(self, repository: RepositoryName, digest: Digest) -> None:
        """The blob belongs to the repository."""
        self._put_link(layout.layers(repository), digest)

    def remove_layer(self, repository: RepositoryName, digest: Digest) -> None:
        """The blob does not belong to the repository any more."""
        self._remove(f"{layout.layers(repository)}/{digest.algorithm}/{digest.hex}")

    def put_revision(self, repository: RepositoryName, digest: Digest) -> None:
        """The manifest belongs to the repository."""
        self._put_link(layout.revisions(repository), digest)

    def remove_revision(self, repository: RepositoryName, digest: Digest) -> None:
        """The manifest does not belong to the repository any more."""
        self._remove(f"{layout.revisions(repository)}/{digest.algorithm}/{digest.hex}")

    def put_tag(self, repository: RepositoryName, name: Tag, digest: Digest) -> None:
        """The tag names the manifest from now on; what it named before stays in its index."""
        folder = layout.tag(repository, name)
        self._put_link(f"{folder}/index", digest)
        self._put(f"{folder}/current/link", str(digest).encode("ascii"))

    def remove_tag(self, repository: RepositoryName, name: Tag) -> None:
        """The tag is gone, and its index with it, as the distribution registry does it."""
        self._remove(layout.tag(repository, name))

    def put_manifest_blob(self, digest: Digest, body: bytes) -> None:
        """Keep a manifest's bytes where the layout keeps all bytes.

        A file that holds them is left alone: it may be a blob that somebody pushed and that is durable already, and
        must not give way to one that is not.
        """
        path = f"{self._root}/{layout.blob(digest)}"
        try:
            with open(path, "rb", buffering=0) as file:
                if file.read(len(body) + 1) == body:
                    return
        except OSError:
            # Missing, or broken in a way that the write below will name.
            pass
        try:
            _add(path, body)
        except OSError as error:
            raise fault(error) from error

    def manifest_blob(self, digest: Digest, most: int = _MOST_BODY) -> bytes | None:
        """The first *most* of a manifest's bytes, or of a blob's; None where they cannot be read."""
        try:
            with open(f"{self._root}/{layout.blob(digest)}", "rb", buffering=0) as file:
                return file.read(most)
        except OSError:
            return None

    def remove_manifest_blob(self, digest: Digest) -> None:
        """Remove a manifest's bytes, which nothing else may have been pushed with."""
        with suppress(OSError):
            os.unlink(f"{self._root}/{layout.blob(digest)}")
            os.rmdir(os.path.dirname(f"{self._root}/{layout.blob(digest)}"))

    def remove_tag_history(self, repository: RepositoryName, name: Tag, digest: Digest) -> None:
        """The tag never named the manifest."""
        self._remove(f"{layout.tag(repository, name)}/index/{digest.algorithm}/{digest.hex}")

    def flush(self) -> None:
        """Make everything put and removed so far durable."""
        try:
            sync_volume(self._root)
        except OSError as error:
            raise fault(error) from error

    def repositories(self) -> Iterator[RepositoryName]:
        """Every repository that has a link folder, in no order; folders that cannot be one are left out."""
        waiting = [""]
        while waiting:
            parent = waiting.pop()
            names = _names(self._root / "repositories" / parent)
            if parent and ("_layers" in names or "_manifests" in names):
                with suppress(NameInvalid):
                    yield parse_name(parent)
            waiting += [f"{parent}/{name}" if parent else name for name in names if not name.startswith("_")]

    def layers(self, repository: RepositoryName) -> Iterator[tuple[Digest, Digest | None]]:
        """The repository's blob links, in no order: the digest in the path, and the one in the file.

        They are the same unless the file is broken (None), or another registry linked one blob by a second digest.
        """
        return self._links(layout.layers(repository))

    def revisions(self, repository: RepositoryName) -> Iterator[tuple[Digest, Digest | None]]:
        """The repository's manifest links, as `layers`."""
        return self._links(layout.revisions(repository))

    def tags(self, repository: RepositoryName) -> Iterator[tuple[Tag, Digest | None]]:
        """The repository's tags and what each names, None when the file does not say, in no order."""
        folder = self._root / layout.tags(repository)
        for name in _names(folder):
            with suppress(TagInvalid):
                yield parse_tag(name), _read_link(folder / name / "current" / "link")

    def layer(self, repository: RepositoryName, digest: Digest) -> Digest | None:
        """What the link of one blob says, None when it is missing or broken."""
        return self._link(layout.layers(repository), digest)

    def revision(self, repository: RepositoryName, digest: Digest) -> Digest | None:
        """What the link of one manifest says, None when it is missing or broken."""
        return self._link(layout.revisions(repository), digest)

    def tag(self, repository: RepositoryName, name: Tag) -> Digest | None:
        """What one tag names, None when it is missing or broken."""
        return _read_link(self._root / layout.tag(repository, name) / "current" / "link")

    def _link(self, folder: str, digest: Digest) -> Digest | None:
        return _read_link(self._root / folder / digest.algorithm / digest.hex / "link")

    def _links(self, folder: str) -> Iterator[tuple[Digest, Digest | None]]:
        for algorithm in ALGORITHMS:
            for name in _names(self._root / folder / algorithm):
                with suppress(DigestInvalid):
                    digest = Digest.parse(f"{algorithm}:{name}")
                    path = self._root / folder / algorithm / name / "link"
                    target = _read_link(path)
                    # Where the distribution registry deletes something, it leaves the folder.
                    if target is not None or os.path.lexists(path):
                        yield digest, target

    def _put_link(self, folder: str, digest: Digest) -> None:
        self._put(f"{folder}/{digest.algorithm}/{digest.hex}/link", str(digest).encode("ascii"))

    def _put(self, path: str, data: bytes) -> None:
        try:
            _replace(f"{self._root}/{path}", data)
        except OSError as error:
            raise fault(error) from error

    def _remove(self, folder: str) -> None:
        """Remove *folder* with all it holds, and the folders above it that are empty then, up to `repositories`."""
        path = self._root / folder
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise fault(error) from error
        with suppress(OSError):
            while (path := path.parent) != self._root / "repositories":
                path.rmdir()


def _replace(path: str, data: bytes) -> None:
    """Put *data* at *path*, in place of what is there, without a flush.

    Paths are text here and below: with `Path` and a context manager, this cost half as much again.
    """
    name, descriptor = _create_beside(path)
    try:
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)
        os.rename(name, path)
    except BaseException:
        _discard(name)
        raise


def _add(path: str, data: bytes) -> None:
    """Put *data* at *path*, without a flush when nothing is there, and flushed when it replaces something."""
    name, descriptor = _create_beside(path)
    try:
        write_all(descriptor, data)
        try:
            # A blob's commit may have put a durable file there since we looked: link, unlike rename, leaves it.
            os.link(name, path)
        except OSError:
            os.fsync(descriptor)
            os.rename(name, path)
    finally:
        os.close(descriptor)
        _discard(name)


def _create_beside(path: str) -> tuple[str, int]:
    """The name and the descriptor of a new file beside *path*, whose folder is made if missing."""
    name = f"{path}.{secrets.token_hex(8)}.tmp"
    try:
        return name, os.open(name, _CREATE, 0o644)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return name, os.open(name, _CREATE, 0o644)


def _discard(name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name)


def _names(folder: Path) -> list[str]:
    """What *folder* holds besides files; nothing when it is missing. Symbolic links are not followed."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise fault(error) from error


def _read_link(path: Path) -> Digest | None:
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_LINK)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise fault(error) from error
    try:
        return Digest.parse(text.decode("ascii"))
    except (DigestInvalid, UnicodeDecodeError):
        return None
