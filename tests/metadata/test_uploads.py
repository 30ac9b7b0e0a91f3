from __future__ import annotations

import pytest

from moorage.metadata import uploads
from moorage.metadata.database import Database
from moorage.metadata.uploads import Upload
from tests.metadata.homes import Home


def _upload(number: int, *, principal: str = "me", updated_at: int = 100) -> Upload:
    return Upload(f"upload{number}", "team/app", principal, "sha256", 0, None, "boot", 100, updated_at)


async def _add(database: Database, *sessions: Upload) -> None:
    for session in sessions:
        await database.write(lambda transaction, session=session: uploads.add(transaction, session))  # type: ignore[misc]


def test_a_session_reads_back_as_it_was_begun(home: Home) -> None:
    """Every field comes back; another id has nothing."""
    session = Upload("0" * 32, "team/app", "htpasswd:me", "sha512", 5 * 2**40, "ab" * 64, "boot", 2**50, 2**50 + 1)

    async def scenario(database: Database) -> list[Upload | None]:
        await _add(database, session)
        return [await uploads.find(database, upload_id) for upload_id in (session.id, "1" * 32)]

    assert home.run(scenario) == [session, None]


def test_progress_is_seen_by_whoever_goes_on(home: Home) -> None:
    """After each step another object sees offset, digest, boot and time, and nothing else of the session changed."""

    async def scenario(databases: list[Database]) -> list[Upload | None]:
        await _add(databases[0], _upload(1), _upload(2))
        seen = []
        for offset, digest, boot, now in ((7, "aa", "boot", 200), (9, None, "another", 300)):
            await databases[0].write(
                lambda transaction, step=(offset, digest, boot, now): uploads.advance(transaction, "upload1", *step),  # type: ignore[misc]
                durable=False,
            )
            seen.append(await uploads.find(databases[1], "upload1"))
        return [*seen, await uploads.find(databases[1], "upload2")]

    first, second, untouched = home.run_many(2, scenario)

    assert first == _upload(1)._replace(offset=7, digest="aa", updated_at=200)
    assert second == _upload(1)._replace(offset=9, boot="another", updated_at=300)
    assert untouched == _upload(2)


def test_a_session_that_ended_is_not_found_and_ends_twice(home: Home) -> None:
    """Removing is final and may be repeated; progress of a session that is gone makes no new one."""

    async def scenario(database: Database) -> list[Upload | None]:
        await _add(database, _upload(1), _upload(2))
        for _ in range(2):
            await database.write(lambda transaction: uploads.remove(transaction, "upload1"))
        await database.write(lambda transaction: uploads.advance(transaction, "upload1", 1, None, "boot", 1))
        return [await uploads.find(database, upload_id) for upload_id in ("upload1", "upload2")]

    assert home.run(scenario) == [None, _upload(2)]


def test_sessions_are_counted_by_principal(home: Home) -> None:
    """Each principal's open sessions are its own."""

    async def scenario(database: Database) -> list[int]:
        await _add(database, _upload(1), _upload(2), _upload(3, principal="other"))
        await database.write(lambda transaction: uploads.remove(transaction, "upload2"))
        return [await uploads.count(database, principal) for principal in ("me", "other", "nobody", "ME")]

    assert home.run(scenario) == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("before", "count", "expected"),
    [
        (99, 10, []),
        (100, 10, []),
        (101, 10, ["upload2"]),
        (300, 10, ["upload2", "upload0"]),
        (301, 10, ["upload2", "upload0", "upload1"]),
        (301, 2, ["upload2", "upload0"]),
    ],
)
def test_stale_sessions_are_those_untouched_since(home: Home, before: int, count: int, expected: list[str]) -> None:
    """Sessions last touched before a time are listed, the oldest first, up to so many."""

    async def scenario(database: Database) -> list[str]:
        times = (200, 300, 100)
        await _add(database, *(_upload(number, updated_at=time) for number, time in enumerate(times)))
        return [session.id for session in await uploads.stale(database, before=before, count=count)]

    assert home.run(scenario) == expected
