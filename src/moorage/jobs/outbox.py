"""Writing the classic link tree behind the database.

A row of the outbox says only which key to look at again; what is true is read from the database when the row is worked
off. So a row may be worked off twice, late, or together with a newer one, and the tree still ends up right. Rows are
removed once the files they led to have reached the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from moorage.jobs.referrers_tags import ReferrersTags
from moorage.metadata import blobs, manifests, outbox
from moorage.metadata.database import Database, Reader
from moorage.metadata.outbox import Change, Kind
from moorage.oci.digest import Digest
from moorage.oci.name import RepositoryName, parse_name
from moorage.oci.reference import Tag, parse_tag
from moorage.oci.referrers_tag import subject_of
from moorage.storage.links import ClassicLinks

# One flush of the disk for so many changes (arbitrary, but bounded: they are held in memory meanwhile).
_BATCH = 500


class LinkWriter:
    """Works the outbox off into *links*; *written* is called in the transaction that says so of a batch."""

    def __init__(
        self,
        database: Database,
        links: ClassicLinks,
        written: Callable[[Reader], Awaitable[None]] | None = None,
    ) -> None:
        self._database = database
        self._links = links
        self._written = written
        self._referrers = ReferrersTags(database, links)

    async def work_off(self) -> bool:
        """Write what a batch of changes leads to; True when there may be more."""
        changes = await outbox.next_changes(self._database, _BATCH)
        if not changes:
            return False
        # Many referrers of one image come together, and their list is written once.
        subjects: dict[tuple[RepositoryName, Digest], bool] = {}
        for kind, repository, key in dict.fromkeys((change.kind, change.repository, change.key) for change in changes):
            name = parse_name(repository)
            subject = await self._write(kind, name, key)
            if subject is not None:
                subjects[name, subject] = subjects.get((name, subject), False) or kind is Kind.TAG
        for (name, subject), tagged in subjects.items():
            await self._referrers.write(name, subject, tagged=tagged)
        await asyncio.to_thread(self._links.flush)
        await self._forget(changes)
        return len(changes) == _BATCH

    async def _forget(self, changes: Sequence[Change]) -> None:
        async def work(transaction: Reader) -> None:
            await outbox.remove(transaction, changes)
            if self._written is not None:
                await self._written(transaction)

        await self._database.write(work, durable=False)

    async def _write(self, kind: Kind, repository: RepositoryName, key: bytes) -> Digest | None:
        """Write one link; the digest whose referrers are to be listed anew, if any."""
        match kind:
            case Kind.LAYER:
                await self._layer(repository, Digest.from_key(key))
            case Kind.REVISION:
                return await self._revision(repository, Digest.from_key(key))
            case Kind.TAG:
                tag = parse_tag(key.decode("ascii"))
                if (subject := subject_of(tag)) is not None:
                    return subject
                await self._tag(repository, tag)
        return None

    async def _layer(self, repository: RepositoryName, digest: Digest) -> None:
        if await blobs.find(self._database, repository, digest) is None:
            self._links.remove_layer(repository, digest)
        else:
            self._links.put_layer(repository, digest)

    async def _revision(self, repository: RepositoryName, digest: Digest) -> Digest | None:
        """Write the manifest's link; its subject, if it has or had one."""
        found = await manifests.pull(self._database, repository, digest)
        if found is None or found.body is None:
            self._links.remove_revision(repository, digest)
            return self._referrers.deleted_subject(digest)
        self._links.put_manifest_blob(digest, found.body)
        self._links.put_revision(repository, digest)
        return await self._referrers.subject(repository, digest)

    async def _tag(self, repository: RepositoryName, tag: Tag) -> None:
        found = await manifests.stat(self._database, repository, tag)
        if found is None:
            self._links.remove_tag(repository, tag)
        else:
            self._links.put_tag(repository, tag, found.digest)
