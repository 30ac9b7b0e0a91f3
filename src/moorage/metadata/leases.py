"""Leases: background work belongs to whoever holds the row, among workers and replicas alike."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, or_
from sqlalchemy.sql.elements import ClauseElement

from moorage.metadata.database import Reader, Statement
from moorage.metadata.schema import leases


def _take(insert: Any) -> ClauseElement:
    statement = insert(leases).values(name=bindparam("lease"), holder=bindparam("me"), expires_at=bindparam("until"))
    upsert: ClauseElement = statement.on_conflict_do_update(
        index_elements=["name"],
        set_={"holder": statement.excluded.holder, "expires_at": statement.excluded.expires_at},
        where=or_(leases.c.expires_at < bindparam("now"), leases.c.holder == statement.excluded.holder),
    ).returning(leases.c.holder)
    return upsert


_TAKE = Statement(_take)
_GIVE_UP = Statement(
    lambda insert: delete(leases).where(leases.c.name == bindparam("lease"), leases.c.holder == bindparam("me"))
)


async def take(transaction: Reader, name: str, holder: str, *, now: int, until: int) -> bool:
    """Take the lease or extend one's own until *until*; False while another holds it."""
    rows = await transaction.rows(_TAKE, {"lease": name, "me": holder, "now": now, "until": until})
    return bool(rows)


async def give_up(transaction: Reader, name: str, holder: str) -> None:
    """Let go of the lease if it is *holder*'s."""
    await transaction.rows(_GIVE_UP, {"lease": name, "me": holder})
