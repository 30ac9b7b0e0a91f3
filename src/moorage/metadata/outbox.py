"""What the classic link tree has yet to learn."""

from __future__ import annotations

import enum
from typing import NamedTuple

from sqlalchemy import bindparam, delete, select

from moorage.metadata.database import Reader, Statement
from moorage.metadata.schema import outbox


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
_NEXT = Statement(
    lambda insert: (
        select(outbox.c.id, outbox.c.kind, outbox.c.repository, outbox.c.key)
        .order_by(outbox.c.id)
        .limit(bindparam("count"))
    )
)
_REMOVE = Statement(lambda insert: delete(outbox).where(outbox.c.id == bindparam("change")))


async def note(transaction: Reader, kind: Kind, repository: str, key: bytes) -> None:
    """Ask for the link of *key* to be looked at again."""
    await transaction.rows(_ADD, {"kind": int(kind), "repository": repository, "key": key})


async def next_changes(reader: Reader, count: int) -> list[Change]:
    """Up to *count* changes, the oldest first."""
    rows = await reader.rows(_NEXT, {"count": count})
    return [Change(row[0], Kind(row[1]), row[2], row[3]) for row in rows]


async def remove(transaction: Reader, change: Change) -> None:
    """Forget a change whose link is written."""
    await transaction.rows(_REMOVE, {"change": change.id})
