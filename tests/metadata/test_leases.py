from __future__ import annotations

import asyncio

import pytest

from moorage.metadata import leases
from moorage.metadata.database import Database
from tests.metadata.homes import Home


async def _take(database: Database, holder: str, now: int, until: int, name: str = "outbox") -> bool:
    return await database.write(
        lambda transaction: leases.take(transaction, name, holder, now=now, until=until), durable=False
    )


@pytest.mark.parametrize(
    ("holder", "now", "taken"),
    [
        ("one", 10, True),
        ("one", 19, True),
        ("one", 50, True),
        ("two", 10, False),
        ("two", 20, False),
        ("two", 21, True),
    ],
)
def test_a_lease_is_taken_from_another_only_after_its_end(home: Home, holder: str, now: int, taken: bool) -> None:  # noqa: FBT001
    """Its holder extends a lease at any time; another takes it when its end, here 20, has passed."""

    async def scenario(database: Database) -> list[bool]:
        await _take(database, "one", 0, 20)
        return [await _take(database, holder, now, 100), await _take(database, "three", 60, 200)]

    first, second = home.run(scenario)

    assert first is taken
    assert second is not taken


def test_leases_of_other_names_are_others(home: Home) -> None:
    """One holder's lease does not keep another from a lease of another name."""

    async def scenario(database: Database) -> list[bool]:
        return [await _take(database, holder, 0, 20, name) for holder, name in (("one", "outbox"), ("two", "purge"))]

    assert home.run(scenario) == [True, True]


def test_a_lease_given_up_is_free_at_once(home: Home) -> None:
    """Its holder's giving up frees a lease; anybody else's does nothing."""

    async def scenario(database: Database) -> list[bool]:
        await _take(database, "one", 0, 20)
        taken = []
        for holder in ("two", "one"):
            await database.write(lambda transaction, holder=holder: leases.give_up(transaction, "outbox", holder))  # type: ignore[misc]
            taken.append(await _take(database, "three", 5, 20))
        return taken

    assert home.run(scenario) == [False, True]


def test_one_of_many_who_race_for_a_lease_gets_it(home: Home) -> None:
    """Of many that take a free lease at once, through several objects, exactly one has it."""

    async def scenario(databases: list[Database]) -> list[bool]:
        return await asyncio.gather(*(_take(databases[number % 3], f"holder{number}", 0, 20) for number in range(12)))

    assert sum(home.run_many(3, scenario)) == 1
