from __future__ import annotations

import asyncio

import pytest

from moorage.metadata import repositories
from moorage.metadata.database import Database
from moorage.oci.name import RepositoryName, parse_name
from tests.metadata.homes import Home

# In the protocol's order, that of the bytes; a dictionary, or a locale, has another.
NAMES = ["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "a_b", "ab", "b", "b-2", "b/1", "b10", "b2", "zz"]


async def _ensure(database: Database, name: str, now: int = 1) -> int:
    return await database.write(lambda transaction: repositories.ensure(transaction, parse_name(name), now))


async def _fill(database: Database) -> None:
    for name in reversed(NAMES):
        await _ensure(database, name)


def test_a_repository_is_made_once(home: Home) -> None:
    """The first call makes it, every other call gives the same id, and another name another."""

    async def scenario(database: Database) -> list[int | None]:
        before = await repositories.find(database, parse_name("a/b"))
        made = [await _ensure(database, name) for name in ("a/b", "a/b", "a")]
        return [before, *made, await repositories.find(database, parse_name("a/b"))]

    before, first, again, another, found = home.run(scenario)

    assert before is None
    assert first == again == found
    assert another not in {None, first}


def test_a_name_is_found_as_it_is(home: Home) -> None:
    """Names are compared byte by byte: what only looks alike is another repository."""

    async def scenario(database: Database) -> list[int | None]:
        await _ensure(database, "a-b")
        return [await repositories.find(database, RepositoryName(name)) for name in ("a_b", "A-B", "a-b ", "a%b")]

    assert home.run(scenario) == [None] * 4


@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_pages_go_through_all_names_in_byte_order(home: Home, count: int) -> None:
    """Each page begins after the last name of the one before; together they are every name once."""

    async def scenario(database: Database) -> list[str]:
        await _fill(database)
        seen: list[str] = []
        while page := await repositories.page(database, after=seen[-1] if seen else "", low="", high=None, count=count):
            assert len(page) <= count
            seen += page
        return seen

    assert home.run(scenario) == NAMES


@pytest.mark.parametrize(
    ("after", "low", "high"),
    [
        ("", "", None),
        ("a", "", None),
        ("a-b", "", None),
        ("zz", "", None),
        ("A", "", None),
        ("a/bb", "", None),
        ("ü", "", None),
        ("", "a/", "a0"),
        ("", "a/b", "a/b"),
        ("", "b", None),
        ("", "b", ""),
        ("a/b", "a/", "a0"),
        ("a", "b", "b/"),
        ("b/1", "a", "c"),
        ("c", "a", "b"),
    ],
)
def test_a_page_has_the_names_after_one_and_within_a_range(home: Home, after: str, low: str, high: str | None) -> None:
    """*after* is excluded and need not exist, *low* is included, *high* is excluded and may be missing."""

    async def scenario(database: Database) -> list[str]:
        await _fill(database)
        return await repositories.page(database, after=after, low=low, high=high, count=100)

    expected = [name for name in NAMES if name > after and name >= low and (not high or name < high)]
    assert home.run(scenario) == expected


def test_many_make_many(home: Home) -> None:
    """Repositories made at once all exist."""

    async def scenario(database: Database) -> list[str]:
        await asyncio.gather(*(_ensure(database, name) for name in NAMES * 3))
        return await repositories.page(database, after="", low="", high=None, count=100)

    assert home.run(scenario) == NAMES
