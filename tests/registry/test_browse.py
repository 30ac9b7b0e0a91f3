"""Pages of lists, straight from the database."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import BlobUnknown, NameUnknown
from moorage.metadata.database import Database
from moorage.oci.digest import Digest
from moorage.oci.media_types import OCI_MANIFEST
from moorage.oci.name import parse_name
from moorage.registry.recent import RecentBytes
from tests.registry.house import EVERYWHERE, REPOSITORY, House, descriptor, index

SUBJECT = Digest.of(b"the subject")
OF_SUBJECT = {**descriptor(b"x", OCI_MANIFEST), "digest": str(SUBJECT)}
MEBIBYTE = 1024 * 1024

Ranges = tuple[tuple[str, str | None], ...]
NAMES = ["a", "a-b", "a/b", "ab", "b", "c/d/e"]


@pytest.mark.parametrize(
    ("ranges", "visible"),
    [
        (EVERYWHERE, NAMES),
        ((), []),
        ((("a", "a\0"),), ["a"]),
        ((("a/", "a0"),), ["a/b"]),
        ((("a", "b"),), ["a", "a-b", "a/b", "ab"]),
        ((("a", "a\0"), ("b", None)), ["a", "b", "c/d/e"]),
        ((("d", "z"),), []),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_the_catalog_is_what_ranges_of_names_hold(ranges: Ranges, visible: list[str], count: int, house: House) -> None:
    """Page by page, in order, each page full but the last."""

    async def scenario(database: Database) -> list[str]:
        for name in reversed(NAMES):
            await house.put_blob(database, b"x", name)
        found: list[str] = []
        while True:
            page = await house.browse(database).catalog(ranges, after=found[-1] if found else "", count=count)
            found += page.names
            assert len(page.names) == count or not page.more
            if not page.more:
                return found

    assert house.run(scenario) == visible


def test_tags_of_no_repository_are_unknown(house: House) -> None:
    """NameUnknown with the name; of one that has only blobs there are none."""

    async def scenario(database: Database) -> None:
        with pytest.raises(NameUnknown) as refused:
            await house.browse(database).tags(REPOSITORY, after="", count=0)
        assert refused.value.detail == {"name": REPOSITORY}
        await house.put_blob(database, b"x")
        assert (await house.browse(database).tags(REPOSITORY, after="", count=5)).names == []

    house.run(scenario)


async def referrers(house: House, database: Database, count: int) -> tuple[list[Digest], int, int]:
    """All that are listed, the number of pages, and the bytes of the largest."""
    found: list[Digest] = []
    pages = largest = 0
    last = None
    while True:
        page = await house.browse(database).referrers(REPOSITORY, SUBJECT, artifact_type=None, after=last, count=count)
        found += [Digest.parse(json.loads(entry)["digest"]) for entry in page.descriptors]
        pages += 1
        largest = max(largest, sum(map(len, page.descriptors)))
        last = page.last
        if last is None:
            return found, pages, largest


@pytest.mark.parametrize(("count", "pages"), [(1, 70), (31, 3), (32, 3), (33, 3), (69, 2), (70, 1), (1000, 1)])
def test_referrers_come_in_pages_of_a_number(count: int, pages: int, house: House) -> None:
    """Each once, in the order of digests; more of them than are read at once."""

    async def scenario(database: Database) -> None:
        pushed = [
            await house.put(database, index(subject=OF_SUBJECT, annotations={"n": str(number)})) for number in range(70)
        ]
        found, turned, _ = await referrers(house, database, count)
        assert found == sorted(pushed, key=lambda digest: digest.key)
        assert turned == pages

    house.run(scenario)


def test_a_page_of_referrers_is_bounded_in_bytes(house: House) -> None:
    """Below what clients read; an entry that is larger alone is a page of its own."""

    async def scenario(database: Database) -> None:
        pushed = [
            await house.put(database, index(subject=OF_SUBJECT, annotations={str(number): "x" * size}))
            for number, size in enumerate([MEBIBYTE, MEBIBYTE, 2 * MEBIBYTE, 4 * MEBIBYTE - 1000, 10, 10])
        ]
        found, pages, largest = await referrers(house, database, 1000)
        assert sorted(found) == sorted(pushed)
        assert pages >= 3
        assert largest < 4 * MEBIBYTE

    house.run(scenario)


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 12), st.sampled_from(["get", "put", "forget"]))),
    st.integers(0, 20),
)
def test_recent_bytes_stay_in_their_budget(moves: list[tuple[str, int, str]], budget: int) -> None:
    """Whatever is remembered is what was put last under an absent key, and all of it fits."""
    recent = RecentBytes(budget, 8)
    put: dict[str, bytes] = {}

    for key, size, move in moves:
        if move == "forget":
            recent.forget(key)
            put.pop(key, None)
        elif move == "put":
            if recent.get(key) is None and size <= 8:
                put[key] = key.encode() * size
            recent.put(key, key.encode() * size)
        else:
            assert recent.get(key) in {None, put.get(key)}

    held = [data for key in "abcdef" if (data := recent.get(key)) is not None]
    assert sum(map(len, held)) <= budget


def test_recent_bytes_forget_what_was_used_longest_ago() -> None:
    """A look counts as a use; what is too large is not taken."""
    recent = RecentBytes(30, 10)
    for key in "abc":
        recent.put(key, b"x" * 10)

    recent.get("a")
    recent.put("d", b"x" * 10)
    recent.put("e", b"x" * 11)

    assert [key for key in "abcde" if recent.get(key) is not None] == ["a", "c", "d"]


def test_a_blob_is_read_again_when_it_was_lost_and_came_back(house: House) -> None:
    """Rows are asked each time; only bytes by location are remembered, and those cannot change."""

    async def scenario(database: Database) -> None:
        digest = await house.put_blob(database, b"content")
        pull = house.pull(database)
        assert pull.content(await pull.blob(REPOSITORY, digest)) == b"content"
        await house.delete(database).blob(REPOSITORY, digest)
        with pytest.raises(BlobUnknown):
            await pull.blob(REPOSITORY, digest)
        with pytest.raises(BlobUnknown):
            await pull.blob(parse_name("lib/other"), digest)
        await house.put_blob(database, b"content")
        assert pull.content(await pull.blob(REPOSITORY, digest)) == b"content"

    house.run(scenario)
