"""Referrers tags: lists of referrers for registries that have no such list.

Clients find what refers to a manifest by the tag `sha256-<hex>` there (distribution-spec, "Referrers Tag Schema").
Another registry may serve our volume one day: we write such an index for it, and mark it as ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import orjson

from moorage.errors import NameInvalid
from moorage.oci.digest import Digest
from moorage.oci.media_types import OCI_INDEX
from moorage.oci.name import RepositoryName, parse_name
from moorage.oci.reference import Tag

ANNOTATION: Final = "org.moorage.referrers-of"
"""What marks an index as ours: the repository, an at sign, and the subject's digest."""

MOST_BYTES: Final = 4 * 1024 * 1024
"""The size of a manifest that every registry takes; what refers beyond it is not listed."""

LONGEST_HEAD: Final = 512
"""So many of an index's first bytes hold the mark, whatever the repository's name."""

_TAG: Final = re.compile(r"sha256-([0-9a-f]{64})", re.ASCII)
_HEAD: Final = re.compile(
    rb'\{"annotations":\{"' + re.escape(ANNOTATION).encode("ascii") + rb'":"([^"@\\]{1,255})@sha256:([0-9a-f]{64})"\}'
)


def tag_of(subject: Digest) -> Tag | None:
    """The tag that lists what refers to *subject*; None where its digest is not sha256, and no client agrees on it."""
    return Tag(f"sha256-{subject.hex}") if subject.algorithm == "sha256" else None


def subject_of(tag: Tag) -> Digest | None:
    """The subject of such a tag; None for any other."""
    match = _TAG.fullmatch(tag)
    return Digest("sha256", match[1]) if match else None


def build(repository: RepositoryName, subject: Digest, descriptors: Iterable[bytes]) -> bytes:
    """The index of *descriptors*, each as JSON, of what refers to *subject*."""
    mark = orjson.dumps({ANNOTATION: f"{repository}@{subject}"})
    kept: list[bytes] = []
    size = len(mark) + LONGEST_HEAD
    for descriptor in descriptors:
        size += len(descriptor) + 1
        if size > MOST_BYTES:
            break
        kept.append(descriptor)
    rest = b',"schemaVersion":2,"mediaType":"%s","manifests":[%s]}' % (OCI_INDEX.encode("ascii"), b",".join(kept))
    return b'{"annotations":' + mark + rest


def read_mark(head: bytes) -> tuple[RepositoryName, Digest] | None:
    """Whose referrers the index that begins with *head* lists, if `build` made it."""
    match = _HEAD.match(head)
    if match is None:
        return None
    try:
        return parse_name(match[1].decode("ascii")), Digest("sha256", match[2].decode("ascii"))
    except (NameInvalid, UnicodeDecodeError):
        return None
