"""What a check can find. Facts only: how they are told is the caller's.

Finding
├── DatabaseDamaged     the engine says that its own structures do not hold
├── RowsWithoutParent   rows whose foreign key leads nowhere
├── TreeEmpty           rows, and not one blob file: the disk is not mounted
├── BlobDamaged         a blob's bytes are missing, wrong, or cannot be read
├── ManifestDamaged     a manifest's body is not what its digest says, or cannot be understood
├── FactsWrong          a manifest's row contradicts its body
├── ContentMissing      a manifest names content that its repository does not have
├── NameDamaged         a repository or tag has a name that none can have
├── TagStray            a tag names another repository's manifest
├── LinkWrong           a link file is missing, or says something else than the database
├── LinksUnknown        link files of things that the database does not know
├── LinksBehind         link files that the server has yet to write (harmless)
├── SessionLost         an upload session whose bytes are gone (harmless)
├── BytesUnclaimed      staged bytes without a session (harmless)
└── FilesUnnamed        blob files that no row names (harmless)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Final, NamedTuple

from moorage.errors import DataError
from moorage.metadata.audit import BlobRow, ManifestRow
from moorage.metadata.outbox import Kind
from moorage.oci.digest import Digest
from moorage.oci.name import RepositoryName

# Rows that only lead from one thing to another: where one end is gone, nothing is lost with them.
_ONLY_LINKS: Final = frozenset({"repository_blobs", "manifest_references", "tag_history"})


@dataclass(slots=True)
class Finding:
    """*harmless*: nothing is lost by it, and the registry serves as it should.

    *repaired* is set once it is no more; until then it is there.
    """

    harmless: ClassVar[bool] = False
    repaired: bool = field(default=False, init=False)

    @property
    def mendable(self) -> bool:
        """Whether a repair can help."""
        return False


@dataclass(slots=True)
class DatabaseDamaged(Finding):
    """*text* is in the engine's words."""

    text: str


@dataclass(slots=True)
class RowsWithoutParent(Finding):
    """*rows* rows of *table* lead by *column* to no row of *parent*."""

    table: str
    column: str
    parent: str
    rows: int

    @property
    def mendable(self) -> bool:
        """Whether nothing but links is removed with them."""
        return self.table in _ONLY_LINKS


@dataclass(slots=True)
class TreeEmpty(Finding):
    """The database has *blobs* blobs, and the store none."""

    blobs: int


class Loser(NamedTuple):
    """A manifest that cannot be pulled whole, and the tags by which it would be."""

    repository: str
    manifest: str
    tags: tuple[str, ...]


class Problem(Enum):
    """What may be wrong with bytes."""

    MISSING = "missing"
    SIZE = "size"
    CONTENT = "content"
    UNREADABLE = "unreadable"
    ROW = "row"


_LOST: Final = frozenset({Problem.MISSING, Problem.SIZE, Problem.CONTENT})


@dataclass(slots=True)
class BlobDamaged(Finding):
    """*detail* is what was found instead: a size, a digest, an error, a damaged row's location.

    *released*: no repository claims to have the blob any more, so that a push sends it again.
    """

    row: BlobRow
    problem: Problem
    detail: str
    losers: list[Loser] = field(default_factory=list)
    released: bool = False

    @property
    def mendable(self) -> bool:
        """Whether the bytes are lost for certain, so that they can be asked for again."""
        return self.problem in _LOST

    @property
    def name(self) -> str:
        """The digest as text, or what stands in its place."""
        return name_of(self.row.key)


@dataclass(slots=True)
class ManifestDamaged(Finding):
    """*why* is for a person; *body*: the body has another digest, so that it may be found elsewhere."""

    row: ManifestRow
    why: str
    body: bool
    tags: tuple[str, ...] = ()

    @property
    def mendable(self) -> bool:
        """Whether its body may be found elsewhere."""
        return self.body

    @property
    def name(self) -> str:
        """Repository and digest."""
        return f"{self.row.repository}@{name_of(self.row.key)}"


@dataclass(slots=True)
class FactsWrong(Finding):
    """*columns* of the manifest's row, or "references", contradict its body."""

    row: ManifestRow
    columns: tuple[str, ...]

    @property
    def mendable(self) -> bool:
        """True: the row follows from the body."""
        return True

    @property
    def name(self) -> str:
        """Repository and digest."""
        return f"{self.row.repository}@{name_of(self.row.key)}"


@dataclass(slots=True)
class ContentMissing(Finding):
    """The manifest names *digest* with *size* bytes; the repository has it with *held* bytes, or not at all."""

    row: ManifestRow
    digest: Digest
    size: int
    held: int | None
    tags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Repository and digest of the manifest."""
        return f"{self.row.repository}@{name_of(self.row.key)}"


@dataclass(slots=True)
class NameDamaged(Finding):
    """A row's name outside the grammar; *tag* None where it is the repository's."""

    repository: str
    tag: str | None


@dataclass(slots=True)
class TagStray(Finding):
    """A tag that cannot be pulled."""

    repository: str
    tag: str


@dataclass(slots=True)
class LinkWrong(Finding):
    """The link file of *key*, a digest's key or a tag, or for a manifest the file with its body."""

    kind: Kind
    repository: RepositoryName
    key: bytes

    @property
    def mendable(self) -> bool:
        """True: the link follows from the rows."""
        return True

    @property
    def name(self) -> str:
        """The tag or the digest."""
        return self.key.decode("ascii") if self.kind is Kind.TAG else name_of(self.key)


@dataclass(slots=True)
class LinksUnknown(Finding):
    """Link files of one repository: tags, and numbers of blobs and manifests. *known*: the database has the repository.

    *deleted* are those of the tags whose deletion the database remembers.
    """

    repository: RepositoryName
    known: bool
    tags: tuple[str, ...]
    deleted: tuple[str, ...]
    layers: int
    revisions: int

    @property
    def mendable(self) -> bool:
        """Whether some of it is to be removed."""
        return bool(self.deleted)


@dataclass(slots=True)
class LinksBehind(Finding):
    """*count* changes wait to be written; *oldest* is the id of the first."""

    harmless: ClassVar[bool] = True
    count: int
    oldest: int


@dataclass(slots=True)
class SessionLost(Finding):
    """A session that says it has *offset* bytes."""

    harmless: ClassVar[bool] = True
    upload_id: str
    repository: str
    offset: int


@dataclass(slots=True)
class BytesUnclaimed(Finding):
    """*size* staged bytes of nobody."""

    harmless: ClassVar[bool] = True
    upload_id: str
    size: int


@dataclass(slots=True)
class FilesUnnamed(Finding):
    """Locations, digests and sizes of the files; *kept*: the link tree may name them, so they are not to be removed."""

    harmless: ClassVar[bool] = True
    files: list[tuple[str, Digest, int]]
    kept: bool

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(size for _, _, size in self.files)


def name_of(key: bytes) -> str:
    """The digest whose key this is, or the key itself where it is damaged."""
    try:
        return str(Digest.from_key(key))
    except DataError:
        return f"0x{key[:70].hex()}"
