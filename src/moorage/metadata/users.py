"""Built-in users."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, select, update

from moorage.metadata.database import Reader, Row, Statement
from moorage.metadata.schema import users


class User(NamedTuple):
    """A built-in user; *password_hash* is argon2id in PHC form."""

    name: str
    password_hash: str
    admin: bool
    disabled: bool
    created_at: int


_columns = (users.c.name, users.c.password_hash, users.c.admin, users.c.disabled, users.c.created_at)
_FIND = Statement(lambda insert: select(*_columns).where(users.c.name == bindparam("user")))
_ALL = Statement(lambda insert: select(*_columns).order_by(users.c.name))
_ADD = Statement(
    lambda insert: (
        insert(users)
        .values({name: bindparam(name) for name in User._fields})
        .on_conflict_do_nothing()
        .returning(users.c.name)
    )
)
_SET_PASSWORD = Statement(
    lambda insert: (
        update(users)
        .where(users.c.name == bindparam("user"))
        .values(password_hash=bindparam("new_hash"))
        .returning(users.c.name)
    )
)
_SET_DISABLED = Statement(
    lambda insert: (
        update(users)
        .where(users.c.name == bindparam("user"))
        .values(disabled=bindparam("new_disabled"))
        .returning(users.c.name)
    )
)
_REMOVE = Statement(lambda insert: delete(users).where(users.c.name == bindparam("user")).returning(users.c.name))


def _user(row: Row) -> User:
    name, password_hash, admin, disabled, created_at = row
    return User(name, password_hash, bool(admin), bool(disabled), created_at)


async def find(reader: Reader, name: str) -> User | None:
    """The user, or None."""
    rows = await reader.rows(_FIND, {"user": name})
    return _user(rows[0]) if rows else None


async def everybody(reader: Reader) -> list[User]:
    """All users by name."""
    return [_user(row) for row in await reader.rows(_ALL, {})]


async def add(transaction: Reader, user: User) -> bool:
    """Add the user; False where the name is taken."""
    values = user._asdict() | {"admin": int(user.admin), "disabled": int(user.disabled)}
    return bool(await transaction.rows(_ADD, values))


async def set_password(transaction: Reader, name: str, password_hash: str) -> bool:
    """False where there is no such user."""
    return bool(await transaction.rows(_SET_PASSWORD, {"user": name, "new_hash": password_hash}))


async def set_disabled(transaction: Reader, name: str, *, disabled: bool) -> bool:
    """False where there is no such user."""
    return bool(await transaction.rows(_SET_DISABLED, {"user": name, "new_disabled": int(disabled)}))


async def remove(transaction: Reader, name: str) -> bool:
    """False where there was no such user."""
    return bool(await transaction.rows(_REMOVE, {"user": name}))
