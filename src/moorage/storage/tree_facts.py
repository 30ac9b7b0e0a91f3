"""What can be read from a link tree, right or wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from moorage.oci.digest import Digest
from moorage.oci.reference import Tag

Parts = frozenset[str]
"""Folders of a repository: of PARTS those that it has."""

CONTENT: Final = frozenset({"_layers", "_manifests"})
PARTS: Final = CONTENT | {"_uploads"}


class Flaw(Enum):
    """What is wrong with a place in the tree."""

    NAME = "a name that no repository can have"
    SYMLINK = "a symbolic link"
    UNREADABLE = "it cannot be read"
    LINK_EMPTY = "an empty link file"
    LINK_GARBAGE = "a link file that holds no digest"
    LINK_OTHER = "a link file that names another digest than its folder"
    TAG_NAME = "a name that no tag can have"
    TAG_WITHOUT_CURRENT = "a tag that names nothing"


class Trouble(NamedTuple):
    """A flaw at *path*, below the tree's root; *detail* says more where there is more to say."""

    flaw: Flaw
    path: str
    detail: str = ""


class Link(NamedTuple):
    """A link file: the digest it holds, None where it was not read, and when it was written, in nanoseconds."""

    target: Digest | None
    written: int


@dataclass(slots=True)
class RepositoryLinks:
    """What the tree says of one repository, by the digests in its paths; *present* False where it has no folder.

    *history* are the digests that a tag has named before, with the times of their link files. *uploads* are sizes in
    bytes. *unreadable*: a part of it is not here, though it may exist.
    """

    present: bool = False
    layers: dict[Digest, Link] = field(default_factory=dict)
    revisions: dict[Digest, Link] = field(default_factory=dict)
    tags: dict[Tag, Link] = field(default_factory=dict)
    history: dict[Tag, list[tuple[Digest, int]]] = field(default_factory=dict)
    uploads: list[int] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    unreadable: bool = False
    files: int = 0


class Known(NamedTuple):
    """What need not be read again: digests that are linked, and tags by what they name."""

    layers: Collection[Digest] = ()
    revisions: Collection[Digest] = ()
    tags: Mapping[Tag, Digest] = {}
