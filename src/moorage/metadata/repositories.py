"""Repositories: rows that exist from the first blob or manifest on."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, or_, select

from moorage.metadata.database import Reader, Statement
from moorage.metadata.schema import repositories
from moorage.oci.name import RepositoryName

# A page of the catalog is filtered by at most this many name ranges at once; a caller with more asks again.
_FIND = Statement(lambda insert: select(repositories.c.id).where(repositories.c.name == bindparam("name")))
_ADD = Statement(
    lambda insert: insert(repositories)
    .values(name=bindparam("name"), created_at=bindparam("now"))
    .on_conflict_do_nothing()
)
_PAGE = Statement(
    lambda insert: select(repositories.c.name)
    .where(
        repositories.c.name > bindparam("after"),
        repositories.c.name >= bindparam("low"),
        or_(bindparam("high") == "", repositories.c.name < bindparam("high")),
    )
    .order_by(repositories.c.name)
    .limit(bindparam("count"))
)


async def find(reader: Reader, name: RepositoryName) -> int | None:
    """The repository's id, or None."""
    rows = await reader.rows(_FIND, {"name": name})
    return rows[0][0] if rows else None


async def ensure(transaction: Reader, name: RepositoryName, now: int) -> int:
    """The repository's id; it is made if it is new."""
    found = await find(transaction, name)
    if found is None:
        await transaction.rows(_ADD, {"name": name, "now": now})
        found = await find(transaction, name)
    if found is None:
        raise AssertionError("a repository that was just made cannot be found")
    return found


async def page(reader: Reader, *, after: str, low: str, high: str | None, count: int) -> Sequence[str]:
    """Up to *count* names above *after* in [*low*, *high*), in the protocol's order; *high* None has no end."""
    rows = await reader.rows(_PAGE, {"after": after, "low": low, "high": high or "", "count": count})
    return [row[0] for row in rows]
