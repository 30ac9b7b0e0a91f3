"""Manifests, what they name, and who refers to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, bindparam, delete, select

from moorage.metadata.database import Reader, Statement
from moorage.metadata.schema import manifest_references, manifests, repositories, tags
from moorage.oci.digest import Digest
from moorage.oci.name import RepositoryName


class StoredManifest(NamedTuple):
    """A manifest as it was pushed; *body* is None where only its facts were asked for."""

    digest: Digest
    media_type: str
    size: int
    body: bytes | None


class NewManifest(NamedTuple):
    """What a push stores; *referrer* is its descriptor as JSON, where it has a *subject*."""

    digest: Digest
    media_type: str
    body: bytes
    artifact_type: str | None
    subject: Digest | None
    referrer: bytes | None
    references: Sequence[Digest]


_facts = (manifests.c.digest, manifests.c.media_type, manifests.c.size)
_tagged = repositories.join(tags, tags.c.repository_id == repositories.c.id).join(
    manifests, manifests.c.id == tags.c.manifest_id
)
_owned = repositories.join(manifests, manifests.c.repository_id == repositories.c.id)
_by_tag = (repositories.c.name == bindparam("repository"), tags.c.name == bindparam("tag"))
_by_digest = (repositories.c.name == bindparam("repository"), manifests.c.digest == bindparam("digest"))

_PULL_TAG = Statement(lambda insert: select(*_facts, manifests.c.body).select_from(_tagged).where(*_by_tag))
_STAT_TAG = Statement(lambda insert: select(*_facts).select_from(_tagged).where(*_by_tag))
_PULL_DIGEST = Statement(lambda insert: select(*_facts, manifests.c.body).select_from(_owned).where(*_by_digest))
_STAT_DIGEST = Statement(lambda insert: select(*_facts).select_from(_owned).where(*_by_digest))
_SUBJECT = Statement(lambda insert: select(manifests.c.subject).select_from(_owned).where(*_by_digest))
_FIND = Statement(
    lambda insert: select(manifests.c.id, manifests.c.media_type, manifests.c.size).where(
        manifests.c.repository_id == bindparam("repository_id"), manifests.c.digest == bindparam("digest")
    )
)
_ADD = Statement(
    lambda insert: (
        insert(manifests)
        .values(
            {
                name: bindparam(name)
                for name in (
                    "repository_id",
                    "digest",
                    "media_type",
                    "size",
                    "artifact_type",
                    "subject",
                    "referrer",
                    "created_at",
                    "body",
                )
            }
        )
        .on_conflict_do_update(index_elements=["repository_id", "digest"], set_={"digest": bindparam("digest")})
        .returning(manifests.c.id, manifests.c.media_type)
    )
)
# Where the server is another machine, a statement for each of an image's layers would be most of a push's time.
_AT_ONCE = 8
_ADD_REFERENCES = Statement(
    lambda insert: (
        insert(manifest_references)
        .values(
            [
                {"manifest_id": bindparam("manifest_id"), "digest": bindparam(f"digest_{place}")}
                for place in range(_AT_ONCE)
            ]
        )
        .on_conflict_do_nothing()
    )
)
_REMOVE_REFERENCES = Statement(
    lambda insert: delete(manifest_references).where(manifest_references.c.manifest_id == bindparam("manifest_id"))
)
_REMOVE = Statement(lambda insert: delete(manifests).where(manifests.c.id == bindparam("manifest_id")))


def _referrers(*filters: ColumnElement[bool]) -> Statement:
    return Statement(
        lambda insert: (
            select(manifests.c.digest, manifests.c.referrer)
            .select_from(_owned)
            .where(
                repositories.c.name == bindparam("repository"),
                manifests.c.subject == bindparam("subject"),
                manifests.c.digest > bindparam("after"),
                *filters,
            )
            .order_by(manifests.c.digest)
            .limit(bindparam("count"))
        )
    )


_REFERRERS = _referrers()
_REFERRERS_OF_TYPE = _referrers(manifests.c.artifact_type == bindparam("artifact_type"))


async def pull(reader: Reader, repository: RepositoryName, reference: str | Digest) -> StoredManifest | None:
    """The manifest with its body, by tag or digest, in one statement."""
    if isinstance(reference, Digest):
        rows = await reader.rows(_PULL_DIGEST, {"repository": repository, "digest": reference.key})
    else:
        rows = await reader.rows(_PULL_TAG, {"repository": repository, "tag": reference})
    if not rows:
        return None
    digest, media_type, size, body = rows[0]
    return StoredManifest(Digest.from_key(digest), media_type, size, body)


async def stat(reader: Reader, repository: RepositoryName, reference: str | Digest) -> StoredManifest | None:
    """The manifest's facts without its body."""
    if isinstance(reference, Digest):
        rows = await reader.rows(_STAT_DIGEST, {"repository": repository, "digest": reference.key})
    else:
        rows = await reader.rows(_STAT_TAG, {"repository": repository, "tag": reference})
    if not rows:
        return None
    digest, media_type, size = rows[0]
    return StoredManifest(Digest.from_key(digest), media_type, size, None)


