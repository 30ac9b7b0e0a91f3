"""Writing lists of referrers into the link tree, for registries that have no other way to find signatures."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson

from moorage.errors import ManifestInvalid
from moorage.metadata import manifests
from moorage.metadata.database import Database
from moorage.oci.digest import Digest
from moorage.oci.manifest import parse_stored_manifest
from moorage.oci.name import RepositoryName
from moorage.oci.reference import Tag
from moorage.oci.referrers_tag import LONGEST_HEAD, build, read_mark, tag_of
from moorage.storage.links import ClassicLinks

_PAGE = 200


class ReferrersTags:
    """Keeps the referrers tags of the tree; the database knows nothing of them, and our own tag lists neither."""

    def __init__(self, database: Database, links: ClassicLinks) -> None:
        self._database = database
        self._links = links

    async def subject(self, repository: RepositoryName, digest: Digest) -> Digest | None:
        """What the manifest refers to, by the database, which has it."""
        return await manifests.subject(self._database, repository, digest)

    def deleted_subject(self, digest: Digest) -> Digest | None:
        """What a manifest referred to that was deleted, as long as its bytes are left."""
        body = self._links.manifest_blob(digest)
        if body is None or b"subject" not in body:
            return None
        try:
            parsed = parse_stored_manifest(body)
        except ManifestInvalid:
            return None
        return parsed.subject.digest if parsed.subject else None

    async def write(self, repository: RepositoryName, subject: Digest, *, tagged: bool) -> None:
        """Let the tree's tag list what refers to *subject*, beside what a tag of that name lists that was pushed.

        *tagged*: such a tag was pushed or deleted; else one that only the tree has may be another registry's.
        """
        tag = tag_of(subject)
        if tag is None:
            return
        before = self._links.tag(repository, tag)
        pushed = await manifests.pull(self._database, repository, tag)
        listed = _listed(pushed.body) if pushed and pushed.body else {}
        digest: Digest | None = None
        new = [found async for digest, found in self._referrers(repository, subject) if str(digest) not in listed]
        if new:
            body = build(repository, subject, [*listed.values(), *new])
            digest = Digest.of(body)
            if digest != before:
                self._links.put_manifest_blob(digest, body)
                self._links.put_revision(repository, digest)
                self._links.put_tag(repository, tag, digest)
        elif pushed is not None:
            digest = pushed.digest
            self._links.put_tag(repository, tag, digest)
        elif before is not None and (tagged or self._is_ours(repository, tag, before)):
            self._links.remove_tag(repository, tag)
        if before is not None and before != digest:
            self._forget(repository, tag, before)

    async def _referrers(self, repository: RepositoryName, subject: Digest) -> AsyncIterator[tuple[Digest, bytes]]:
        after = None
        while page := await manifests.referrers(
            self._database, repository, subject, artifact_type=None, after=after, count=_PAGE
        ):
            for found in page:
                yield found
            after = page[-1][0]

    def _is_ours(self, repository: RepositoryName, tag: Tag, digest: Digest) -> bool:
        body = self._links.manifest_blob(digest, LONGEST_HEAD)
        mark = read_mark(body) if body else None
        return mark is not None and mark[0] == repository and tag_of(mark[1]) == tag

    def _forget(self, repository: RepositoryName, tag: Tag, digest: Digest) -> None:
        """Remove an index of ours that the tag named before; no other repository has it, since it names its own."""
        if self._is_ours(repository, tag, digest):
            self._links.remove_revision(repository, digest)
            self._links.remove_tag_history(repository, tag, digest)
            self._links.remove_manifest_blob(digest)


def _listed(body: bytes) -> dict[str, bytes]:
    """The entries of an index that somebody pushed, by their digests."""
    try:
        entries = orjson.loads(body)["manifests"]
        return {entry["digest"]: orjson.dumps(entry) for entry in entries}
    except (ValueError, KeyError, TypeError):
        return {}
