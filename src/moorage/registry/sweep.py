"""The offline sweep: what nothing uses any more, and its removal.

Rows go first, files after them: a crash in between leaves files that no row names, which the next sweep takes. The
volume belongs to whoever sweeps: nobody may push meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from moorage.metadata import audit, manifests, outbox, usage
from moorage.metadata.database import Reader
from moorage.metadata.usage import LinkedBlob, UsedManifest
from moorage.oci.digest import Digest
from moorage.registry.check.findings import FilesUnnamed
from moorage.registry.check.leftovers import Leftovers
from moorage.registry.check.links import Links
from moorage.registry.check.manifests import Manifests
from moorage.registry.check.part import Subject, WriteLinks

_PAGE: Final = 200
# Rows in one transaction (arbitrary; a commit's flush is long spread over so many).
_BATCH: Final = 500


@dataclass(slots=True)
class UnusedPart:
    """What of one repository is not used: manifests that no tag leads to, and blobs that no kept manifest names."""

    repository_id: int
    repository: str
    manifests: list[UsedManifest]
    blobs: list[LinkedBlob]


class UnusedFile(NamedTuple):
    """A file that no row will name; *size* in bytes."""

    location: str
    digest: Digest
    size: int


@dataclass(slots=True)
class Unused:
    """All that a sweep removes.

    *marked* is the number of blobs that stay. *kept* says that the files have to stay although no row names them:
    the link tree knows things that the database does not.
    """

    parts: list[UnusedPart] = field(default_factory=list)
    blobs: list[LinkedBlob] = field(default_factory=list)
    files: list[UnusedFile] = field(default_factory=list)
    marked: int = 0
    kept: bool = False

    @property
    def manifests(self) -> int:
        """How many manifests go."""
        return sum(len(part.manifests) for part in self.parts)

    @property
    def bytes(self) -> int:
        """How much room the files take."""
        return sum(file.size for file in self.files)


class Sweep:
    """Finds and removes what nothing uses.

    A blob is used in a repository where a manifest of that repository names it. With *untagged*, a manifest is used if
    a tag leads to it: the tag's own, the children of a used index, and whatever has a used manifest as its subject;
    without it every manifest is.
    """

    def __init__(self, subject: Subject, *, untagged: bool) -> None:
        self._subject = subject
        self._database = subject.database
        self._untagged = untagged

    async def find(self) -> Unused:
        """Look at everything; nothing is changed."""
        unused = Unused()
        held: dict[int, LinkedBlob] = {}
        remaining: set[int] = set()
        self._subject.progress.step("repositories", await audit.repository_count(self._database))
        gone_bodies: set[bytes] = set()
        kept_bodies: set[bytes] = set()
        async for repository_id, name in _repositories(self._database):
            part, stays, bodies = await self._part(repository_id, name)
            held.update((blob.id, blob) for blob in part.blobs)
            remaining |= stays
            kept_bodies |= bodies
            gone_bodies |= {manifest.key for manifest in part.manifests}
            if part.manifests or part.blobs:
                unused.parts.append(part)
            self._subject.progress.advance()
        unused.marked = len(remaining)
        unused.blobs = [blob for blob in held.values() if blob.id not in remaining]
        after = 0
        while page := await usage.unlinked_page(self._database, after=after, count=_PAGE):
            unused.blobs += page
            after = page[-1].id
        await self._look_at_files(unused, gone_bodies - kept_bodies)
        return unused

    async def remove(self, unused: Unused, write_links: WriteLinks) -> None:
        """Remove what was found; *write_links* brings the link tree up to date, which must not name what goes."""
        self._subject.progress.step("rows", unused.manifests + sum(len(part.blobs) for part in unused.parts))
        for part in unused.parts:
            for manifest in part.manifests:
                await self._remove_manifest(part, manifest)
            for batch in _batches(part.blobs):
                await self._unlink(part, batch)
        for batch in _batches(unused.blobs):
            await self._forget(batch)
        while await write_links():
            pass
        if unused.kept:
            return
        self._subject.progress.step("files", len(unused.files))
        for file in unused.files:
            await self._subject.store.delete(file.location)
            self._subject.progress.advance()

    async def _part(self, repository_id: int, name: str) -> tuple[UnusedPart, set[int], set[bytes]]:
        """What is unused of a repository, the ids of the blobs that stay in it, and the keys of its kept manifests."""
        found = await usage.manifests_of(self._database, repository_id)
        named: dict[int, set[bytes]] = {}
        for manifest_id, key in await usage.references_of(self._database, repository_id):
            named.setdefault(manifest_id, set()).add(key)
        kept = _used(found, named) if self._untagged else {manifest.id for manifest in found}
        used = {key for manifest_id in kept for key in named.get(manifest_id, ())}
        blobs = await usage.blobs_of(self._database, repository_id)
        part = UnusedPart(
            repository_id,
            name,
            [manifest for manifest in found if manifest.id not in kept],
            [blob for blob in blobs if blob.key not in used],
        )
        stays = {blob.id for blob in blobs if blob.key in used}
        return part, stays, {manifest.key for manifest in found if manifest.id in kept}

    async def _look_at_files(self, unused: Unused, bodies: set[bytes]) -> None:
        """Find the files of what goes, and those that no row names already."""
        links, rows = Links(self._subject, served=lambda: False), Manifests(self._subject)
        await rows.find()
        await links.find()
        unused.kept = links.unknown
        leftovers = Leftovers(self._subject, rows, lambda: links.unknown)
        for finding in await leftovers.find():
            if isinstance(finding, FilesUnnamed):
                unused.files += [UnusedFile(*file) for file in finding.files]
        going = {blob.key for blob in unused.blobs} | bodies
        named = {file.location for file in unused.files}
        for key in sorted(going):
            digest = Digest.from_key(key)
            location = self._subject.store.locate(digest)
            size = self._subject.store.stat(location)
            # A blob's bytes can be a manifest of a repository too, which keeps them.
            if size is not None and location not in named and (key in bodies or key not in rows.keys):
                unused.files.append(UnusedFile(location, digest, size))

    async def _remove_manifest(self, part: UnusedPart, manifest: UsedManifest) -> None:
        async def work(transaction: Reader) -> None:
            await manifests.remove(transaction, manifest.id)
            await outbox.note(transaction, outbox.Kind.REVISION, part.repository, manifest.key)

        await self._database.write(work)
        self._subject.progress.advance()

    async def _unlink(self, part: UnusedPart, batch: Sequence[LinkedBlob]) -> None:
        async def work(transaction: Reader) -> None:
            await usage.unlink(transaction, part.repository_id, [blob.id for blob in batch])
            for blob in batch:
                await outbox.note(transaction, outbox.Kind.LAYER, part.repository, blob.key)

        await self._database.write(work)
        self._subject.progress.advance(len(batch))

    async def _forget(self, batch: Sequence[LinkedBlob]) -> None:
        async def work(transaction: Reader) -> None:
            for blob in batch:
                await audit.release_blob(transaction, blob.id)

        await self._database.write(work)


def _used(found: Sequence[UsedManifest], named: dict[int, set[bytes]]) -> set[int]:
    """The ids of the manifests that a tag leads to."""
    by_key = {manifest.key: manifest for manifest in found}
    referrers: dict[bytes, list[UsedManifest]] = {}
    for manifest in found:
        if manifest.subject is not None:
            referrers.setdefault(manifest.subject, []).append(manifest)
    used: set[int] = set()
    waiting = [manifest for manifest in found if manifest.tagged]
    while waiting:
        manifest = waiting.pop()
        if manifest.id in used:
            continue
        used.add(manifest.id)
        waiting += [by_key[key] for key in named.get(manifest.id, ()) if key in by_key]
        waiting += referrers.get(manifest.key, ())
    return used


async def _repositories(database: Reader) -> AsyncIterator[tuple[int, str]]:
    after = 0
    while page := await audit.repository_page(database, after=after, count=_PAGE):
        for row in page:
            yield row
        after = page[-1][0]


def _batches(blobs: Sequence[LinkedBlob]) -> Iterator[Sequence[LinkedBlob]]:
    for start in range(0, len(blobs), _BATCH):
        yield blobs[start : start + _BATCH]
