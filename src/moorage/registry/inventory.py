"""What a person wants to know of a registry's content, beyond what the protocol's lists say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from moorage.errors import ManifestInvalid, ManifestUnknown, NameUnknown
from moorage.metadata import audit, inventory, manifests, repositories
from moorage.metadata.database import Database
from moorage.metadata.inventory import RepositoryFacts
from moorage.oci.digest import Digest
from moorage.oci.manifest import parse_manifest
from moorage.oci.name import RepositoryName
from moorage.oci.reference import Tag

# Bodies are read along, 4 MiB each at the most.
_PAGE = 50


class TaggedManifest(NamedTuple):
    """A tag and the manifest that it names; *size* is in bytes, with everything that is below it, each blob once."""

    tag: Tag
    digest: Digest
    media_type: str
    size: int
    pushed_at: int


class Inventory:
    """Reads of whole lists, with facts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def repositories(self) -> AsyncIterator[RepositoryFacts]:
        """All repositories by name."""
        after = ""
        while page := await inventory.repositories_page(self._database, after=after, count=_PAGE):
            for facts in page:
                yield facts
            after = page[-1].name

    async def tags(self, repository: RepositoryName) -> AsyncIterator[TaggedManifest]:
        """All tags of the repository by name. Raises NameUnknown."""
        if await repositories.find(self._database, repository) is None:
            raise NameUnknown(detail={"name": repository})
        after = ""
        while page := await inventory.tags_page(self._database, repository, after=after, count=_PAGE):
            for tag, pushed_at, digest, media_type, body in page:
                size = await self._size(repository, digest, media_type, body)
                yield TaggedManifest(tag, digest, media_type, size, pushed_at)
            after = page[-1].name

    async def tags_of(self, repository: RepositoryName, digest: Digest) -> list[Tag]:
        """The tags of one manifest. Raises ManifestUnknown."""
        if await manifests.stat(self._database, repository, digest) is None:
            raise ManifestUnknown(detail={"name": repository, "reference": str(digest)})
        return await inventory.tags_of(self._database, repository, digest)

    async def named_by(self, repository: RepositoryName, digest: Digest) -> list[Digest]:
        """The repository's indexes that name the manifest."""
        namers = await audit.namers(self._database, digest.key)
        return [Digest.from_key(namer.key) for namer in namers if namer.repository == repository]

    async def _size(self, repository: RepositoryName, digest: Digest, media_type: str, body: bytes) -> int:
        sizes = {digest: len(body)}
        waiting = [(media_type, body)]
        while waiting:
            media_type, body = waiting.pop()
            try:
                parsed = parse_manifest(body, media_type)
            except ManifestInvalid:
                continue
            sizes |= {blob.digest: blob.size for blob in parsed.blobs}
            for child in parsed.children:
                if child.digest in sizes:
                    continue
                found = await manifests.pull(self._database, repository, child.digest)
                if found is not None and found.body is not None:
                    waiting.append((found.media_type, found.body))
                # Without a manifest it is a blob, as in the indexes of BuildKit's cache.
                sizes[child.digest] = child.size
        return sum(sizes.values())
