"""Deleting: rows go at once, bytes wait for the sweep."""

from __future__ import annotations

from moorage.clock import Clock
from moorage.errors import BlobUnknown, ManifestUnknown
from moorage.metadata import blobs, manifests, outbox, repositories, tags
from moorage.metadata.database import Database, Reader
from moorage.oci.digest import Digest
from moorage.oci.name import RepositoryName
from moorage.oci.reference import Tag
from moorage.registry.gates import Gates


class Delete:
    """Deletes of tags, manifests and blobs."""

    def __init__(self, database: Database, clock: Clock, gates: Gates) -> None:
        self._database = database
        self._clock = clock
        self._gates = gates

    async def tag(self, repository: RepositoryName, tag: Tag, principal: str) -> None:
        """Delete the tag and keep what it names. Raises ManifestUnknown."""
        self._gates.require_delete()

        async def work(transaction: Reader) -> None:
            repository_id = await repositories.find(transaction, repository)
            now = self._clock.now()
            if repository_id is None or not await tags.remove(transaction, repository_id, tag, principal, now):
                raise ManifestUnknown(detail={"name": repository, "reference": tag})
            await outbox.note(transaction, outbox.Kind.TAG, repository, tag.encode("ascii"))

        await self._database.write(work)

    async def manifest(self, repository: RepositoryName, digest: Digest, principal: str) -> None:
        """Delete the manifest and every tag that names it, whoever refers to it. Raises ManifestUnknown."""
        self._gates.require_delete()

        async def work(transaction: Reader) -> None:
            repository_id = await repositories.find(transaction, repository)
            found = None if repository_id is None else await manifests.find(transaction, repository_id, digest)
            if found is None:
                raise ManifestUnknown(detail={"name": repository, "reference": str(digest)})
            await outbox.note_tags(transaction, repository, found[0])
            await tags.remove_all(transaction, found[0], principal, self._clock.now())
            await manifests.remove(transaction, found[0])
            await outbox.note(transaction, outbox.Kind.REVISION, repository, digest.key)

        await self._database.write(work)

    async def blob(self, repository: RepositoryName, digest: Digest) -> None:
        """Take the blob out of the repository. Raises BlobUnknown."""
        self._gates.require_delete()

        async def work(transaction: Reader) -> None:
            repository_id = await repositories.find(transaction, repository)
            if repository_id is None or not await blobs.unlink(transaction, repository_id, digest):
                raise BlobUnknown(detail={"digest": str(digest)})
            await outbox.note(transaction, outbox.Kind.LAYER, repository, digest.key)

        await self._database.write(work)
