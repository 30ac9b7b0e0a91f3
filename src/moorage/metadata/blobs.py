"""Blobs, and which repository may see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import and_, bindparam, delete, select

from moorage.metadata.database import Reader, Row, Statement
from moorage.metadata.repositories import END
from moorage.metadata.schema import blobs, repositories, repository_blobs
from moorage.oci.digest import Digest
from moorage.oci.name import RepositoryName


class StoredBlob(NamedTuple):
    """Durable bytes: *size* in bytes, *location* in the words of the store that holds them."""

    id: int
    size: int
    location: str


_linked = repositories.join(repository_blobs, repository_blobs.c.repository_id == repositories.c.id).join(
    blobs, blobs.c.id == repository_blobs.c.blob_id
)
_IN_REPOSITORY = Statement(
    lambda insert: (
        select(blobs.c.id, blobs.c.size, blobs.c.location)
        .select_from(_linked)
        .where(repositories.c.name == bindparam("repository"), blobs.c.digest == bindparam("digest"))
    )
)
_IN_RANGE = Statement(
    lambda insert: (
        select(blobs.c.id, blobs.c.size, blobs.c.location)
        .select_from(_linked)
        .where(
            blobs.c.digest == bindparam("digest"),
            repositories.c.name >= bindparam("low"),
            repositories.c.name < bindparam("high"),
        )
        .limit(1)
    )
)
_STORED = Statement(lambda insert: select(blobs.c.id).where(blobs.c.digest == bindparam("digest")))
_ADD = Statement(
    lambda insert: (
        insert(blobs)
        .values(
            digest=bindparam("digest"),
            size=bindparam("size"),
            location=bindparam("location"),
            created_at=bindparam("now"),
        )
        .on_conflict_do_update(index_elements=["digest"], set_={"digest": bindparam("digest")})
        .returning(blobs.c.id)
    )
)
_LINK = Statement(
    lambda insert: (
        insert(repository_blobs)
        .values(repository_id=bindparam("repository_id"), blob_id=bindparam("blob_id"), linked_at=bindparam("now"))
        .on_conflict_do_nothing()
    )
)
_SIZE_IN = Statement(
    lambda insert: (
        select(blobs.c.size)
        .select_from(repository_blobs.join(blobs, blobs.c.id == repository_blobs.c.blob_id))
        .where(repository_blobs.c.repository_id == bindparam("repository_id"), blobs.c.digest == bindparam("digest"))
    )
)
_UNLINK = Statement(
    lambda insert: (
        delete(repository_blobs)
        .where(
            and_(
                repository_blobs.c.repository_id == bindparam("repository_id"),
                repository_blobs.c.blob_id
                == select(blobs.c.id).where(blobs.c.digest == bindparam("digest")).scalar_subquery(),
            )
        )
        .returning(repository_blobs.c.blob_id)
    )
)


def _blob(rows: Sequence[Row]) -> StoredBlob | None:
    return StoredBlob(*rows[0]) if rows else None


async def find(reader: Reader, repository: RepositoryName, digest: Digest) -> StoredBlob | None:
    """The blob as *repository* sees it, or None."""
    return _blob(await reader.rows(_IN_REPOSITORY, {"repository": repository, "digest": digest.key}))


async def find_in_range(reader: Reader, low: str, high: str | None, digest: Digest) -> StoredBlob | None:
    """The blob if any repository with a name in [*low*, *high*) has it; *high* None has no end."""
    return _blob(await reader.rows(_IN_RANGE, {"digest": digest.key, "low": low, "high": high or END}))


async def size_in(reader: Reader, repository_id: int, digest: Digest) -> int | None:
    """The blob's size if the repository has it."""
    rows = await reader.rows(_SIZE_IN, {"repository_id": repository_id, "digest": digest.key})
    return rows[0][0] if rows else None


async def add(transaction: Reader, digest: Digest, size: int, location: str, now: int) -> int:
    """The id of the blob; a second push of the same digest keeps the first row."""
    rows = await transaction.rows(_STORED, {"digest": digest.key})
    if not rows:
        rows = await transaction.rows(_ADD, {"digest": digest.key, "size": size, "location": location, "now": now})
    return int(rows[0][0])


async def link(transaction: Reader, repository_id: int, blob_id: int, now: int) -> None:
    """Let the repository see the blob; twice is once."""
    await transaction.rows(_LINK, {"repository_id": repository_id, "blob_id": blob_id, "now": now})


async def unlink(transaction: Reader, repository_id: int, digest: Digest) -> bool:
    """Take the blob out of the repository's sight; False where it was not in it. Its bytes stay for the sweep."""
    return bool(await transaction.rows(_UNLINK, {"repository_id": repository_id, "digest": digest.key}))
