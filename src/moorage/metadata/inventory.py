"""What there is, with its facts: for a person who looks at all of it, page by page."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import BigInteger, bindparam, cast, func, select

from moorage.metadata.database import Reader, Statement
from moorage.metadata.schema import blobs, manifests, repositories, repository_blobs, tags
from moorage.oci.digest import Digest
from moorage.oci.name import RepositoryName
from moorage.oci.reference import Tag


class RepositoryFacts(NamedTuple):
    """A repository: the number of its tags, the bytes of its blobs, and when a tag was last set."""

    name: str
    tags: int
    size: int
    pushed_at: int | None


class TagFacts(NamedTuple):
    """A tag, when it was last set, and the manifest that it names."""

    name: Tag
    pushed_at: int
    digest: Digest
    media_type: str
    body: bytes


_tags_of = tags.c.repository_id == repositories.c.id
_REPOSITORIES = Statement(
    lambda insert: (
        select(
            repositories.c.name,
            select(func.count()).select_from(tags).where(_tags_of).scalar_subquery(),
            # PostgreSQL adds up bigints to a numeric.
            select(cast(func.sum(blobs.c.size), BigInteger))
            .select_from(repository_blobs.join(blobs, blobs.c.id == repository_blobs.c.blob_id))
            .where(repository_blobs.c.repository_id == repositories.c.id)
            .scalar_subquery(),
            select(func.max(tags.c.updated_at)).where(_tags_of).scalar_subquery(),
        )
        .where(repositories.c.name > bindparam("after"))
        .order_by(repositories.c.name)
        .limit(bindparam("count"))
    )
)
_TAGS = Statement(
    lambda insert: (
        select(tags.c.name, tags.c.updated_at, manifests.c.digest, manifests.c.media_type, manifests.c.body)
        .select_from(
            repositories.join(tags, _tags_of).join(manifests, manifests.c.id == tags.c.manifest_id),
        )
        .where(repositories.c.name == bindparam("repository"), tags.c.name > bindparam("after"))
        .order_by(tags.c.name)
        .limit(bindparam("count"))
    )
)
_TAGS_OF = Statement(
    lambda insert: (
        select(tags.c.name)
        .select_from(repositories.join(manifests, manifests.c.repository_id == repositories.c.id))
        .join(tags, tags.c.manifest_id == manifests.c.id)
        .where(repositories.c.name == bindparam("repository"), manifests.c.digest == bindparam("digest"))
        .order_by(tags.c.name)
    )
)


async def repositories_page(reader: Reader, *, after: str, count: int) -> list[RepositoryFacts]:
    """Up to *count* repositories with names above *after*, in order."""
    rows = await reader.rows(_REPOSITORIES, {"after": after, "count": count})
    return [RepositoryFacts(name, tagged, size or 0, pushed_at) for name, tagged, size, pushed_at in rows]


async def tags_page(reader: Reader, repository: RepositoryName, *, after: str, count: int) -> list[TagFacts]:
    """Up to *count* tags above *after*, in order."""
    rows = await reader.rows(_TAGS, {"repository": repository, "after": after, "count": count})
    return [
        TagFacts(Tag(name), pushed_at, Digest.from_key(digest), media_type, body)
        for name, pushed_at, digest, media_type, body in rows
    ]


async def tags_of(reader: Reader, repository: RepositoryName, digest: Digest) -> list[Tag]:
    """The tags that name the manifest, in order."""
    rows = await reader.rows(_TAGS_OF, {"repository": repository, "digest": digest.key})
    return [Tag(row[0]) for row in rows]
