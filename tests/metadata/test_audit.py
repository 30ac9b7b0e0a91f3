from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any, TypeVar

import pytest

from moorage.metadata import audit, blobs, integrity, inventory, manifests, outbox, repositories, tags, uploads
from moorage.metadata.audit import BlobRow, ManifestRow, Namer
from moorage.metadata.database import Database, Reader
from moorage.metadata.integrity import Orphans
from moorage.metadata.inventory import RepositoryFacts, TagFacts
from moorage.metadata.manifests import NewManifest
from moorage.metadata.outbox import Kind
from moorage.metadata.uploads import Upload
from moorage.oci.digest import Digest
from moorage.oci.name import parse_name
from moorage.oci.reference import parse_tag
from tests.metadata.homes import Home

T = TypeVar("T")

APP, LIB = parse_name("team/app"), parse_name("team/lib")
ONE, TWO = Digest.of(b"one"), Digest.of(b"two", "sha512")
BODY, CHILD = b"index", b"image"
INDEX, IMAGE = Digest.of(BODY), Digest.of(CHILD)
TYPE = "application/vnd.oci.image.manifest.v1+json"
V1 = parse_tag("v1")
GONE = parse_tag("gone")


async def _fill(transaction: Reader) -> None:
    """Two repositories; app has two blobs, an image and an index over it with a tag, and a tag that was deleted."""
    app, lib = [await repositories.ensure(transaction, name, 1) for name in (APP, LIB)]
    for digest, size in ((ONE, 3 << 40), (TWO, 4)):
        blob_id = await blobs.add(transaction, digest, size, f"at/{digest.hex[:8]}", 1)
        await blobs.link(transaction, app, blob_id, 1)
    await blobs.link(transaction, lib, blob_id, 1)
    image = NewManifest(IMAGE, TYPE, CHILD, "a/b", ONE, b"descriptor", [ONE, TWO])
    await manifests.add(transaction, app, image, 1)
    index_id, _ = await manifests.add(transaction, app, NewManifest(INDEX, TYPE, BODY, None, None, None, [IMAGE]), 1)
    await tags.set_tag(transaction, app, V1, index_id, INDEX, "me", 5)
    await tags.set_tag(transaction, app, GONE, index_id, INDEX, "me", 6)
    await tags.remove(transaction, app, GONE, "me", 7)
    await outbox.note(transaction, Kind.LAYER, APP, ONE.key)
    await uploads.add(transaction, Upload("u" * 32, APP, "me", "sha256", 3, None, "boot", 1, 1))


@pytest.fixture
def on_filled(home: Home) -> Callable[[Callable[[Database], Awaitable[T]]], T]:
    """Runs a scenario on a database that `_fill` has filled."""

    def run(scenario: Callable[[Database], Awaitable[T]]) -> T:
        async def main(database: Database) -> T:
            await database.write(_fill)
            return await scenario(database)

        return home.run(main)

    return run


Run = Callable[[Callable[[Database], Awaitable[Any]]], Any]


def test_blobs_are_listed_page_by_page(on_filled: Run) -> None:
    """Pages of rows follow each other by id, with the totals that they add up to."""

    async def scenario(database: Database) -> object:
        first = await audit.blob_page(database, after=0, count=1)
        second = await audit.blob_page(database, after=first[0].id, count=5)
        again = await audit.blob(database, second[0].id)
        known = [await audit.has_blob(database, key) for key in (ONE.key, IMAGE.key)]
        return first, second, again, known, await audit.blob_totals(database)

    first, second, again, known, totals = on_filled(scenario)

    assert [row[1:] for row in (*first, *second)] == [
        (ONE.key, 3 << 40, f"at/{ONE.hex[:8]}"),
        (TWO.key, 4, f"at/{TWO.hex[:8]}"),
    ]
    assert (again, known, totals) == (second[0], [True, False], (2, (3 << 40) + 4))


def test_totals_of_nothing_are_zero(home: Home) -> None:
    """An empty database adds up to numbers, too."""

    async def scenario(database: Database) -> list[object]:
        return [
            await audit.blob_totals(database),
            await audit.manifest_count(database),
            await audit.repository_count(database),
            await audit.noted(database),
        ]

    assert home.run(scenario) == [(0, 0), 0, 0, 0]


def test_manifests_are_listed_with_their_repository(on_filled: Run) -> None:
    """A page has all that a manifest's row says, and the keys of what it names are asked for by its id."""

    async def scenario(database: Database) -> object:
        rows = await audit.manifest_page(database, after=0, count=5)
        named = [await audit.references(database, row.id) for row in rows]
        return rows, named, await audit.manifest(database, rows[1].id), await audit.manifest(database, 999)

    rows, named, again, nothing = on_filled(scenario)

    assert rows[0] == ManifestRow(
        rows[0].id, rows[0].repository_id, APP, IMAGE.key, TYPE, len(CHILD), "a/b", ONE.key, b"descriptor", CHILD
    )
    assert (rows[1].key, named, again, nothing) == (INDEX.key, [{ONE.key, TWO.key}, {IMAGE.key}], rows[1], None)


def test_who_names_some_content_is_found(on_filled: Run) -> None:
    """The manifests that name a blob or a manifest are told with their repositories."""

    async def scenario(database: Database) -> object:
        return [await audit.namers(database, key) for key in (ONE.key, IMAGE.key, INDEX.key)]

    assert on_filled(scenario) == [[Namer(APP, IMAGE.key)], [Namer(APP, INDEX.key)], []]


