from __future__ import annotations

from moorage.metadata import outbox
from moorage.metadata.database import Database, Reader
from moorage.metadata.outbox import Kind
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
