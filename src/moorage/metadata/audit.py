"""The rows as they are, for whoever holds them against each other and against what lies on the disk.

Lists go page by page in the order of ids or keys, each page a statement of its own: what changes meanwhile may be seen
before or after, so that whatever looks wrong is looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import BigInteger, bindparam, cast, delete, func, select, update

from moorage.metadata.database import Reader, Row, Statement
from moorage.metadata.manifests import NewManifest
from moorage.metadata.schema import (
    blobs,
    manifest_references,
    manifests,
    outbox,
    repositories,
    repository_blobs,
    tag_history,
    tags,
    uploads,
)
from moorage.metadata.uploads import Upload


class BlobRow(NamedTuple):
    """A row of blobs; *key* may be none of a digest where the row is damaged."""

    id: int
    key: bytes
    size: int
    location: str


class ManifestRow(NamedTuple):
    """A row of manifests, with its repository's name."""

    id: int
    repository_id: int
    repository: str
    key: bytes
    media_type: str
    size: int
    artifact_type: str | None
    subject: bytes | None
    referrer: bytes | None
    body: bytes


class Namer(NamedTuple):
    """A manifest that names some content."""

    repository: str
    key: bytes


_blob_columns = [blobs.c.id, blobs.c.digest, blobs.c.size, blobs.c.location]
_BLOB_PAGE = Statement(
    lambda insert: (
        select(*_blob_columns).where(blobs.c.id > bindparam("after")).order_by(blobs.c.id).limit(bindparam("count"))
    )
)
_BLOB = Statement(lambda insert: select(*_blob_columns).where(blobs.c.id == bindparam("blob_id")))
_BLOB_TOTALS = Statement(
    lambda insert: select(func.count(), cast(func.sum(blobs.c.size), BigInteger)).select_from(blobs)
)
_HAS_BLOB = Statement(lambda insert: select(blobs.c.id).where(blobs.c.digest == bindparam("digest")))

_manifest_columns = [
    manifests.c.id,
    manifests.c.repository_id,
    repositories.c.name,
    manifests.c.digest,
    manifests.c.media_type,
    manifests.c.size,
    manifests.c.artifact_type,
    manifests.c.subject,
    manifests.c.referrer,
    manifests.c.body,
]
_owned = manifests.join(repositories, repositories.c.id == manifests.c.repository_id)
_MANIFEST_PAGE = Statement(
    lambda insert: (
        select(*_manifest_columns)
        .select_from(_owned)
        .where(manifests.c.id > bindparam("after"))
        .order_by(manifests.c.id)
        .limit(bindparam("count"))
    )
)
_MANIFEST = Statement(
    lambda insert: select(*_manifest_columns).select_from(_owned).where(manifests.c.id == bindparam("manifest_id"))
)
_MANIFEST_COUNT = Statement(lambda insert: select(func.count()).select_from(manifests))
_REFERENCES = Statement(
    lambda insert: select(manifest_references.c.digest).where(
        manifest_references.c.manifest_id == bindparam("manifest_id")
    )
)
_NAMERS = Statement(
    lambda insert: (
        select(repositories.c.name, manifests.c.digest)
        .select_from(_owned.join(manifest_references, manifest_references.c.manifest_id == manifests.c.id))
        .where(manifest_references.c.digest == bindparam("digest"))
        .order_by(repositories.c.name, manifests.c.digest)
    )
)