async def subject(reader: Reader, repository: RepositoryName, digest: Digest) -> Digest | None:
    """What the manifest refers to; None where there is none, or no such manifest."""
    rows = await reader.rows(_SUBJECT, {"repository": repository, "digest": digest.key})
    return Digest.from_key(rows[0][0]) if rows and rows[0][0] is not None else None


async def find(reader: Reader, repository_id: int, digest: Digest) -> tuple[int, str, int] | None:
    """Id, media type and size of the repository's manifest, or None."""
    rows = await reader.rows(_FIND, {"repository_id": repository_id, "digest": digest.key})
    return (rows[0][0], rows[0][1], rows[0][2]) if rows else None


async def add(transaction: Reader, repository_id: int, manifest: NewManifest, now: int) -> tuple[int, str]:
    """Id and media type of the row for this digest: the new one, or the one that was there before."""
    found = await find(transaction, repository_id, manifest.digest)
    if found is not None:
        return found[0], found[1]
    rows = await transaction.rows(
        _ADD,
        {
            "repository_id": repository_id,
            "digest": manifest.digest.key,
            "media_type": manifest.media_type,
            "size": len(manifest.body),
            "artifact_type": manifest.artifact_type,
            "subject": manifest.subject.key if manifest.subject else None,
            "referrer": manifest.referrer,
            "created_at": now,
            "body": manifest.body,
        },
    )
    manifest_id, media_type = rows[0]
    await _add_references(transaction, manifest_id, manifest.references)
    return manifest_id, media_type


async def _add_references(transaction: Reader, manifest_id: int, references: Sequence[Digest]) -> None:
    for start in range(0, len(references), _AT_ONCE):
        keys = [digest.key for digest in references[start : start + _AT_ONCE]]
        keys += keys[-1:] * (_AT_ONCE - len(keys))  # twice is once
        parameters = {f"digest_{place}": key for place, key in enumerate(keys)}
        await transaction.rows(_ADD_REFERENCES, {"manifest_id": manifest_id, **parameters})


async def set_references(transaction: Reader, manifest_id: int, references: Sequence[Digest]) -> None:
    """Let the rows of what the manifest names be these."""
    await transaction.rows(_REMOVE_REFERENCES, {"manifest_id": manifest_id})
    await _add_references(transaction, manifest_id, references)


async def remove(transaction: Reader, manifest_id: int) -> None:
    """Remove the manifest; its tags must be gone."""
    await transaction.rows(_REMOVE_REFERENCES, {"manifest_id": manifest_id})
    await transaction.rows(_REMOVE, {"manifest_id": manifest_id})


async def referrers(
    reader: Reader,
    repository: RepositoryName,
    subject: Digest,
    *,
    artifact_type: str | None,
    after: Digest | None,
    count: int,
) -> list[tuple[Digest, bytes]]:
    """Up to *count* (digest, descriptor JSON) of the manifests that name *subject*, in digest order after *after*."""
    rows = await reader.rows(
        _REFERRERS_OF_TYPE if artifact_type else _REFERRERS,
        {
            "repository": repository,
            "subject": subject.key,
            "after": after.key if after else b"",
            "artifact_type": artifact_type,
            "count": count,
        },
    )
    return [(Digest.from_key(digest), descriptor) for digest, descriptor in rows]
