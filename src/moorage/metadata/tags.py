"""Tags, and what each has named before."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, func, literal_column, select
from sqlalchemy.sql.elements import ClauseElement

from moorage.metadata.database import Reader, Statement
from moorage.metadata.schema import tag_history, tags
from moorage.oci.digest import Digest
from moorage.oci.reference import Tag


def _set(insert: Any) -> ClauseElement:
    statement = insert(tags).values(
        repository_id=bindparam("repository_id"),
        name=bindparam("tag"),
        manifest_id=bindparam("manifest_id"),
        updated_at=bindparam("now"),
    )
    upsert: ClauseElement = statement.on_conflict_do_update(
        index_elements=["repository_id", "name"],
        set_={"manifest_id": statement.excluded.manifest_id, "updated_at": statement.excluded.updated_at},
    )
    return upsert


_SET = Statement(_set)
_REMEMBER = Statement(
    lambda insert: insert(tag_history).values(
        repository_id=bindparam("repository_id"),
        name=bindparam("tag"),
        digest=bindparam("digest"),
        at=bindparam("now"),
        principal=bindparam("principal"),
    )
)
_PAGE = Statement(
    lambda insert: (
        select(tags.c.name)
        .where(tags.c.repository_id == bindparam("repository_id"), tags.c.name > bindparam("after"))
        .order_by(tags.c.name)
        .limit(bindparam("count"))
    )
)
_REMOVE = Statement(
    lambda insert: (
        delete(tags)
        .where(tags.c.repository_id == bindparam("repository_id"), tags.c.name == bindparam("tag"))
        .returning(tags.c.manifest_id)
    )
)
_REMEMBER_ALL = Statement(
    lambda insert: insert(tag_history).from_select(
        ["repository_id", "name", "digest", "at", "principal"],
        select(
            tags.c.repository_id,
            tags.c.name,
            literal_column("NULL"),
            bindparam("now", type_=tag_history.c.at.type),
            bindparam("principal", type_=tag_history.c.principal.type),
        ).where(tags.c.manifest_id == bindparam("manifest_id")),
    )
)
_DELETED = Statement(
    lambda insert: (
        select(tag_history.c.name, func.max(tag_history.c.at))
        .where(
            tag_history.c.repository_id == bindparam("repository_id"),
            tag_history.c.digest.is_(None),
        )
        .group_by(tag_history.c.name)
    )
)
_REMOVE_ALL = Statement(lambda insert: delete(tags).where(tags.c.manifest_id == bindparam("manifest_id")))


async def set_tag(  # noqa: PLR0917 - a row, column by column
    transaction: Reader, repository_id: int, tag: Tag, manifest_id: int, digest: Digest, principal: str, now: int
) -> None:
    """Let *tag* name the manifest from now on."""
    await transaction.rows(_SET, {"repository_id": repository_id, "tag": tag, "manifest_id": manifest_id, "now": now})
    await _remember(transaction, repository_id, tag, digest.key, principal, now)


async def _remember(
    transaction: Reader, repository_id: int, tag: str, digest: bytes | None, principal: str, now: int
) -> None:
    await transaction.rows(
        _REMEMBER,
        {"repository_id": repository_id, "tag": tag, "digest": digest, "principal": principal, "now": now},
    )


async def page(reader: Reader, repository_id: int, *, after: str, count: int) -> list[str]:
    """Up to *count* tags above *after*, in the protocol's order."""
    rows = await reader.rows(_PAGE, {"repository_id": repository_id, "after": after, "count": count})
    return [row[0] for row in rows]


async def remove(transaction: Reader, repository_id: int, tag: Tag, principal: str, now: int) -> bool:
    """Remove the tag and keep its manifest; False where there was no such tag."""
    removed = await transaction.rows(_REMOVE, {"repository_id": repository_id, "tag": tag})
    if removed:
        await _remember(transaction, repository_id, tag, None, principal, now)
    return bool(removed)


async def remove_all(transaction: Reader, manifest_id: int, principal: str, now: int) -> None:
    """Remove every tag of the manifest."""
    await transaction.rows(_REMEMBER_ALL, {"manifest_id": manifest_id, "principal": principal, "now": now})
    await transaction.rows(_REMOVE_ALL, {"manifest_id": manifest_id})


async def deleted(reader: Reader, repository_id: int) -> dict[str, int]:
    """The tags that were ever deleted from the repository, and when that was last."""
    return {row[0]: row[1] for row in await reader.rows(_DELETED, {"repository_id": repository_id})}
