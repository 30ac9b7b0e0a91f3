"""The seam between what a registry does and where its bytes lie.

An upload is staged under its id, and committed under its digest:

    stage(id, new=True) -> Staging: write, write, close      a session's first request
    stage(id, new=False) -> Staging: write, commit            its last one, perhaps in another process

The store trusts its caller for one thing only: that the staged bytes have the digest they are committed under. Nothing
else in a caller's hand becomes a path: upload ids and locations are matched against a grammar.

Durability: when `commit` has returned, the blob outlives a crash of the machine, so a row may name it. Staged bytes
outlive a crash of the process but not of the machine: a digest of them that was kept elsewhere must be thrown away when
the server starts anew, and rebuilt with `Staging.read`. Whatever a crash leaves besides is garbage that no row names:
`list` and `staged` find it.

Every method may raise Unavailable (the disk fails, access is denied), and every one that writes also StorageFull. After
either the store goes on as before, and works again when the disk does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol, Self

from moorage.oci.digest import Digest

# 128 random bits as hexadecimal, or 192 as URL-safe base64; no dot, so that no id can leave or hide in its folder.
UPLOAD_ID = re.compile(r"[0-9A-Za-z_-]{32}", re.ASCII)


class Content(Protocol):
    """One blob, open for reading; it stays readable when the blob is deleted or replaced meanwhile."""

    @property
    def size(self) -> int:
        """Length in bytes."""
        ...

    def fileno(self) -> int | None:
        """A descriptor that os.sendfile can read from, offsets 0 to *size*, until `close`; None where there is none."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """The bytes from *offset*, *length* of them or fewer at the end, b"" behind it; blocks as long as a disk read.

        Raises ValueError after `close`.
        """
        ...

    def close(self) -> None:
        """Release it; harmless when done twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class Staging(Protocol):
    """The bytes of one unfinished upload, and the only right in any process to change them, until `close`.

    After `close`, `discard` or a commit every method but `close` and `discard` raises ValueError.
    """

    @property
    def size(self) -> int:
        """Bytes held, which may differ from what was noted elsewhere: after a failed write or fsync, after a crash."""
        ...

    def write(self, data: bytes | memoryview) -> None:
        """Append all of *data*.

        Raises StorageFull and Unavailable; then *size* is what really is held: what it was before, or, when even taking
        the torn piece away fails, more.
        """
        ...

    def truncate(self, size: int) -> None:
        """Forget everything from byte *size* on. Raises ValueError when fewer are held."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """As `Content.read`."""
        ...

    def close(self) -> None:
        """Keep the bytes for a later `BlobStore.stage` and release the right; harmless when done twice."""
        ...

    def discard(self) -> None:
        """Remove the bytes and release the right; harmless when done twice or after a commit."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None:
        """Close."""
        ...


class BlobStore(Protocol):
    """Blobs by location, uploads by id. Every method may be called from any task, thread or process at once."""

    def locate(self, digest: Digest) -> str:
        """Where `commit` would put a blob of this digest. A row stores it; nobody else derives it."""
        ...

    def stat(self, location: str) -> int | None:
        """Size in bytes, or None when nothing is there."""
        ...

    def open(self, location: str) -> Content:
        """Open for reading. Raises BlobUnknown when nothing is there."""
        ...

    def stage(self, upload_id: str, *, new: bool) -> Staging:
        """The bytes of an upload, for one holder at a time among all processes.

        *new*: nothing may be there yet, else UploadBusy. Not *new*: raises BlobUploadUnknown when nothing is there
        (never was, or is committed or discarded), UploadBusy when another holds it. An id that does not match UPLOAD_ID
        is unknown when looked for, and a ValueError when new.
        """
        ...

    async def commit(self, staging: Staging, digest: Digest) -> str:
        """Keep the staged bytes under *digest*, durably, and return the location; the staging is gone then.

        What lies there already, by an earlier or a simultaneous commit, is replaced at once and for good: readers see
        the old or the new, whole. On StorageFull and Unavailable the staging stays, so that the commit can be tried
        again, unless it was the flush that failed: then the upload is gone, since a second flush would lie. If the
        waiting task is cancelled, the commit still runs to its end behind it.
        """
        ...

    async def delete(self, location: str) -> bool:
        """Remove a blob; False when nothing was there. After a crash it may be back: no row names it then.

        The caller sees to it that nobody commits the same digest meanwhile.
        """
        ...

    def list(self) -> Iterator[tuple[str, Digest, int]]:
        """Every blob: location, digest, size in bytes; in no order. What comes or goes meanwhile may be left out."""
        ...

    def staged(self) -> Iterator[tuple[str, int, float]]:
        """Every staged upload: its id, size in bytes, last change in seconds since the epoch; in no order."""
        ...
