"""Pulling: one statement says what and where, the store gives the bytes."""

from __future__ import annotations

from moorage.errors import BlobUnknown, ManifestUnknown
from moorage.metadata import blobs, manifests
from moorage.metadata.blobs import StoredBlob
from moorage.metadata.database import Database
from moorage.metadata.manifests import StoredManifest
from moorage.oci.digest import Digest
from moorage.oci.name import RepositoryName
from moorage.oci.reference import Tag
from moorage.registry.recent import RecentBytes
from moorage.storage.blobs import BlobStore, Content


class Pull:
    """Reads of manifests and blobs, each asked of the database anew, so that every replica sees every push at once."""

    def __init__(self, database: Database, store: BlobStore, recent: RecentBytes) -> None:
        self._database = database
        self._store = store
        self._recent = recent

    def version(self) -> bytes | None:
        """See `Database.version`."""
        return self._database.version()

    async def manifest(self, repository: RepositoryName, reference: Tag | Digest, *, body: bool) -> StoredManifest:
        """The manifest, with its body or only its facts. Raises ManifestUnknown."""
        ask = manifests.pull if body else manifests.stat
        found = await ask(self._database, repository, reference)
        if found is None:
            raise ManifestUnknown(detail={"name": repository, "reference": str(reference)})
        return found

    async def blob(self, repository: RepositoryName, digest: Digest) -> StoredBlob:
        """The blob as this repository sees it. Raises BlobUnknown."""
        found = await blobs.find(self._database, repository, digest)
        if found is None:
            raise BlobUnknown(detail={"digest": str(digest)})
        return found

    def content(self, blob: StoredBlob) -> bytes | Content:
        """The blob's bytes if it is small, else something to send from, which the caller closes.

        Raises BlobUnknown when the store has lost it, Unavailable when it cannot be read.
        """
        if blob.size > self._recent.largest:
            return self._store.open(blob.location)
        data = self._recent.get(blob.location)
        if data is None:
            with self._store.open(blob.location) as content:
                data = content.read(0, blob.size)
            self._recent.put(blob.location, data)
        return data
