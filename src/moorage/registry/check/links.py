"""The classic link tree says what the database says.

What the outbox still holds is no difference: the tree is written behind the database. What only the tree knows is never
touched, except a tag whose deletion the database remembers: it may be all that is left of somebody's registry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from moorage.errors import DataError, NameInvalid, RegistryError, TagInvalid
from moorage.metadata import audit, blobs, manifests, outbox, repositories
from moorage.metadata.database import Reader
from moorage.metadata.outbox import Kind
from moorage.oci.digest import Digest
from moorage.oci.name import RepositoryName, parse_name
from moorage.oci.reference import Tag, parse_tag
from moorage.oci.referrers_tag import LONGEST_HEAD, read_mark, subject_of
from moorage.registry.check.findings import Finding, LinksBehind, LinksUnknown, LinkWrong, NameDamaged
from moorage.registry.check.part import Subject, WriteLinks

_PAGE: Final = 200
# How long a server that runs is waited for, which writes links twice a second.
_ATTEMPTS: Final = 40
_WAIT_SECONDS: Final = 0.25


class Links:
    """The part of a check that reads all link files; *unknown*: some of them belong to nothing in the database.

    *served* tells whether a server runs, and works the outbox off.
    """

    def __init__(self, subject: Subject, *, served: Callable[[], bool]) -> None:
        self._subject = subject
        self._database = subject.database
        self._links = subject.links
        self._served = served
        self.unknown = False

    async def find(self) -> list[Finding]:
        """Go through all repositories of the database, then through those that only the tree has."""
        self._subject.progress.step("links", await audit.repository_count(self._database))
        known: set[str] = set()
        found: list[Finding] = []
        after = 0
        while page := await audit.repository_page(self._database, after=after, count=_PAGE):
            for repository_id, name in page:
                found += await self._compare(repository_id, name)
                known.add(name)
                self._subject.counts.repositories += 1
                self._subject.progress.advance()
            after = page[-1][0]
        for repository in self._links.repositories():
            if repository not in known:
                found += await self._unknown(repository, _Rows())
        self.unknown = any(isinstance(finding, LinksUnknown) for finding in found)
        return [*found, *await self._behind()]

    async def still(self, finding: Finding) -> bool:
        """Look at the same link, or the same repository's, anew; what the outbox asks for is not wrong."""
        if isinstance(finding, LinkWrong):
            noted = await audit.is_noted(self._database, finding.kind, finding.repository, finding.key)
            return not noted and await self._is_wrong(finding)
        if isinstance(finding, LinksBehind):
            now = await self._behind()
            stuck = bool(now) and (not self._served() or now[0].oldest == finding.oldest)
            finding.count = now[0].count if now else 0
            return stuck
        if isinstance(finding, NameDamaged):
            return True
        assert isinstance(finding, LinksUnknown)
        unknown = await self._unknown(finding.repository, await self._rows_of(finding.repository))
        if not unknown:
            return False
        finding.known, finding.tags, finding.deleted = unknown[0].known, unknown[0].tags, unknown[0].deleted
        finding.layers, finding.revisions = unknown[0].layers, unknown[0].revisions
        return True

    async def repair(self, findings: Sequence[Finding], write_links: WriteLinks | None) -> None:
        """Have the links written: at once, or by the server."""
        keys: list[tuple[Kind, RepositoryName, bytes]] = []
        for finding in findings:
            if isinstance(finding, LinkWrong):
                keys.append((finding.kind, finding.repository, finding.key))
            elif isinstance(finding, LinksUnknown):
                keys += [(Kind.TAG, finding.repository, tag.encode("ascii")) for tag in finding.deleted]

        async def work(transaction: Reader) -> None:
            for key in keys:
                await outbox.note(transaction, *key)

        if keys:
            await self._database.write(work)
        if write_links is not None:
            while await write_links():
                pass
        else:
            await self._wait()
        for finding in findings:
            finding.repaired = not await self.still(finding)

    async def _wait(self) -> None:
        """Return when the outbox is empty, or when the server has had ten seconds for it."""
        for _ in range(_ATTEMPTS):
            if not await audit.noted(self._database):
                return
            await self._subject.clock.sleep(_WAIT_SECONDS)

    async def _behind(self) -> list[LinksBehind]:
        oldest = await outbox.next_changes(self._database, 1)
        return [LinksBehind(await audit.noted(self._database), oldest[0].id)] if oldest else []

    async def _compare(self, repository_id: int, name: str) -> list[Finding]:
        """The repository's links against its rows."""
        try:
            repository = parse_name(name)
        except NameInvalid:
            return [NameDamaged(name, None)]
        rows = await self._rows(repository_id)
        self._subject.counts.tags += len(rows.tags)
        self._subject.counts.links += len(rows.layers) + len(rows.revisions) + len(rows.tags)
        layers, revisions = dict(self._links.layers(repository)), dict(self._links.revisions(repository))
        tags = dict(self._links.tags(repository))
        found: list[Finding] = [
            LinkWrong(Kind.LAYER, repository, digest.key)
            for digest in rows.layers
            if not _leads_to(layers.get(digest), digest)
        ]
        for digest, size in rows.revisions.items():
            if revisions.get(digest) != digest or not self._has_body(digest, size):
                found.append(LinkWrong(Kind.REVISION, repository, digest.key))
        for tag, digest in rows.tags.items():
            if tags.get(tag) != digest and not self._is_ours(repository, tag):
                found.append(LinkWrong(Kind.TAG, repository, tag.encode("ascii")))
        found += [NameDamaged(name, tag) for tag in rows.damaged]
        return [*found, *await self._unknown(repository, rows)]

    async def _rows_of(self, repository: RepositoryName) -> _Rows:
        repository_id = await repositories.find(self._database, repository)
        return _Rows() if repository_id is None else await self._rows(repository_id)

    async def _rows(self, repository_id: int) -> _Rows:
        """What the database has of the repository; damaged keys and names are told of by the other parts."""
        rows = _Rows()
        for key in await audit.layers(self._database, repository_id):
            with suppress(DataError):
                rows.layers.add(Digest.from_key(key))
        for key, size in (await audit.revisions(self._database, repository_id)).items():
            with suppress(DataError):
                rows.revisions[Digest.from_key(key)] = size
        for tag, key in (await audit.tag_targets(self._database, repository_id)).items():
            with suppress(DataError):
                try:
                    rows.tags[parse_tag(tag)] = Digest.from_key(key)
                except TagInvalid:
                    rows.damaged.append(tag)
        return rows

    async def _unknown(self, repository: RepositoryName, rows: _Rows) -> list[LinksUnknown]:
        """At most one finding: what only the tree has of the repository, and the outbox does not ask for.

        Links to bytes that are not there are no content: another registry's garbage collection leaves them. Neither
        are our lists of referrers, which another registry may have replaced by others.
        """
        layers = [digest for digest, _ in self._links.layers(repository) if digest not in rows.layers]
        layer_keys = [digest.key for digest in layers if self._is_there(digest)]
        revisions = [digest for digest, _ in self._links.revisions(repository) if digest not in rows.revisions]
        revision_keys = [digest.key for digest in revisions if self._is_there(digest) and not self._mark(digest)]
        tags = sorted(
            tag
            for tag, _ in self._links.tags(repository)
            if tag not in rows.tags and not self._is_ours(repository, tag)
        )
        layer_keys = await self._unasked(Kind.LAYER, repository, layer_keys)
        revision_keys = await self._unasked(Kind.REVISION, repository, revision_keys)
        strange = await self._unasked(Kind.TAG, repository, [tag.encode("ascii") for tag in tags])
        tags = [parse_tag(tag.decode("ascii")) for tag in strange]
        if not (layer_keys or revision_keys or tags):
            return []
        deleted = [tag for tag in tags if await audit.was_deleted(self._database, repository, tag)]
        known = await repositories.find(self._database, repository) is not None
        return [LinksUnknown(repository, known, tuple(tags), tuple(deleted), len(layer_keys), len(revision_keys))]

    async def _unasked(self, kind: Kind, repository: RepositoryName, keys: list[bytes]) -> list[bytes]:
        return [key for key in keys if not await audit.is_noted(self._database, kind, repository, key)]

    async def _is_wrong(self, finding: LinkWrong) -> bool:
        """Whether the database has the thing, and the tree does not say so."""
        repository = finding.repository
        if finding.kind is Kind.TAG:
            tag = parse_tag(finding.key.decode("ascii"))
            named = await manifests.stat(self._database, repository, tag)
            same = named is None or self._links.tag(repository, tag) == named.digest
            return not same and not self._is_ours(repository, tag)
        digest = Digest.from_key(finding.key)
        if finding.kind is Kind.LAYER:
            row = await blobs.find(self._database, repository, digest)
            return row is not None and not _leads_to(self._links.layer(repository, digest), digest)
        stored = await manifests.stat(self._database, repository, digest)
        linked = self._links.revision(repository, digest) == digest
        return stored is not None and not (linked and self._has_body(digest, stored.size))

    def _is_ours(self, repository: RepositoryName, tag: Tag) -> bool:
        """Whether the tree's tag is a list of referrers that we wrote for registries without any."""
        target = self._links.tag(repository, tag) if subject_of(tag) is not None else None
        mark = self._mark(target) if target is not None else None
        return mark is not None and mark == (repository, subject_of(tag))

    def _mark(self, digest: Digest) -> tuple[RepositoryName, Digest] | None:
        """Whose referrers the manifest lists, if it is such a list."""
        head = self._links.manifest_blob(digest, LONGEST_HEAD)
        return read_mark(head) if head else None

    def _is_there(self, digest: Digest) -> bool:
        """Whether the digest has bytes, as far as it can be seen."""
        try:
            return self._subject.store.stat(self._subject.store.locate(digest)) is not None
        except RegistryError:
            return True

    def _has_body(self, digest: Digest, size: int) -> bool:
        """Whether the manifest's bytes lie in the tree too."""
        store = self._subject.store
        try:
            with store.open(store.locate(digest)) as content:
                return content.size == size and Digest.of(content.read(0, size), digest.algorithm) == digest
        except RegistryError:
            return False


def _leads_to(target: Digest | None, digest: Digest) -> bool:
    """Whether a blob's link is right; another registry links what was pushed by sha512 to the sha256 of it."""
    return target is not None and (target == digest or target.algorithm != digest.algorithm)


@dataclass(slots=True)
class _Rows:
    """A repository in the database: digests of blobs, sizes of manifests, what tags name, and tags that are none."""

    layers: set[Digest] = field(default_factory=set)
    revisions: dict[Digest, int] = field(default_factory=dict)
    tags: dict[Tag, Digest] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
