"""Repositories: rows that exist from the first blob or manifest on."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from moorage.metadata.database import Reader, Statement
from moorage.metadata.schema import repositories
from moorage.oci.name import RepositoryName

# Names are ASCII without control characters: none reaches END, and none stands between "a" and "a" + _NEXT.
END = "\x7f"
_NEXT = "\x01"

_FIND = Statement(lambda insert: select(repositories.c.id).where(repositories.c.name == bindparam("name")))
_ADD = Statement(
    lambda insert: (
        insert(repositories)
        .values(name=bindparam("name"), created_at=bindparam("now"))
        .on_conflict_do_update(index_elements=["name"], set_={"name": bindparam("name")})
        .returning(repositories.c.id)
    )
)
_PAGE = Statement(
    lambda insert: (
        select(repositories.c.name)
        .where(repositories.c.name >= bindparam("low"), repositories.c.name < bindparam("high"))
        .order_by(repositories.c.name)
        .limit(bindparam("count"))
    )
)


async def find(reader: Reader, name: RepositoryName) -> int | None:
    """The repository's id, or None."""
    rows = await reader.rows(_FIND, {"name": name})
    return rows[0][0] if rows else None


async def ensure(transaction: Reader, name: RepositoryName, now: int) -> int:
    """The repository's id; it is made if it is new."""
    found = await find(transaction, name)
    if found is None:
        rows = await transaction.rows(_ADD, {"name": name, "now": now})
        found = int(rows[0][0])
    return found


async def page(reader: Reader, *, after: str, low: str, high: str | None, count: int) -> list[str]:
    """Up to *count* names above *after* in [*low*, *high*), in the protocol's order; *high* None has no end."""
    first = max(low, after + _NEXT)
    rows = await reader.rows(_PAGE, {"low": first, "high": high or END, "count": count})
    return [row[0] for row in rows]