_REPOSITORY_PAGE = Statement(
    lambda insert: (
        select(repositories.c.id, repositories.c.name)
        .where(repositories.c.id > bindparam("after"))
        .order_by(repositories.c.id)
        .limit(bindparam("count"))
    )
)
_REPOSITORY_COUNT = Statement(lambda insert: select(func.count()).select_from(repositories))
_LAYERS = Statement(
    lambda insert: (
        select(blobs.c.digest)
        .select_from(repository_blobs.join(blobs, blobs.c.id == repository_blobs.c.blob_id))
        .where(repository_blobs.c.repository_id == bindparam("repository_id"))
    )
)
_REVISIONS = Statement(
    lambda insert: select(manifests.c.digest, manifests.c.size).where(
        manifests.c.repository_id == bindparam("repository_id")
    )
)
_TAGS = Statement(
    lambda insert: (
        select(tags.c.name, manifests.c.digest)
        .select_from(tags.join(manifests, manifests.c.id == tags.c.manifest_id))
        .where(tags.c.repository_id == bindparam("repository_id"))
    )
)
_STRAY_TAGS = Statement(
    lambda insert: (
        select(repositories.c.name, tags.c.name)
        .select_from(
            tags.join(manifests, manifests.c.id == tags.c.manifest_id).join(
                repositories, repositories.c.id == tags.c.repository_id
            )
        )
        .where(manifests.c.repository_id != tags.c.repository_id)
    )
)
_LAST_OF_TAG = Statement(
    lambda insert: (
        select(tag_history.c.digest)
        .select_from(tag_history.join(repositories, repositories.c.id == tag_history.c.repository_id))
        .where(repositories.c.name == bindparam("repository"), tag_history.c.name == bindparam("tag"))
        .order_by(tag_history.c.id.desc())
        .limit(1)
    )
)

_UPLOAD_PAGE = Statement(
    lambda insert: (
        select(*[uploads.c[name] for name in Upload._fields])
        .where(uploads.c.id > bindparam("after"))
        .order_by(uploads.c.id)
        .limit(bindparam("count"))
    )
)
_IS_NOTED = Statement(
    lambda insert: (
        select(outbox.c.id)
        .where(
            outbox.c.kind == bindparam("kind"),
            outbox.c.repository == bindparam("repository"),
            outbox.c.key == bindparam("key"),
        )
        .limit(1)
    )
)
_NOTED = Statement(lambda insert: select(func.count()).select_from(outbox))

_SET_FACTS = Statement(
    lambda insert: (
        update(manifests)
        .where(manifests.c.id == bindparam("manifest_id"))
        .values(
            {name: bindparam(f"new_{name}") for name in ("media_type", "size", "artifact_type", "subject", "referrer")}
        )
    )
)
_SET_BODY = Statement(
    lambda insert: (
        update(manifests)
        .where(manifests.c.id == bindparam("manifest_id"))
        .values(body=bindparam("new_body"), size=bindparam("new_size"))
    )
)
_HOLDERS = Statement(
    lambda insert: (
        select(repositories.c.name)
        .select_from(repository_blobs.join(repositories, repositories.c.id == repository_blobs.c.repository_id))
        .where(repository_blobs.c.blob_id == bindparam("blob_id"))
        .order_by(repositories.c.name)
    )
)
_UNLINK_ALL = Statement(
    lambda insert: delete(repository_blobs).where(repository_blobs.c.blob_id == bindparam("blob_id"))
)
_REMOVE_BLOB = Statement(lambda insert: delete(blobs).where(blobs.c.id == bindparam("blob_id")))


async def blob_totals(reader: Reader) -> tuple[int, int]:
    """The number of blobs, and their bytes as the rows say."""
    count, size = (await reader.rows(_BLOB_TOTALS, {}))[0]
    return count, size or 0


async def blob_page(reader: Reader, *, after: int, count: int) -> list[BlobRow]:
    """Up to *count* blobs with ids above *after*."""
    return [BlobRow(*row) for row in await reader.rows(_BLOB_PAGE, {"after": after, "count": count})]


async def blob(reader: Reader, blob_id: int) -> BlobRow | None:
    """The blob as it is now."""
    rows = await reader.rows(_BLOB, {"blob_id": blob_id})
    return BlobRow(*rows[0]) if rows else None


async def has_blob(reader: Reader, key: bytes) -> bool:
    """Whether any repository may have the blob."""
    return bool(await reader.rows(_HAS_BLOB, {"digest": key}))


async def release_blob(transaction: Reader, blob_id: int) -> list[str]:
    """Take the blob out of every repository, and forget it; the names of those repositories."""
    rows = await transaction.rows(_HOLDERS, {"blob_id": blob_id})
    await transaction.rows(_UNLINK_ALL, {"blob_id": blob_id})
    await transaction.rows(_REMOVE_BLOB, {"blob_id": blob_id})
    return [row[0] for row in rows]


async def manifest_count(reader: Reader) -> int:
    """The number of manifests."""
    return _number(await reader.rows(_MANIFEST_COUNT, {}))


