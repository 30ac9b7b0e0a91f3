"""Manifests and tags: each body is what its digest says, its row is what follows from it, what it names is there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from moorage.errors import DataError, ManifestInvalid, RegistryError
from moorage.metadata import audit, blobs, manifests
from moorage.metadata.audit import ManifestRow
from moorage.metadata.database import Reader
from moorage.metadata.manifests import NewManifest
from moorage.oci.digest import Digest
from moorage.oci.manifest import Descriptor, Manifest, parse_manifest
from moorage.registry.check.blobs import tags_of
from moorage.registry.check.findings import ContentMissing, FactsWrong, Finding, ManifestDamaged, TagStray
from moorage.registry.check.part import Subject, WriteLinks
from moorage.registry.push import new_manifest

# Bodies of 4 MiB at the most, and a kilobyte as a rule.
_PAGE: Final = 20


class Manifests:
    """The part of a check that reads all manifests; *keys* are their digests' keys once it has."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._database = subject.database
        self.keys: set[bytes] = set()
        self._last = 0

    async def find(self) -> list[Finding]:
        """Go through all rows."""
        self._subject.progress.step("manifests", await audit.manifest_count(self._database))
        found: list[Finding] = []
        while page := await audit.manifest_page(self._database, after=self._last, count=_PAGE):
            for row in page:
                found += await self._look(row)
                self.keys.add(row.key)
                self._subject.counts.manifests += 1
                self._subject.progress.advance()
            self._last = page[-1].id
        found += [TagStray(repository, tag) for repository, tag in await audit.stray_tags(self._database)]
        return found

    async def catch_up(self) -> None:
        """Learn the keys of what was pushed since `find`."""
        while page := await audit.manifest_page(self._database, after=self._last, count=_PAGE):
            self.keys.update(row.key for row in page)
            self._last = page[-1].id

    async def still(self, finding: Finding) -> bool:
        """Look at the row anew, which may be gone; its tags are found out here."""
        if isinstance(finding, TagStray):
            return (finding.repository, finding.tag) in await audit.stray_tags(self._database)
        assert isinstance(finding, ManifestDamaged | FactsWrong | ContentMissing)
        row = await audit.manifest(self._database, finding.row.id)
        if row is None or not any(_same(finding, now) for now in await self._look(row)):
            return False
        if not isinstance(finding, FactsWrong):
            finding.tags = await tags_of(self._subject, row.repository, row.key)
        return True

    async def repair(self, findings: Sequence[Finding], write_links: WriteLinks | None) -> None:
        """Write a row anew from its body, or a body anew from the file that the link tree has of it."""
        for finding in findings:
            if isinstance(finding, FactsWrong):
                row_id = finding.row.id
                finding.repaired = await self._database.write(partial(_correct, manifest_id=row_id))
            elif isinstance(finding, ManifestDamaged) and finding.body:
                body = self._body_in_tree(Digest.from_key(finding.row.key))
                if body is not None:
                    finding.repaired = await self._restore(finding.row.id, body)

    async def _restore(self, manifest_id: int, body: bytes) -> bool:
        async def work(transaction: Reader) -> bool:
            await audit.set_body(transaction, manifest_id, body)
            return await _correct(transaction, manifest_id)

        try:
            return await self._database.write(work)
        except ManifestInvalid:
            return False

    async def _look(self, row: ManifestRow) -> list[Finding]:
        try:
            digest = Digest.from_key(row.key)
        except DataError as error:
            return [ManifestDamaged(row, str(error), body=False)]
        if Digest.of(row.body, digest.algorithm) != digest:
            return [ManifestDamaged(row, f"its body hashes to {Digest.of(row.body, digest.algorithm)}", body=True)]
        try:
            parsed, facts = _understand(row, digest)
        except ManifestInvalid as error:
            return [ManifestDamaged(row, error.message, body=False)]
        wrong = _differences(row, facts)
        if await audit.references(self._database, row.id) != {named.key for named in facts.references}:
            wrong = (*wrong, "references")
        return [*([FactsWrong(row, wrong)] if wrong else []), *await self._look_below(row, parsed)]

    async def _look_below(self, row: ManifestRow, parsed: Manifest) -> list[Finding]:
        """By the rules of a push: what it would refuse is damage."""
        validation = self._subject.validation
        found: list[Finding] = []
        for descriptor, needed in validation.blobs(parsed):
            size = await blobs.size_in(self._database, row.repository_id, descriptor.digest)
            found += _lacking(row, descriptor, size, needed=needed)
        for descriptor, needed in validation.children(parsed):
            child = await manifests.find(self._database, row.repository_id, descriptor.digest)
            size = child[2] if child else await blobs.size_in(self._database, row.repository_id, descriptor.digest)
            found += _lacking(row, descriptor, size, needed=needed)
        return found

    def _body_in_tree(self, digest: Digest) -> bytes | None:
        store = self._subject.store
        try:
            with store.open(store.locate(digest)) as content:
                body = content.read(0, content.size)
        except RegistryError:
            return None
        return body if Digest.of(body, digest.algorithm) == digest else None


def _understand(row: ManifestRow, digest: Digest) -> tuple[Manifest, NewManifest]:
    """What the body says; its own media type counts where the row's makes no sense. Raises ManifestInvalid."""
    try:
        parsed = parse_manifest(row.body, row.media_type)
    except ManifestInvalid as error:
        try:
            parsed = parse_manifest(row.body, None)
        except ManifestInvalid:
            raise error from None
    return parsed, new_manifest(parsed, digest, row.body)


def _differences(row: ManifestRow, facts: NewManifest) -> tuple[str, ...]:
    expected = {
        "media_type": facts.media_type,
        "size": len(facts.body),
        "artifact_type": facts.artifact_type,
        "subject": facts.subject.key if facts.subject else None,
        "referrer": facts.referrer,
    }
    return tuple(column for column, value in expected.items() if getattr(row, column) != value)


async def _correct(transaction: Reader, manifest_id: int) -> bool:
    row = await audit.manifest(transaction, manifest_id)
    if row is not None:
        _, facts = _understand(row, Digest.from_key(row.key))
        await audit.set_facts(transaction, manifest_id, facts)
        await manifests.set_references(transaction, manifest_id, facts.references)
    return True


def _lacking(row: ManifestRow, descriptor: Descriptor, size: int | None, *, needed: bool) -> list[ContentMissing]:
    if size == descriptor.size or (size is None and not needed):
        return []
    return [ContentMissing(row, descriptor.digest, descriptor.size, size)]


def _same(before: Finding, now: Finding) -> bool:
    """Whether it is the same trouble with the same row."""
    if isinstance(before, ContentMissing) and isinstance(now, ContentMissing):
        return before.digest == now.digest
    return type(before) is type(now)
