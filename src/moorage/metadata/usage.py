"""What uses what, for the sweep: everything of one repository at a time, as rows.

Only whoever has the volume for himself can act on it: between two statements here a push could use anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Exists, bindparam, delete, select

from moorage.metadata.database import Reader, Statement
from moorage.metadata.schema import blobs, manifest_references, manifests, repository_blobs, tags


class UsedManifest(NamedTuple):
    """A manifest of a repository: its digest's and its subject's key, its size in bytes, whether a tag names it."""

    id: int
    key: bytes
    subject: bytes | None
    size: int
    tagged: bool


class LinkedBlob(NamedTuple):
    """A blob that a repository sees; *size* in bytes."""

    id: int
    key: bytes
    size: int


_MANIFESTS = Statement(
    lambda insert: (
        select(manifests.c.id, manifests.c.digest, manifests.c.subject, manifests.c.size, _tagged().label("tagged"))
        .where(manifests.c.repository_id == bindparam("repository_id"))
        .order_by(manifests.c.id)
    )
)
_REFERENCES = Statement(
    lambda insert: (
        select(manifest_references.c.manifest_id, manifest_references.c.digest)
        .select_from(manifest_references.join(manifests, manifests.c.id == manifest_references.c.manifest_id))
        .where(manifests.c.repository_id == bindparam("repository_id"))
    )
)
_LINKED = Statement(
    lambda insert: (
        select(blobs.c.id, blobs.c.digest, blobs.c.size)
        .select_from(repository_blobs.join(blobs, blobs.c.id == repository_blobs.c.blob_id))
        .where(repository_blobs.c.repository_id == bindparam("repository_id"))
        .order_by(blobs.c.id)
    )
)
_UNLINK = Statement(
    lambda insert: delete(repository_blobs).where(
        repository_blobs.c.repository_id == bindparam("repository_id"),
        repository_blobs.c.blob_id == bindparam("blob_id"),
    )
)
_UNLINKED = Statement(
    lambda insert: (
        select(blobs.c.id, blobs.c.digest, blobs.c.size)
        .where(
            blobs.c.id > bindparam("after"),
            ~select(repository_blobs.c.blob_id).where(repository_blobs.c.blob_id == blobs.c.id).exists(),
        )
        .order_by(blobs.c.id)
        .limit(bindparam("count"))
    )
)


def _tagged() -> Exists:
    return select(tags.c.name).where(tags.c.manifest_id == manifests.c.id).exists()


async def manifests_of(reader: Reader, repository_id: int) -> list[UsedManifest]:
    """All manifests of the repository, oldest first."""
    rows = await reader.rows(_MANIFESTS, {"repository_id": repository_id})
    return [UsedManifest(row[0], row[1], row[2], row[3], bool(row[4])) for row in rows]


async def references_of(reader: Reader, repository_id: int) -> list[tuple[int, bytes]]:
    """What the repository's manifests name: a manifest's id and a digest's key each."""
    return [(row[0], row[1]) for row in await reader.rows(_REFERENCES, {"repository_id": repository_id})]


async def blobs_of(reader: Reader, repository_id: int) -> list[LinkedBlob]:
    """All blobs that the repository sees."""
    return [LinkedBlob(*row) for row in await reader.rows(_LINKED, {"repository_id": repository_id})]


async def unlink(transaction: Reader, repository_id: int, blob_ids: Sequence[int]) -> None:
    """Take the blobs out of the repository's sight."""
    for blob_id in blob_ids:
        await transaction.rows(_UNLINK, {"repository_id": repository_id, "blob_id": blob_id})


async def unlinked_page(reader: Reader, *, after: int, count: int) -> list[LinkedBlob]:
    """Up to *count* blobs with ids above *after* that no repository sees."""
    return [LinkedBlob(*row) for row in await reader.rows(_UNLINKED, {"after": after, "count": count})]
