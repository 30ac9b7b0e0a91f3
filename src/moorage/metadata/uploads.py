"""Upload sessions: how far each has come, for whichever worker continues it."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, select, update

from moorage.metadata.database import Reader, Statement
from moorage.metadata.schema import uploads


class Upload(NamedTuple):
    """A session: *digest* is that of the first *offset* bytes, in hex, by *algorithm*; None where it is not known.

    *principal* is who began it; only they go on with it. *boot* is the kernel's boot id when the row was written.
    """

    id: str
    repository: str
    principal: str
    algorithm: str
    offset: int
    digest: str | None
    boot: str
    started_at: int
    updated_at: int


_columns = [uploads.c[name] for name in Upload._fields]
_ADD = Statement(lambda insert: insert(uploads).values({name: bindparam(name) for name in Upload._fields}))
_FIND = Statement(lambda insert: select(*_columns).where(uploads.c.id == bindparam("upload")))
_ADVANCE = Statement(
    lambda insert: (
        update(uploads)
        .where(uploads.c.id == bindparam("upload"))
        .values(
            offset=bindparam("new_offset"),
            digest=bindparam("new_digest"),
            boot=bindparam("new_boot"),
            updated_at=bindparam("now"),
        )
    )
)
_REMOVE = Statement(lambda insert: delete(uploads).where(uploads.c.id == bindparam("upload")))
_COUNT = Statement(
    lambda insert: select(func.count()).select_from(uploads).where(uploads.c.principal == bindparam("principal"))
)
_STALE = Statement(
    lambda insert: (
        select(*_columns)
        .where(uploads.c.updated_at < bindparam("before"))
        .order_by(uploads.c.updated_at)
        .limit(bindparam("count"))
    )
)


async def add(transaction: Reader, upload: Upload) -> None:
    """Begin a session."""
    await transaction.rows(_ADD, upload._asdict())


async def find(reader: Reader, upload_id: str) -> Upload | None:
    """The session, or None."""
    rows = await reader.rows(_FIND, {"upload": upload_id})
    return Upload(*rows[0]) if rows else None


async def advance(transaction: Reader, upload_id: str, offset: int, digest: str | None, boot: str, now: int) -> None:
    """Note that the first *offset* bytes are staged."""
    await transaction.rows(
        _ADVANCE,
        {"upload": upload_id, "new_offset": offset, "new_digest": digest, "new_boot": boot, "now": now},
    )


async def remove(transaction: Reader, upload_id: str) -> None:
    """End a session; one that is not there is ended."""
    await transaction.rows(_REMOVE, {"upload": upload_id})


async def count(reader: Reader, principal: str) -> int:
    """How many sessions the principal has open."""
    rows = await reader.rows(_COUNT, {"principal": principal})
    return int(rows[0][0])


async def stale(reader: Reader, *, before: int, count: int) -> list[Upload]:
    """Up to *count* sessions that nobody has touched since *before*, the oldest first."""
    return [Upload(*row) for row in await reader.rows(_STALE, {"before": before, "count": count})]
