"""What is wrong with a volume that another registry wrote, and what is done about each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from moorage.storage.tree_facts import Flaw, Trouble


class Fault(Enum):
    """What is wrong with something that a link leads to."""

    BLOB_MISSING = "a blob's link without its bytes"
    BLOB_DAMAGED = "bytes that are not what their digest says"
    BLOB_ALIAS = "a blob's second digest"
    BODY_MISSING = "a manifest's link without its bytes"
    BODY_DAMAGED = "a manifest that is not what its digest says"
    SCHEMA1 = "a Docker schema 1 manifest"
    MANIFEST_INVALID = "a manifest that not all clients read alike"
    CONTENT_MISSING = "a manifest that names what its repository does not have"
    CONTENT_SIZE = "a manifest that says another size than its content has"
    TAG_DANGLING = "a tag of a manifest that its repository does not have"
    SYMLINKED = "a blob that is a symbolic link"
    BYTES_UNREADABLE = "bytes that cannot be read"
    TREE_EMPTY = "a link tree without any repository"


ACTIONS: Final[dict[Flaw | Fault, str]] = {
    Flaw.NAME: "left out; rename the folder, and its images are found",
    Flaw.SYMLINK: "not followed; put the folder itself there, or mount it there (mount --bind)",
    Flaw.UNREADABLE: "left out, and kept where it was known before; give the volume to the server's user (chown -R)",
    Flaw.LINK_EMPTY: "taken by its folder's name, which says the digest; moorage check --repair writes it anew",
    Flaw.LINK_GARBAGE: "taken by its folder's name, which says the digest; moorage check --repair writes it anew",
    Flaw.LINK_OTHER: "taken by its folder's name, which says the digest; moorage check --repair writes it anew",
    Flaw.TAG_NAME: "left out",
    Flaw.TAG_WITHOUT_CURRENT: "left out; nobody could pull it. Its history names what it may have been",
    Fault.BLOB_MISSING: "left out: the registry asks for it again when an image with it is pushed",
    Fault.BLOB_DAMAGED: "left out: the registry asks for it again when an image with it is pushed",
    Fault.BLOB_ALIAS: "left out under this digest; under its own it is there",
    Fault.BODY_MISSING: "left out; push it again from a machine that has it",
    Fault.BODY_DAMAGED: "left out; push it again from a machine that has it",
    Fault.SCHEMA1: "left out: no client of today pulls it; push the image again with one of 2017 or later",
    Fault.MANIFEST_INVALID: "left out: it could not be pushed here either",
    Fault.CONTENT_MISSING: "taken as it is, and cannot be pulled whole; push it again from a machine that has it",
    Fault.CONTENT_SIZE: "taken as it is, and clients will refuse it; push it again from a machine that has it",
    Fault.TAG_DANGLING: "left out; nobody could pull it",
    Fault.SYMLINKED: "left out; put the file itself there",
    Fault.BYTES_UNREADABLE: "left out; give the volume to the server's user (chown -R)",
    Fault.TREE_EMPTY: "nothing is changed: is the disk mounted?",
}
"""What is done about each, and what a person can do."""


class Finding(NamedTuple):
    """One thing that is wrong: *where* is a path below the tree or what the protocol calls it."""

    what: Flaw | Fault
    where: str
    detail: str = ""


HARMLESS: Final = frozenset({Flaw.LINK_EMPTY, Flaw.LINK_GARBAGE, Flaw.LINK_OTHER, Fault.BLOB_MISSING, Fault.BLOB_ALIAS})
"""Nothing is lost by these: what they lead to is there, or no manifest that is told of names it."""

# What is told of each kind; of the others only the number (arbitrary, but bounded: a volume may be broken all over).
_MOST_ALIKE: Final = 1000


_FOUND: Final = (
    "repositories",
    "tags",
    "manifests",
    "blobs",
    "bytes",
    "links",
    "uploads",
    "upload_bytes",
    "referrers_tags",
    "generated",
)


@dataclass(slots=True)
class Numbers:
    """Numbers of things; a blob is counted in each of its repositories."""

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    blobs: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.repositories + self.tags + self.manifests + self.blobs


@dataclass(slots=True)
class Report:
    """What was looked at and found, and what was changed or would be.

    *blobs* and *bytes* count each blob once, and only in a dry run. *moved* are tags, *lost* blobs whose files are
    gone, *rewritten* link files to be written from the database. *generated* are referrers tags that we wrote
    ourselves, for registries without a referrers list. *stranded* are manifests that registry:2 and :3 cannot serve.
    """

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    links: int = 0
    uploads: int = 0
    upload_bytes: int = 0
    referrers_tags: int = 0
    generated: int = 0
    added: Numbers = field(default_factory=Numbers)
    moved: int = 0
    removed: Numbers = field(default_factory=Numbers)
    lost: int = 0
    rewritten: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[Flaw | Fault] = field(default_factory=Counter)
    stranded: list[str] = field(default_factory=list)

    def tell(self, what: Flaw | Fault, where: str, detail: str = "") -> None:
        """Keep a finding, or count it where there are very many alike."""
        self.counts[what] += 1
        if self.counts[what] <= _MOST_ALIKE:
            self.findings.append(Finding(what, where, detail))

    def tell_tree(self, trouble: Trouble) -> None:
        """Keep a flaw of the tree."""
        self.tell(trouble.flaw, trouble.path, trouble.detail)

    def add(self, other: Report) -> None:
        """Count in what another report has found; not what it has changed."""
        for name in _FOUND:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        room = Counter({what: _MOST_ALIKE - count for what, count in self.counts.items()})
        for finding in other.findings:
            if room.setdefault(finding.what, _MOST_ALIKE) > 0:
                room[finding.what] -= 1
                self.findings.append(finding)
        self.counts += other.counts

    @property
    def changes(self) -> int:
        """How many rows were changed, or would be."""
        return self.added.total + self.moved + self.removed.total + self.lost

    @property
    def broken(self) -> int:
        """How many things could not be taken over as they should be."""
        return sum(count for what, count in self.counts.items() if what not in HARMLESS)


def changes(report: Report) -> str:
    """What was changed, or would be, in one line."""
    added, removed = report.added, report.removed
    numbers = [
        (added.repositories, "new repository", "new repositories"),
        (added.tags, "new tag", "new tags"),
        (added.manifests, "new manifest", "new manifests"),
        (added.blobs, "new blob", "new blobs"),
        (report.moved, "tag moved", "tags moved"),
        (removed.tags, "tag removed", "tags removed"),
        (removed.manifests, "manifest removed", "manifests removed"),
        (removed.blobs, "blob removed", "blobs removed"),
        (report.lost, "blob collected as garbage", "blobs collected as garbage"),
        (report.rewritten, "link file to write anew", "link files to write anew"),
    ]
    return ", ".join(f"{count:,} {one if count == 1 else many}" for count, one, many in numbers if count)
