from __future__ import annotations

from moorage.metadata import manifests, outbox, repositories, tags
from moorage.metadata.database import Database, Reader
from moorage.metadata.manifests import NewManifest
from moorage.metadata.outbox import Kind
from moorage.oci.digest import Digest
from moorage.oci.name import parse_name
from moorage.oci.reference import parse_tag
from tests.metadata.homes import Home

CHANGES = [
    (Kind.LAYER, "b", b"\x01\x00\xff"),
    (Kind.REVISION, "a", b"\x02"),
    (Kind.TAG, "c", b"latest"),
    (Kind.TAG, "c", b"latest"),
]


async def _note_all(database: Database) -> None:
    async def work(transaction: Reader) -> None:
        for kind, repository, key in CHANGES:
            await outbox.note(transaction, kind, repository, key)

    await database.write(work)


def test_changes_come_in_the_order_they_were_noted(home: Home) -> None:
    """Changes come oldest first, up to so many, the same one as often as it was noted."""

    async def scenario(database: Database) -> list[list[tuple[Kind, str, bytes]]]:
        await _note_all(database)
        pages = [await outbox.next_changes(database, count) for count in (100, 2, 0)]
        return [[(change.kind, change.repository, change.key) for change in page] for page in pages]

    assert home.run(scenario) == [CHANGES, CHANGES[:2], []]


def test_a_change_that_is_done_is_forgotten_alone(home: Home) -> None:
    """Removing a change leaves its equals, and may be repeated."""

    async def scenario(database: Database) -> list[tuple[Kind, str, bytes]]:
        await _note_all(database)
        last = (await outbox.next_changes(database, 100))[-1]
        for _ in range(2):
            await database.write(lambda transaction: outbox.remove(transaction, [last]))
        return [(change.kind, change.repository, change.key) for change in await outbox.next_changes(database, 100)]

    assert home.run(scenario) == CHANGES[:-1]


def test_any_number_of_changes_is_forgotten_at_once(home: Home) -> None:
    """A whole batch goes in one transaction, whatever its size, and what was noted after it stays."""

    async def scenario(database: Database) -> list[tuple[Kind, str, bytes]]:
        for _ in range(63):
            await _note_all(database)
        batch = await outbox.next_changes(database, 1000)
        await _note_all(database)
        await database.write(lambda transaction: outbox.remove(transaction, batch))
        return [(change.kind, change.repository, change.key) for change in await outbox.next_changes(database, 1000)]

    assert home.run(scenario) == CHANGES


def test_tags_of_a_manifest_are_noted_at_once(home: Home) -> None:
    """Each tag that names it is noted by its name's bytes, and none that names another manifest."""

    async def tag(transaction: Reader, repository_id: int, name: str, body: bytes) -> int:
        new = NewManifest(Digest.of(body), "application/json", body, None, None, None, ())
        manifest_id, _ = await manifests.add(transaction, repository_id, new, 1)
        await tags.set_tag(transaction, repository_id, parse_tag(name), manifest_id, new.digest, "me", 1)
        return manifest_id

    async def scenario(database: Database) -> list[tuple[Kind, str, bytes]]:
        async def work(transaction: Reader) -> None:
            repository_id = await repositories.ensure(transaction, parse_name("team/app"), 1)
            await tag(transaction, repository_id, "other", b"other")
            for name in ("1.0-rc_2", "Latest"):
                manifest_id = await tag(transaction, repository_id, name, b"{}")
            await outbox.note_tags(transaction, "team/app", manifest_id)

        await database.write(work)
        return [(change.kind, change.repository, change.key) for change in await outbox.next_changes(database, 100)]

    assert sorted(home.run(scenario)) == [(Kind.TAG, "team/app", b"1.0-rc_2"), (Kind.TAG, "team/app", b"Latest")]
