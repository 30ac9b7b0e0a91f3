"""What one repository's links and its rows make of each other.

The rules, for a key that the outbox does not ask for (of those the database knows more than the tree):

- The tree has it and the database does not: it is taken over. Whatever we deleted is gone from the tree before the
  outbox forgets it, so nothing that was deleted here comes back; a tag whose deletion is remembered, and younger than
  its file, does not either.
- The database has it and the tree does not: it is removed here only if somebody removed it there, which the time of the
  folder that lost it shows. Else the tree has lost it, and the link is written again.
- Both have the tag, and it names two manifests: the tree is right if its file is younger than our last writing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from moorage.metadata.bulk import BlobLink, ManifestRow
from moorage.metadata.manifests import NewManifest
from moorage.metadata.outbox import Kind
from moorage.oci.digest import Digest
from moorage.oci.manifest import Manifest
from moorage.oci.name import RepositoryName
from moorage.oci.reference import Tag
from moorage.oci.referrers_tag import ANNOTATION
from moorage.registry.adopt.contents import Contents
from moorage.registry.adopt.findings import Fault, Report
from moorage.storage import layout
from moorage.storage.tree import ClassicTree
from moorage.storage.tree_facts import Known, RepositoryLinks


@dataclass(slots=True)
class Rows:
    """What the database has of a repository; *deleted* are tags that once were, with the times, in microseconds."""

    exists: bool = False
    layers: set[Digest] = field(default_factory=set)
    revisions: set[Digest] = field(default_factory=set)
    tags: dict[Tag, Digest] = field(default_factory=dict)
    deleted: dict[Tag, int] = field(default_factory=dict)

    @property
    def known(self) -> Known:
        """What the tree need not be read for."""
        return Known(self.layers, self.revisions, self.tags)


class NewTag(NamedTuple):
    """A tag to set, and what it named before, the oldest first: keys of digests, each with its time in microseconds."""

    name: Tag
    key: bytes
    at: int
    history: Sequence[tuple[bytes, int]]


@dataclass(slots=True)
class Plan:
    """What is to be changed of one repository. *first*: it is on the list of those to adopt; *new*: it has no rows.

    *last* is False for a part of a larger plan, after which more follows: until then nobody may take it for whole.
    """

    repository: RepositoryName
    first: bool
    new: bool
    present: bool
    blobs: list[BlobLink] = field(default_factory=list)
    manifests: list[ManifestRow] = field(default_factory=list)
    tags: list[NewTag] = field(default_factory=list)
    moved: list[NewTag] = field(default_factory=list)
    gone_layers: list[Digest] = field(default_factory=list)
    gone_revisions: list[Digest] = field(default_factory=list)
    gone_tags: list[Tag] = field(default_factory=list)
    rewrite: list[tuple[Kind, bytes]] = field(default_factory=list)
    last: bool = True

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (
            self.first
            or self.blobs
            or self.manifests
            or self.tags
            or self.moved
            or self.gone_layers
            or self.gone_revisions
            or self.gone_tags
            or self.rewrite
        )


class Planner:
    """Makes plans; *since*, in nanoseconds, is when we last wrote into the tree. What is wrong goes to *report*.

    Unless it is a *dry_run*, blobs get second names where they need them.
    """

    def __init__(
        self, tree: ClassicTree, contents: Contents, report: Report, since: int, *, dry_run: bool = False
    ) -> None:
        self._dry_run = dry_run
        self._tree = tree
        self._contents = contents
        self._report = report
        self._since = since

    def plan(self, repository: RepositoryName, links: RepositoryLinks, rows: Rows, *, first: bool) -> Plan:
        """What is to be done, after which tree and database say the same of the repository."""
        plan = Plan(repository, first, first or not rows.exists, links.present)
        sizes = self._layers(plan, links, rows)
        new, generated = self._revisions(plan, links, rows, sizes)
        self._tags(plan, links, rows, new, generated)
        if not links.unreadable:
            self._gone(plan, links, rows)
        return plan

    def _layers(self, plan: Plan, links: RepositoryLinks, rows: Rows) -> dict[Digest, int]:
        """Plan the blobs that are new; the sizes of those."""
        sizes: dict[Digest, int] = {}
        for digest, link in links.layers.items():
            if digest in rows.layers:
                continue
            size = self._contents.blob(digest)
            if not isinstance(size, int) and link.target is not None and link.target.algorithm != digest.algorithm:
                size = self._contents.add_name(digest, link.target, dry_run=self._dry_run)
            if isinstance(size, int):
                sizes[digest] = size
                plan.blobs.append(BlobLink(digest.key, size, self._tree.location(digest)))
            else:
                fault, detail = size
                self._report.tell(fault, f"{plan.repository}@{digest}", detail)
        return sizes

    def _revisions(
        self, plan: Plan, links: RepositoryLinks, rows: Rows, sizes: Mapping[Digest, int]
    ) -> tuple[dict[Digest, int], set[Digest]]:
        """Plan the manifests that are new; their sizes, and the digests of those that we wrote for others only."""
        generated: set[Digest] = set()
        read: list[tuple[Manifest, Digest]] = []
        new: dict[Digest, int] = {}
        for digest, link in links.revisions.items():
            if digest in rows.revisions:
                continue
            found = self._contents.manifest(digest)
            if isinstance(found[0], Fault):
                fault, detail = found
                self._report.tell(fault, f"{plan.repository}@{digest}", str(detail))
                continue
            parsed, manifest = found
            assert isinstance(parsed, Manifest)
            assert isinstance(manifest, NewManifest)
            if ANNOTATION in parsed.annotations:
                generated.add(digest)
                self._report.generated += 1
                continue
            read.append((parsed, digest))
            new[digest] = len(manifest.body)
            plan.manifests.append(_row(manifest, link.written // 1000))
        there = {**sizes, **new}
        for parsed, digest in read:
            self._look_below(f"{plan.repository}@{digest}", parsed, there, rows)
        return new, generated

    def _look_below(self, where: str, parsed: Manifest, sizes: Mapping[Digest, int], rows: Rows) -> None:
        """Tell of what the manifest names and its repository does not have; pulls of it fail, there as here."""
        for descriptor in (*parsed.blobs, *parsed.children):
            digest = descriptor.digest
            size = sizes.get(digest)
            if size is None:
                if digest not in rows.layers and digest not in rows.revisions:
                    self._report.tell(Fault.CONTENT_MISSING, where, f"it names {digest}")
            elif size != descriptor.size:
                detail = f"{digest} has {size} bytes, and not {descriptor.size}"
                self._report.tell(Fault.CONTENT_SIZE, where, detail)

    def _tags(
        self, plan: Plan, links: RepositoryLinks, rows: Rows, new: Mapping[Digest, int], generated: set[Digest]
    ) -> None:
        there = rows.revisions | new.keys()
        for tag, link in links.tags.items():
            target, known = link.target, rows.tags.get(tag)
            if target is None or target in {known, *generated}:
                continue
            if target not in there:
                self._report.tell(Fault.TAG_DANGLING, f"{plan.repository}:{tag}", f"it names {target}")
                continue
            at = link.written // 1000
            if known is None and rows.deleted.get(tag, -1) < at:
                named = [entry for entry in links.history.get(tag, ()) if entry[0] != target]
                plan.tags.append(NewTag(tag, target.key, at, [(digest.key, then // 1000) for digest, then in named]))
            elif known is not None and link.written >= self._since:
                named = [entry for entry in links.history.get(tag, ()) if entry[0] != target]
                recent = [(digest.key, then // 1000) for digest, then in named if then >= self._since]
                plan.moved.append(NewTag(tag, target.key, at, recent))
            else:
                plan.rewrite.append((Kind.TAG, tag.encode("ascii")))

    def _gone(self, plan: Plan, links: RepositoryLinks, rows: Rows) -> None:
        """Plan for what only the database has."""
        name = plan.repository
        for digest in rows.layers - links.layers.keys():
            if self._was_removed(f"{layout.layers(name)}/{digest.algorithm}/{digest.hex}/link"):
                plan.gone_layers.append(digest)
            else:
                plan.rewrite.append((Kind.LAYER, digest.key))
        for digest in rows.revisions - links.revisions.keys():
            if self._was_removed(f"{layout.revisions(name)}/{digest.algorithm}/{digest.hex}/link"):
                plan.gone_revisions.append(digest)
            else:
                plan.rewrite.append((Kind.REVISION, digest.key))
        for tag in rows.tags.keys() - links.tags.keys():
            if self._was_removed(f"{layout.tag(name, tag)}/current/link"):
                plan.gone_tags.append(tag)
            else:
                plan.rewrite.append((Kind.TAG, tag.encode("ascii")))

    def _was_removed(self, path: str) -> bool:
        return not self._tree.exists(path) and self._tree.changed_since(path, self._since)


def _row(manifest: NewManifest, at: int) -> ManifestRow:
    return ManifestRow(
        manifest.digest.key,
        manifest.media_type,
        len(manifest.body),
        manifest.artifact_type,
        manifest.subject.key if manifest.subject else None,
        manifest.referrer,
        at,
        manifest.body,
        [digest.key for digest in manifest.references],
    )
