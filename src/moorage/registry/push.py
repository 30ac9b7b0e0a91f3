"""Pushing a manifest: parse it, then let one transaction check and store everything it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from moorage.clock import Clock
from moorage.errors import DigestInvalid, ManifestBlobUnknown, ManifestInvalid, TooLarge
from moorage.metadata import blobs, manifests, outbox, repositories, tags
from moorage.metadata.database import Database, Reader
from moorage.metadata.manifests import NewManifest
from moorage.oci.digest import Digest
from moorage.oci.manifest import Descriptor, Manifest, parse_manifest
from moorage.oci.name import RepositoryName
from moorage.oci.reference import Tag
from moorage.registry.gates import Gates, Limits
from moorage.registry.validation import Validation

# Read on the loop, this much costs up to 10 ms, and a hostile 4 MiB a quarter of a second (measured).
_INLINE_BYTES = 256 * 1024


class Pushed(NamedTuple):
    """What a push stored: the digest it is known by, and the digest of its subject."""

    digest: Digest
    subject: Digest | None


class Push:
    """Pushes of manifests."""

    def __init__(self, database: Database, clock: Clock, gates: Gates, limits: Limits, validation: Validation) -> None:
        self._database = database
        self._clock = clock
        self._gates = gates
        self._limits = limits
        self._validation = validation

    async def manifest(
        self,
        repository: RepositoryName,
        reference: Tag | Digest,
        content_type: str | None,
        body: bytes,
        more_tags: Sequence[Tag],
        principal: str,
    ) -> Pushed:
        """Store the manifest under its digest, and let the tags name it: all of it or nothing.

        Pushed by digest it is known by that digest, of whichever algorithm; by tag, by its sha256. Raises
        ManifestInvalid, ManifestBlobUnknown, DigestInvalid, TooLarge.
        """
        self._gates.require_write()
        if len(body) > self._limits.manifest_bytes:
            raise TooLarge(f"a manifest may have at most {self._limits.manifest_bytes} bytes")
        if len(body) > _INLINE_BYTES:
            parsed, new = await asyncio.to_thread(self._read, reference, content_type, body)
        else:
            parsed, new = self._read(reference, content_type, body)
        tagged = (*more_tags,) if isinstance(reference, Digest) else (reference, *more_tags)

        async def work(transaction: Reader) -> None:
            now = self._clock.now()
            repository_id = await repositories.ensure(transaction, repository, now)
            await self._check_content(transaction, repository_id, parsed)
            manifest_id = await _store(transaction, repository_id, new, now)
            await outbox.note(transaction, outbox.Kind.REVISION, repository, new.digest.key)
            for tag in tagged:
                await tags.set_tag(transaction, repository_id, tag, manifest_id, new.digest, principal, now)
                await outbox.note(transaction, outbox.Kind.TAG, repository, tag.encode("ascii"))

        await self._database.write(work)
        return Pushed(new.digest, new.subject)

    def _read(self, reference: Tag | Digest, content_type: str | None, body: bytes) -> tuple[Manifest, NewManifest]:
        """What the body says, and the row it becomes; a hostile one keeps a processor busy for a while."""
        parsed = parse_manifest(body, content_type)
        self._validation.check_urls(parsed)
        return parsed, new_manifest(parsed, _digest(reference, body), body)

    async def _check_content(self, transaction: Reader, repository_id: int, parsed: Manifest) -> None:
        """Raises ManifestBlobUnknown for content that this repository lacks, ManifestInvalid for a wrong size.

        An index entry may be a manifest or, in BuildKit's cache indexes, a blob. The subject may be missing: it is
        often pushed later.
        """
        for descriptor, needed in self._validation.blobs(parsed):
            size = await blobs.size_in(transaction, repository_id, descriptor.digest)
            _check_size(descriptor, size, needed=needed)
        for descriptor, needed in self._validation.children(parsed):
            found = await manifests.find(transaction, repository_id, descriptor.digest)
            size = found[2] if found else await blobs.size_in(transaction, repository_id, descriptor.digest)
            _check_size(descriptor, size, needed=needed)


def _check_size(descriptor: Descriptor, size: int | None, *, needed: bool) -> None:
    if size is None:
        if needed:
            raise ManifestBlobUnknown(detail={"digest": str(descriptor.digest)})
    elif size != descriptor.size:
        raise ManifestInvalid(f"the manifest says that {descriptor.digest} has {descriptor.size} bytes; it has {size}")


def _digest(reference: Tag | Digest, body: bytes) -> Digest:
    if not isinstance(reference, Digest):
        return Digest.of(body)
    if Digest.of(body, reference.algorithm) != reference:
        raise DigestInvalid("the manifest does not have the digest it is pushed by", detail={"digest": str(reference)})
    return reference


def new_manifest(parsed: Manifest, digest: Digest, body: bytes) -> NewManifest:
    """What is stored of a manifest: all that follows from its body, and from its media type where it names none."""
    subject = parsed.subject.digest if parsed.subject else None
    named = [descriptor.digest for descriptor in (*parsed.blobs, *parsed.children, *parsed.nondistributable)]
    return NewManifest(
        digest=digest,
        media_type=parsed.media_type,
        body=body,
        artifact_type=parsed.artifact_type,
        subject=subject,
        referrer=_referrer(parsed, digest, len(body)) if subject else None,
        references=list(dict.fromkeys(named)),
    )


def _referrer(parsed: Manifest, digest: Digest, size: int) -> bytes:
    """The manifest's descriptor in its subject's list (distribution-spec, "Listing Referrers")."""
    descriptor: dict[str, object] = {"mediaType": parsed.media_type, "digest": str(digest), "size": size}
    if parsed.artifact_type:
        descriptor["artifactType"] = parsed.artifact_type
    if parsed.annotations:
        descriptor["annotations"] = parsed.annotations
    return orjson.dumps(descriptor)


async def _store(transaction: Reader, repository_id: int, new: NewManifest, now: int) -> int:
    """One digest has one media type in a repository: the same bytes must not be a manifest to one client and an index
    to another (CVE-2021-41190)."""
    manifest_id, media_type = await manifests.add(transaction, repository_id, new, now)
    if media_type != new.media_type:
        raise ManifestInvalid(f"{new.digest} is here already, as {media_type}")
    return manifest_id
