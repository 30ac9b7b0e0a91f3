"""What the classic link tree has yet to learn."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import LargeBinary, bindparam, cast, delete, literal_column, select

from moorage.metadata.database import Reader, Statement
from moorage.metadata.schema import outbox, tags


class Kind(enum.IntEnum):
    """What kind of link changed."""

    LAYER = 1
    REVISION = 2
    TAG = 3


class Change(NamedTuple):
    """One key to look at again: a digest's key for layers and revisions, the name in ASCII for a tag."""

    id: int
    kind: Kind
    repository: str
    key: bytes


_ADD = Statement(
    lambda insert: insert(outbox).values(
        kind=bindparam("kind"), repository=bindparam("repository"), key=bindparam("key")
    )
)
# The database makes the rows of a hundred thousand tags in half the time that it takes to be told them.
_ADD_TAGS = Statement(
    lambda insert: insert(outbox).from_select(
        ["kind", "repository", "key"],
        select(
            literal_column(str(int(Kind.TAG))),
            bindparam("repository", type_=outbox.c.repository.type),
            cast(tags.c.name, LargeBinary),
        ).where(tags.c.manifest_id == bindparam("manifest_id")),
    )
)
_NEXT = Statement(
    lambda insert: (
        select(outbox.c.id, outbox.c.kind, outbox.c.repository, outbox.c.key)
        .order_by(outbox.c.id)
        .limit(bindparam("count"))
    )
)
# One by one, a batch would hold the writers' lock for as long as a hundred pushes do.
_AT_ONCE = 100
_REMOVE = Statement(
    lambda insert: delete(outbox).where(outbox.c.id.in_([bindparam(f"change_{place}") for place in range(_AT_ONCE)]))
)


async def note(transaction: Reader, kind: Kind, repository: str, key: bytes) -> None:
    """Ask for the link of *key* to be looked at again."""
    await transaction.rows(_ADD, {"kind": int(kind), "repository": repository, "key": key})


async def note_tags(transaction: Reader, repository: str, manifest_id: int) -> None:
    """Ask for the links of all tags that name the manifest, as of now, to be looked at again."""
    await transaction.rows(_ADD_TAGS, {"repository": repository, "manifest_id": manifest_id})


async def next_changes(reader: Reader, count: int) -> list[Change]:
    """Up to *count* changes, the oldest first."""
    rows = await reader.rows(_NEXT, {"count": count})
    return [Change(row[0], Kind(row[1]), row[2], row[3]) for row in rows]


async def remove(transaction: Reader, changes: Sequence[Change]) -> None:
    """Forget changes whose links are written."""
    for start in range(0, len(changes), _AT_ONCE):
        ids = [change.id for change in changes[start : start + _AT_ONCE]]
        ids += ids[-1:] * (_AT_ONCE - len(ids))  # twice is once
        await transaction.rows(_REMOVE, {f"change_{place}": change for place, change in enumerate(ids)})
