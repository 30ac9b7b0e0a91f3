"""Commits that need not be durable, on the event loop itself."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from moorage.errors import TooManyRequests
from moorage.metadata import uploads
from moorage.metadata.database import Database, Reader
from moorage.metadata.uploads import Upload
from tests.metadata.homes import Home


def _upload(number: int) -> Upload:
    return Upload(f"{number:032x}", "app", "users:ann", "sha256", 0, None, "boot", 1, 1)


async def _add(database: Database, number: int) -> None:
    await database.write(lambda transaction: uploads.add(transaction, _upload(number)), durable=False)


@contextmanager
def _writers_held(home: Home) -> Iterator[None]:
    lock = os.open(home.data / "moorage" / "writer.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def test_soft_write_does_not_suspend_while_nobody_writes(sqlite_home: Home) -> None:
    """It is done when it is first driven, so a handler needs no task for it, and others see it at once."""

    async def scenario(databases: list[Database]) -> Upload | None:
        with pytest.raises(StopIteration):
            _add(databases[0], 1).send(None)
        return await uploads.find(databases[1], f"{1:032x}")

    assert sqlite_home.run_many(2, scenario) == _upload(1)


def test_soft_write_waits_while_another_process_writes(sqlite_home: Home) -> None:
    """While the writers' lock is held the loop goes on, and the write is done afterwards."""

    async def scenario(database: Database) -> tuple[bool, Upload | None]:
        with _writers_held(sqlite_home):
            writing = asyncio.create_task(_add(database, 1))
            await asyncio.sleep(0.05)
            waited = not writing.done()
        await writing
        return waited, await uploads.find(database, f"{1:032x}")

    assert sqlite_home.run(scenario) == (True, _upload(1))


def test_soft_write_that_raises_keeps_nothing(sqlite_home: Home) -> None:
    """What the work raises is raised to its caller, what it had written is gone, and the next write succeeds."""

    async def scenario(database: Database) -> tuple[int, int]:
        async def fail(transaction: Reader) -> None:
            await uploads.add(transaction, _upload(1))
            raise TooManyRequests

        with pytest.raises(TooManyRequests):
            await database.write(fail, durable=False)
        none = await uploads.count(database, "users:ann")
        await _add(database, 2)
        return none, await uploads.count(database, "users:ann")

    assert sqlite_home.run(scenario) == (0, 1)


def test_soft_write_that_breaks_a_rule_of_the_schema_is_told(sqlite_home: Home) -> None:
    """An error of SQLite's own reaches the caller by way of the writer, and does no harm to what follows."""

    async def scenario(database: Database) -> int:
        await _add(database, 1)
        with pytest.raises(Exception, match="UNIQUE"):
            await _add(database, 1)
        await _add(database, 2)
        return await uploads.count(database, "users:ann")

    assert sqlite_home.run(scenario) == 2


def test_log_of_soft_writes_does_not_grow_for_ever(sqlite_home: Home) -> None:
    """Now and then one of them goes to the writer, which carries the write-ahead log over into the database."""

    async def scenario(database: Database) -> int:
        for number in range(4000):
            await _add(database, number)
        return (sqlite_home.data / "moorage" / "moorage.db-wal").stat().st_size

    written_at_least = 4000 * 4096
    assert sqlite_home.run(scenario) < written_at_least


def test_soft_write_after_close_opens_again(sqlite_home: Home) -> None:
    """A closed database is opened by the next write, as by any other call."""

    async def scenario(database: Database) -> int:
        await _add(database, 1)
        await database.close()
        await _add(database, 2)
        return await uploads.count(database, "users:ann")

    assert sqlite_home.run(scenario) == 2
