from __future__ import annotations

from moorage.metadata import users
from moorage.metadata.database import Database
from moorage.metadata.users import User
from tests.metadata.homes import Home

ALICE = User("alice", "$argon2id$v=19$...", admin=True, disabled=False, created_at=2**50)
BOB = User("bob", "$argon2id$", admin=False, disabled=True, created_at=1)


async def _add(database: Database, *everybody: User) -> list[bool]:
    return [await database.write(lambda transaction, user=user: users.add(transaction, user)) for user in everybody]  # type: ignore[misc]


def test_a_user_reads_back_as_added(home: Home) -> None:
    """Every field comes back, truth as truth; names differ by case."""

    async def scenario(database: Database) -> list[User | None]:
        await _add(database, ALICE, BOB)
        return [await users.find(database, name) for name in ("alice", "bob", "Alice", "carol")]

    assert home.run(scenario) == [ALICE, BOB, None, None]


def test_a_name_is_taken_once(home: Home) -> None:
    """A second user of the same name is refused, and the first is unchanged."""

    async def scenario(database: Database) -> tuple[list[bool], User | None]:
        added = await _add(database, ALICE, ALICE._replace(password_hash="other", admin=False))
        return added, await users.find(database, "alice")

    assert home.run(scenario) == ([True, False], ALICE)


def test_everybody_is_listed_by_name(home: Home) -> None:
    """Users are listed in the order of their names' bytes."""
    names = ["_x", "Zoe", "al.ice", "alice", "bob", "zoe"]

    async def scenario(database: Database) -> list[str]:
        await _add(database, *(ALICE._replace(name=name) for name in names))
        return [user.name for user in await users.everybody(database)]

    assert home.run(scenario) == sorted(names)


def test_changes_touch_one_user_and_say_whether_there_is_one(home: Home) -> None:
    """A new password, disabling, enabling and removing change that user alone; nobody is False."""

    async def change(database: Database, name: str) -> list[bool]:
        return [
            await database.write(lambda transaction: users.set_password(transaction, name, "new")),
            await database.write(lambda transaction: users.set_disabled(transaction, name, disabled=False)),
        ]

    async def scenario(database: Database) -> tuple[list[bool], list[User]]:
        await _add(database, ALICE, BOB)
        done = [*await change(database, "bob"), *await change(database, "nobody")]
        return done, await users.everybody(database)

    done, everybody = home.run(scenario)

    assert done == [True, True, False, False]
    assert everybody == [ALICE, BOB._replace(password_hash="new", disabled=False)]


def test_a_removed_user_is_gone(home: Home) -> None:
    """A user is removed once, and the name is free again."""

    async def scenario(database: Database) -> tuple[list[bool], list[User]]:
        await _add(database, ALICE, BOB)
        removed = [await database.write(lambda transaction: users.remove(transaction, "alice")) for _ in range(2)]
        return [*removed, *await _add(database, BOB._replace(name="alice"))], await users.everybody(database)

    assert home.run(scenario) == ([True, False, True], [BOB._replace(name="alice"), BOB])
