"""Blobs: each row's bytes are there, are as many as it says, and hash to its digest."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from typing import Final

from moorage.errors import BlobUnknown, DataError, RegistryError, Unavailable
from moorage.metadata import audit, inventory, outbox
from moorage.metadata.audit import BlobRow
from moorage.metadata.database import Reader
from moorage.oci.digest import Digest, hasher
from moorage.oci.name import parse_name
from moorage.registry.check.findings import BlobDamaged, Finding, Loser, Problem, TreeEmpty
from moorage.registry.check.part import Subject, WriteLinks

_READ_BYTES: Final = 1 << 20
_PAGE: Final = 64
# One processor is left to the server (arbitrary).
_THREADS: Final = max(1, min(4, len(os.sched_getaffinity(0)) - 1))


Identity = tuple[int, int, int] | None


class Blobs:
    """The part of a check that reads all bytes back; *fast* only measures them."""

    def __init__(self, subject: Subject, *, fast: bool) -> None:
        self._subject = subject
        self._fast = fast
        self._stopping = threading.Event()

    async def find(self) -> list[Finding]:
        """Go through all rows, several files at a time."""
        database, progress = self._subject.database, self._subject.progress
        count, size = await audit.blob_totals(database)
        if count and self._nothing_is_there():
            return [TreeEmpty(count)]
        progress.step("blobs", count if self._fast else size, size=not self._fast)
        found: list[Finding] = []
        gate = asyncio.Semaphore(_THREADS)

        async def look(row: BlobRow) -> None:
            self._subject.counts.blobs += 1
            async with gate:
                finding = await self._look(row)
            if finding is not None:
                found.append(finding)

        after = 0
        try:
            while page := await audit.blob_page(database, after=after, count=_PAGE):
                await asyncio.gather(*[look(row) for row in page])
                after = page[-1].id
        finally:
            # A thread cannot be cancelled, and the end of the program would wait for it.
            self._stopping.set()
        self._stopping = threading.Event()
        return found

    async def still(self, finding: Finding) -> bool:
        """Look at the row and its bytes anew; who loses by it is found out here."""
        if isinstance(finding, TreeEmpty):
            return self._nothing_is_there()
        assert isinstance(finding, BlobDamaged)
        row = await audit.blob(self._subject.database, finding.row.id)
        now = None if row is None else await self._look(row)
        if now is None:
            return False
        finding.row, finding.problem, finding.detail = now.row, now.problem, now.detail
        finding.losers = await losers(self._subject, finding.row.key)
        return True

    async def repair(self, findings: Sequence[Finding], write_links: WriteLinks | None) -> None:
        """Take blobs without their bytes out of all repositories; not those that cannot be read just now.

        As long as a repository says that it has the blob, no client sends it again.
        """
        for finding in findings:
            if isinstance(finding, BlobDamaged) and finding.mendable:
                await self._release(finding)

    async def _release(self, finding: BlobDamaged) -> None:
        """Nobody is kept from pushing meanwhile: that replaces the file, and then the rows stay."""
        location = finding.row.location
        before = self._identity(location)
        row = await audit.blob(self._subject.database, finding.row.id)
        if row is None or await self._look(row) is None:
            finding.repaired = True
            return

        async def work(transaction: Reader) -> bool:
            if self._identity(location) != before:
                return False
            for repository in await audit.release_blob(transaction, finding.row.id):
                await outbox.note(transaction, outbox.Kind.LAYER, repository, finding.row.key)
            return True

        finding.released = await self._subject.database.write(work)
        finding.repaired = finding.released and not finding.losers

    def _nothing_is_there(self) -> bool:
        try:
            return next(self._subject.store.list(), None) is None
        except Unavailable:
            return False

    async def _look(self, row: BlobRow) -> BlobDamaged | None:
        try:
            digest = Digest.from_key(row.key)
            held = self._subject.store.stat(row.location)
            if held is None:
                return BlobDamaged(row, Problem.MISSING, row.location)
            if held != row.size:
                return BlobDamaged(row, Problem.SIZE, str(held))
            if self._fast:
                self._subject.progress.advance()
                return None
            really = await asyncio.to_thread(self._hash, row.location, digest.algorithm)
        except (DataError, ValueError):
            return BlobDamaged(row, Problem.ROW, row.location)
        except BlobUnknown:
            return BlobDamaged(row, Problem.MISSING, row.location)
        except RegistryError as error:
            return BlobDamaged(row, Problem.UNREADABLE, str(error.__cause__ or error))
        return None if really == digest else BlobDamaged(row, Problem.CONTENT, str(really))

    def _hash(self, location: str, algorithm: str) -> Digest:
        """The digest of what is there; blocking, for a thread."""
        running = hasher(algorithm)
        offset = 0
        with self._subject.store.open(location) as content:
            while not self._stopping.is_set() and (data := content.read(offset, _READ_BYTES)):
                running.update(data)
                offset += len(data)
                self._subject.counts.read += len(data)
                self._subject.progress.advance(len(data))
        return Digest(algorithm, running.hexdigest())

    def _identity(self, location: str) -> Identity:
        """What changes when a commit puts a new file in the old one's place; None where nothing is there."""
        try:
            with self._subject.store.open(location) as content:
                descriptor = content.fileno()
                if descriptor is None:
                    return 0, 0, content.size
                found = os.fstat(descriptor)
        except (BlobUnknown, ValueError):
            return None
        return found.st_dev, found.st_ino, found.st_ctime_ns


async def losers(subject: Subject, key: bytes) -> list[Loser]:
    """The manifests that cannot be pulled whole without this content: those that name it, and the indexes above."""
    found: dict[tuple[str, bytes], None] = {}
    waiting = [(namer.repository, namer.key) for namer in await audit.namers(subject.database, key)]
    while waiting:
        repository, manifest = waiting.pop()
        if (repository, manifest) in found:
            continue
        found[repository, manifest] = None
        above = await audit.namers(subject.database, manifest)
        waiting += [(namer.repository, namer.key) for namer in above if namer.repository == repository]
    return [
        Loser(repository, str(Digest.from_key(manifest)), await tags_of(subject, repository, manifest))
        for repository, manifest in sorted(found)
    ]


async def tags_of(subject: Subject, repository: str, key: bytes) -> tuple[str, ...]:
    """The tags of a manifest; none where its row is damaged."""
    try:
        return tuple(await inventory.tags_of(subject.database, parse_name(repository), Digest.from_key(key)))
    except (RegistryError, DataError):
        return ()