def test_a_repository_is_listed_key_by_key(on_filled: Run) -> None:
    """Blobs, manifests and tags of one repository, as the link tree has to have them."""

    async def scenario(database: Database) -> object:
        pages = await audit.repository_page(database, after=0, count=5)
        app = pages[0][0]
        return (
            [name for _, name in pages],
            await audit.layers(database, app),
            await audit.revisions(database, app),
            await audit.tag_targets(database, app),
        )

    assert on_filled(scenario) == (
        [APP, LIB],
        {ONE.key, TWO.key},
        {IMAGE.key: len(CHILD), INDEX.key: len(BODY)},
        {V1: INDEX.key},
    )


def test_a_tags_deletion_is_remembered(on_filled: Run) -> None:
    """Only a tag that was there and was deleted last counts as deleted."""

    async def scenario(database: Database) -> object:
        return [await audit.was_deleted(database, APP, tag) for tag in (GONE, V1, "never")]

    assert on_filled(scenario) == [True, False, False]


def test_a_stray_tag_is_found(on_filled: Run) -> None:
    """A tag whose manifest belongs to another repository is told with its own."""

    async def scenario(database: Database) -> object:
        before = await audit.stray_tags(database)

        async def stray(transaction: Reader) -> None:
            lib = await repositories.ensure(transaction, LIB, 1)
            rows = await audit.manifest_page(transaction, after=0, count=1)
            await tags.set_tag(transaction, lib, V1, rows[0].id, IMAGE, "me", 1)

        await database.write(stray)
        return before, await audit.stray_tags(database)

    assert on_filled(scenario) == ([], [(LIB, V1)])


def test_outbox_and_sessions_are_listed(on_filled: Run) -> None:
    """What waits to be written is counted and found by its key; sessions come page by page."""

    async def scenario(database: Database) -> object:
        asked = [await audit.is_noted(database, kind, APP, ONE.key) for kind in (Kind.LAYER, Kind.REVISION)]
        page = await audit.upload_page(database, after="", count=5)
        return asked, await audit.noted(database), [upload.id for upload in page]

    assert on_filled(scenario) == ([True, False], 1, ["u" * 32])


def test_a_row_is_corrected(on_filled: Run) -> None:
    """Facts, references and body of a manifest can be set anew."""
    right = NewManifest(IMAGE, "c/d", b"new body", "e/f", TWO, b"other", [TWO])

    async def scenario(database: Database) -> object:
        row = (await audit.manifest_page(database, after=0, count=1))[0]

        async def correct(transaction: Reader) -> None:
            await audit.set_facts(transaction, row.id, right)
            await audit.set_body(transaction, row.id, right.body)
            await manifests.set_references(transaction, row.id, right.references)

        await database.write(correct)
        return await audit.manifest(database, row.id), await audit.references(database, row.id)

    row, named = on_filled(scenario)

    assert row[3:] == (IMAGE.key, "c/d", 8, "e/f", TWO.key, b"other", b"new body")
    assert named == {TWO.key}


def test_a_lost_blob_leaves_all_repositories(on_filled: Run) -> None:
    """It is told from which, and no row of it is left."""

    async def scenario(database: Database) -> object:
        rows = await audit.blob_page(database, after=0, count=5)
        held = await database.write(lambda transaction: audit.release_blob(transaction, rows[1].id))
        found = [await blobs.find(database, name, TWO) for name in (APP, LIB)]
        return held, found, await audit.blob(database, rows[1].id), await audit.blob(database, rows[0].id)

    held, found, gone, other = on_filled(scenario)

    assert (held, found, gone) == ([APP, LIB], [None, None], None)
    assert isinstance(other, BlobRow)


def test_a_sound_database_complains_of_nothing(on_filled: Run) -> None:
    """Neither the engine nor a foreign key has anything to say."""

    async def scenario(database: Database) -> object:
        return [
            await integrity.complaints(database, quick=True),
            await integrity.complaints(database, quick=False),
            await integrity.orphans(database),
        ]

    assert on_filled(scenario) == [[], [], []]


def test_rows_without_parent_are_counted_and_removed(sqlite_home: Home) -> None:
    """Where foreign keys did not hold for a while, the rows are told by table and column, and can be removed."""
    sqlite_home.run(lambda database: database.write(_fill))
    with closing(sqlite3.connect(sqlite_home.data / "moorage" / "moorage.db")) as connection:
        connection.execute("DELETE FROM blobs")
        connection.commit()

    async def scenario(database: Database) -> object:
        before = await integrity.orphans(database)
        await database.write(lambda transaction: integrity.remove_orphans(transaction, "repository_blobs", "blob_id"))
        return before, await integrity.orphans(database)

    assert sqlite_home.run(scenario) == ([Orphans("repository_blobs", "blob_id", "blobs", 3)], [])


def test_repositories_are_told_with_their_facts(on_filled: Run) -> None:
    """Tags, bytes and the last push of each repository, by name and page by page."""

    async def scenario(database: Database) -> object:
        first = await inventory.repositories_page(database, after="", count=1)
        return [*first, *await inventory.repositories_page(database, after=first[0].name, count=5)]

    assert on_filled(scenario) == [RepositoryFacts(APP, 1, (3 << 40) + 4, 5), RepositoryFacts(LIB, 0, 4, None)]


def test_tags_are_told_with_what_they_name(on_filled: Run) -> None:
    """A tag comes with its manifest; a manifest with its tags."""

    async def scenario(database: Database) -> object:
        page = await inventory.tags_page(database, APP, after="", count=5)
        rest = await inventory.tags_page(database, APP, after=V1, count=5)
        return page, rest, [await inventory.tags_of(database, APP, digest) for digest in (INDEX, IMAGE)]

    assert on_filled(scenario) == ([TagFacts(V1, 5, INDEX, TYPE, BODY)], [], [[V1], []])
