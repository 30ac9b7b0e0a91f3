from __future__ import annotations

import asyncio

import pytest

from moorage.metadata import blobs, repositories
from moorage.metadata.blobs import StoredBlob
from moorage.metadata.database import Database, Reader
from moorage.oci.digest import Digest
from moorage.oci.name import parse_name
from tests.metadata.homes import Home

ONE, OTHER = Digest.of(b"one"), Digest.of(b"other")
LARGE = 5 * 2**40


async def _push(database: Database, name: str, digest: Digest, size: int = 3, location: str = "here") -> int:
    async def work(transaction: Reader) -> int:
        repository_id = await repositories.ensure(transaction, parse_name(name), 1)
        blob_id = await blobs.add(transaction, digest, size, location, 1)
        await blobs.link(transaction, repository_id, blob_id, 1)
        return blob_id

    return await database.write(work)


async def _unlink(database: Database, name: str, digest: Digest) -> bool:
    async def work(transaction: Reader) -> bool:
        return await blobs.unlink(transaction, await repositories.ensure(transaction, parse_name(name), 1), digest)

    return await database.write(work)


def test_a_blob_is_seen_where_it_was_pushed(home: Home) -> None:
    """A blob is found in its repository with its size and location, and in no other."""

    async def scenario(database: Database) -> list[StoredBlob | None]:
        await _push(database, "a", ONE, LARGE, "some/where")
        await _push(database, "b", OTHER)
        return [await blobs.find(database, parse_name(name), ONE) for name in ("a", "b", "c")]

    here, elsewhere, nowhere = home.run(scenario)

    assert here is not None
    assert (here.size, here.location) == (LARGE, "some/where")
    assert elsewhere is nowhere is None


def test_the_same_bytes_are_one_blob(home: Home) -> None:
    """A second push of a digest keeps the first row, whatever it says of size and location; sha512 is another."""

    async def scenario(database: Database) -> tuple[list[int], StoredBlob | None]:
        pushes = [
            ("a", ONE, "first"),
            ("b", ONE, "second"),
            ("a", ONE, "third"),
            ("a", Digest.of(b"one", "sha512"), "x"),
        ]
        ids = [await _push(database, name, digest, 3, location) for name, digest, location in pushes]
        return ids, await blobs.find(database, parse_name("b"), ONE)

    ids, found = home.run(scenario)

    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert found == StoredBlob(ids[0], 3, "first")


def test_the_same_bytes_by_many_at_once_are_one_blob(home: Home) -> None:
    """Pushes of the same layer to many repositories at once make one blob, which each of them sees."""
    names = [f"app{number}" for number in range(20)]

    async def scenario(databases: list[Database]) -> tuple[list[int], list[StoredBlob | None]]:
        ids = await asyncio.gather(*(_push(databases[place % 3], name, ONE) for place, name in enumerate(names)))
        return ids, [await blobs.find(databases[0], parse_name(name), ONE) for name in names]

    ids, found = home.run_many(3, scenario)

    assert len(set(ids)) == 1
    assert found == [StoredBlob(ids[0], 3, "here")] * 20


def test_a_blob_that_is_unlinked_is_gone_from_there_alone(home: Home) -> None:
    """Unlinking takes the blob out of one repository; the second time it says that it was not there."""

    async def scenario(database: Database) -> tuple[list[bool], list[bool]]:
        await _push(database, "a", ONE)
        await _push(database, "a", OTHER)
        await _push(database, "b", ONE)
        unlinked = [await _unlink(database, "a", ONE), await _unlink(database, "a", ONE)]
        seen = [("a", ONE), ("a", OTHER), ("b", ONE)]
        return unlinked, [await blobs.find(database, parse_name(name), digest) is not None for name, digest in seen]

    assert home.run(scenario) == ([True, False], [False, True, True])


def test_a_blob_can_be_pushed_again_after_it_was_unlinked(home: Home) -> None:
    """A push after an unlink makes the same blob visible again."""

    async def scenario(database: Database) -> tuple[int, int, StoredBlob | None]:
        first = await _push(database, "a", ONE)
        await _unlink(database, "a", ONE)
        return first, await _push(database, "a", ONE), await blobs.find(database, parse_name("a"), ONE)

    first, second, found = home.run(scenario)

    assert first == second
    assert found is not None


def test_size_in_asks_one_repository(home: Home) -> None:
    """The size is that of a blob that the repository has, None for one that only another has."""

    async def scenario(database: Database) -> list[int | None]:
        await _push(database, "a", ONE, LARGE)
        await _push(database, "b", OTHER)
        ids = [await repositories.find(database, parse_name(name)) for name in ("a", "b")]
        return [await blobs.size_in(database, repository_id or 0, ONE) for repository_id in ids]

    assert home.run(scenario) == [LARGE, None]


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        ("", None, True),
        ("team/", "team0", True),
        ("team/app", "team/app\x01", True),
        ("team/app", "team/app", False),
        ("", "team/app", False),
        ("team/b", None, False),
        ("other", "other\x01", False),
    ],
)
def test_a_blob_is_found_in_a_range_of_names(home: Home, low: str, high: str | None, found: bool) -> None:  # noqa: FBT001
    """A range finds the blob exactly if a repository with a name in [low, high) has it."""

    async def scenario(database: Database) -> StoredBlob | None:
        await _push(database, "team/app", ONE)
        await _push(database, "other", OTHER)
        return await blobs.find_in_range(database, low, high, ONE)

    assert (home.run(scenario) is not None) is found