async def manifest_page(reader: Reader, *, after: int, count: int) -> list[ManifestRow]:
    """Up to *count* manifests with ids above *after*."""
    return [ManifestRow(*row) for row in await reader.rows(_MANIFEST_PAGE, {"after": after, "count": count})]


async def manifest(reader: Reader, manifest_id: int) -> ManifestRow | None:
    """The manifest as it is now."""
    rows = await reader.rows(_MANIFEST, {"manifest_id": manifest_id})
    return ManifestRow(*rows[0]) if rows else None


async def references(reader: Reader, manifest_id: int) -> set[bytes]:
    """The keys of what the manifest names, by its rows."""
    return {row[0] for row in await reader.rows(_REFERENCES, {"manifest_id": manifest_id})}


async def namers(reader: Reader, key: bytes) -> list[Namer]:
    """The manifests of all repositories that name the content."""
    return [Namer(*row) for row in await reader.rows(_NAMERS, {"digest": key})]


async def set_facts(transaction: Reader, manifest_id: int, facts: NewManifest) -> None:
    """Correct everything that follows from the manifest's body, but not what it names."""
    await transaction.rows(
        _SET_FACTS,
        {
            "manifest_id": manifest_id,
            "new_media_type": facts.media_type,
            "new_size": len(facts.body),
            "new_artifact_type": facts.artifact_type,
            "new_subject": facts.subject.key if facts.subject else None,
            "new_referrer": facts.referrer,
        },
    )


async def set_body(transaction: Reader, manifest_id: int, body: bytes) -> None:
    """Put the right body in a damaged one's place."""
    await transaction.rows(_SET_BODY, {"manifest_id": manifest_id, "new_body": body, "new_size": len(body)})


async def repository_count(reader: Reader) -> int:
    """The number of repositories."""
    return _number(await reader.rows(_REPOSITORY_COUNT, {}))


async def repository_page(reader: Reader, *, after: int, count: int) -> list[tuple[int, str]]:
    """Up to *count* ids and names, with ids above *after*."""
    return [(row[0], row[1]) for row in await reader.rows(_REPOSITORY_PAGE, {"after": after, "count": count})]


async def layers(reader: Reader, repository_id: int) -> set[bytes]:
    """The keys of the repository's blobs."""
    return {row[0] for row in await reader.rows(_LAYERS, {"repository_id": repository_id})}


async def revisions(reader: Reader, repository_id: int) -> dict[bytes, int]:
    """The keys of the repository's manifests, and their sizes in bytes."""
    return {row[0]: row[1] for row in await reader.rows(_REVISIONS, {"repository_id": repository_id})}


async def tag_targets(reader: Reader, repository_id: int) -> dict[str, bytes]:
    """The repository's tags, and the keys of what they name."""
    return {row[0]: row[1] for row in await reader.rows(_TAGS, {"repository_id": repository_id})}


async def stray_tags(reader: Reader) -> list[tuple[str, str]]:
    """Repository and name of the tags that name another repository's manifest."""
    return [(row[0], row[1]) for row in await reader.rows(_STRAY_TAGS, {})]


async def was_deleted(reader: Reader, repository: str, tag: str) -> bool:
    """Whether the last thing that happened to the tag was its deletion."""
    rows = await reader.rows(_LAST_OF_TAG, {"repository": repository, "tag": tag})
    return bool(rows) and rows[0][0] is None


async def upload_page(reader: Reader, *, after: str, count: int) -> list[Upload]:
    """Up to *count* sessions with ids above *after*."""
    return [Upload(*row) for row in await reader.rows(_UPLOAD_PAGE, {"after": after, "count": count})]


async def is_noted(reader: Reader, kind: int, repository: str, key: bytes) -> bool:
    """Whether the outbox asks for the link to be looked at."""
    return bool(await reader.rows(_IS_NOTED, {"kind": kind, "repository": repository, "key": key}))


async def noted(reader: Reader) -> int:
    """How many changes the link tree has yet to learn."""
    return _number(await reader.rows(_NOTED, {}))


def _number(rows: Sequence[Row]) -> int:
    return int(rows[0][0])
