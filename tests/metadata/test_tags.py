from __future__ import annotations

import pytest
from sqlalchemy import select

from moorage.metadata import manifests, repositories, tags
from moorage.metadata.database import Database, Reader, Statement
from moorage.metadata.manifests import NewManifest
from moorage.metadata.schema import tag_history
from moorage.oci.digest import Digest
from moorage.oci.name import parse_name
from moorage.oci.reference import parse_tag
from tests.metadata.homes import Home

# In the protocol's order, that of the bytes; a dictionary, or a locale, has another.
TAGS = ["0", "1.0", "1.0-rc", "1.10", "1.2", "A", "B", "Z", "_x", "a", "a-1", "a.1", "a_1", "b", "latest", "z"]
HISTORY = Statement(
    lambda insert: select(tag_history.c.name, tag_history.c.digest, tag_history.c.at, tag_history.c.principal).order_by(
        tag_history.c.id
    )
)


async def _repository(database: Database, name: str = "team/app") -> int:
    return await database.write(lambda transaction: repositories.ensure(transaction, parse_name(name), 1))


async def _tag(
    database: Database, repository_id: int, tag: str, body: bytes = b"{}", *, principal: str = "me", now: int = 1
) -> int:
    manifest = NewManifest(Digest.of(body), "application/json", body, None, None, None, ())

    async def work(transaction: Reader) -> int:
        manifest_id, _ = await manifests.add(transaction, repository_id, manifest, now)
        await tags.set_tag(transaction, repository_id, parse_tag(tag), manifest_id, manifest.digest, principal, now)
        return manifest_id

    return await database.write(work)


async def _remove(database: Database, repository_id: int, tag: str) -> bool:
    return await database.write(
        lambda transaction: tags.remove(transaction, repository_id, parse_tag(tag), "remover", 9)
    )


@pytest.mark.parametrize("count", [1, 4, 100])
def test_pages_go_through_all_tags_in_byte_order(home: Home, count: int) -> None:
    """Each page begins after the last tag of the one before; together they are every tag of the repository once."""

    async def scenario(database: Database) -> list[str]:
        here, other = await _repository(database), await _repository(database, "team/other")
        for tag in reversed(TAGS):
            await _tag(database, here, tag)
        await _tag(database, other, "elsewhere")
        seen: list[str] = []
        while page := await tags.page(database, here, after=seen[-1] if seen else "", count=count):
            assert len(page) <= count
            seen += page
        return seen

    assert home.run(scenario) == TAGS


@pytest.mark.parametrize("after", ["", "1.1", "Z", "a", "latest-", "zz", "ü"])
def test_a_page_may_begin_after_a_tag_that_is_not_there(home: Home, after: str) -> None:
    """Every tag above *after* is listed, and *after* itself is not."""

    async def scenario(database: Database) -> list[str]:
        repository_id = await _repository(database)
        for tag in TAGS:
            await _tag(database, repository_id, tag)
        return await tags.page(database, repository_id, after=after, count=100)

    assert home.run(scenario) == [tag for tag in TAGS if tag > after]


def test_a_tag_is_removed_once_and_its_manifest_stays(home: Home) -> None:
    """Removing says whether there was such a tag, in this repository, and leaves the manifest."""

    async def scenario(database: Database) -> list[object]:
        here, other = await _repository(database), await _repository(database, "team/other")
        await _tag(database, here, "latest")
        removed = [await _remove(database, place, "latest") for place in (other, here, here)]
        return [*removed, await manifests.stat(database, parse_name("team/app"), Digest.of(b"{}")) is not None]

    assert home.run(scenario) == [False, True, False, True]


def test_removing_all_tags_of_a_manifest_leaves_the_others(home: Home) -> None:
    """Tags of other manifests stay."""

    async def scenario(database: Database) -> list[str]:
        repository_id = await _repository(database)
        for tag in ("a", "b"):
            manifest_id = await _tag(database, repository_id, tag)
        await _tag(database, repository_id, "other", b"other")
        await database.write(lambda transaction: tags.remove_all(transaction, manifest_id, "remover", 9))
        return await tags.page(database, repository_id, after="", count=100)

    assert home.run(scenario) == ["other"]


def test_history_has_every_change_of_a_tag(home: Home) -> None:
    """Each push, move and removal is a row with who and when; a removal names no digest."""
    one, two = Digest.of(b"one").key, Digest.of(b"two").key

    async def scenario(database: Database) -> list[tuple[object, ...]]:
        repository_id = await _repository(database)
        await _tag(database, repository_id, "a", b"one", principal="alice", now=5)
        manifest_id = await _tag(database, repository_id, "a", b"two", principal="bob", now=6)
        await _remove(database, repository_id, "a")
        await _remove(database, repository_id, "a")
        await _tag(database, repository_id, "b", b"two", principal="bob", now=7)
        await database.write(lambda transaction: tags.remove_all(transaction, manifest_id, "carol", 2**50))
        return [tuple(row) for row in await database.rows(HISTORY, {})]

    assert home.run(scenario) == [
        ("a", one, 5, "alice"),
        ("a", two, 6, "bob"),
        ("a", None, 9, "remover"),
        ("b", two, 7, "bob"),
        ("b", None, 2**50, "carol"),
    ]
