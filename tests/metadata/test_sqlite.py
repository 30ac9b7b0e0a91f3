"""What only SQLite can do wrong."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import sqlite3
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import bindparam, text

from moorage.errors import StorageFull, Unavailable
from moorage.metadata import blobs, outbox, repositories
from moorage.metadata.database import Database, Reader, Statement
from moorage.metadata.outbox import Kind
from moorage.metadata.schema import repositories as repositories_table
from moorage.oci.name import parse_name
from tests.metadata.homes import Home
from tests.programs import lacking, need_root

MEBIBYTE = 1 << 20
INSERT = Statement(lambda insert: insert(repositories_table).values(name=bindparam("name"), created_at=1))


def _file(home: Home) -> Path:
    return home.data / "moorage" / "moorage.db"


async def _add(database: Database, name: str) -> int:
    return await database.write(lambda transaction: repositories.ensure(transaction, parse_name(name), 1))


async def _write_bytes(database: Database, size: int) -> None:
    await database.write(lambda transaction: outbox.note(transaction, Kind.LAYER, "big", bytes(size)))


@contextmanager
def _writers_held(home: Home) -> Iterator[None]:
    """Keep every writer waiting, as another process's commit does."""
    lock = os.open(_file(home).with_name("writer.lock"), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _commits(home: Home) -> int:
    """How many transactions the write-ahead log holds (sqlite.org/fileformat2.html, "WAL File Format")."""
    log = _file(home).with_name("moorage.db-wal").read_bytes()
    magic, _, page_size, _, salt = struct.unpack_from(">IIIIQ", log)
    assert magic & ~1 == 0x377F0682
    frames = range(32, len(log) - page_size, 24 + page_size)
    headers = [struct.unpack_from(">IIQ", log, frame) for frame in frames]
    # The second number is the database's size where a frame ends a transaction, and else 0.
    return sum(1 for _, size, frame_salt in headers if size and frame_salt == salt)


def test_a_read_never_suspends(sqlite_home: Home) -> None:
    """A read is done when it is first driven, so a handler that only reads needs no task."""
    database = sqlite_home.open()

    read = repositories.find(database, parse_name("app"))
    with pytest.raises(StopIteration) as done:
        read.send(None)

    assert done.value.value is None
    asyncio.run(database.close())


def test_writes_that_wait_together_are_committed_together(sqlite_home: Home) -> None:
    """While one commit runs, or waits for another process, all that come meanwhile make one transaction."""

    async def scenario(database: Database) -> int:
        await _add(database, "first")
        before = _commits(sqlite_home)
        with _writers_held(sqlite_home):
            writes = [asyncio.create_task(_add(database, f"app{number}")) for number in range(100)]
            await asyncio.sleep(0.05)
        await asyncio.gather(*writes)
        return _commits(sqlite_home) - before

    # The first of them may have been alone when the thread took it.
    assert sqlite_home.run(scenario) <= 2


def test_a_cancelled_caller_does_not_hurt_those_who_wait_with_it(sqlite_home: Home) -> None:
    """A caller that is cancelled while it waits hears so at once; the others' writes are done."""

    async def scenario(database: Database) -> tuple[bool, int | None]:
        with _writers_held(sqlite_home):
            cancelled = asyncio.create_task(_add(database, "cancelled"))
            other = asyncio.create_task(_add(database, "other"))
            await asyncio.sleep(0.02)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            waiting = not other.done()
        await other
        return waiting, await repositories.find(database, parse_name("other"))

    waiting, found = sqlite_home.run(scenario)

    assert waiting
    assert found is not None


def test_a_loop_that_ends_with_writes_waiting_leaves_the_writer_alive(sqlite_home: Home) -> None:
    """The thread that writes outlives an event loop whose callers are gone."""
    database = sqlite_home.open()

    async def abandon() -> None:
        task = asyncio.create_task(_add(database, "abandoned"))
        await asyncio.sleep(0.02)
        task.cancel()

    with _writers_held(sqlite_home):
        asyncio.run(abandon())

    async def go_on() -> int:
        try:
            return await _add(database, "later")
        finally:
            await database.close()

    assert asyncio.run(go_on()) > 0


def test_closing_ends_the_thread(sqlite_home: Home) -> None:
    """No thread, no connection and no write-ahead log stay behind a closed database."""
    before = threading.active_count()

    sqlite_home.run(lambda database: _add(database, "app"))

    assert [thread.name for thread in threading.enumerate() if thread.name == "sqlite-writer"] == []
    assert threading.active_count() <= before + 1  # asyncio's own, which closes
    assert sorted(path.name for path in _file(sqlite_home).parent.iterdir()) == ["moorage.db", "writer.lock"]


def test_a_transaction_may_wait_for_nothing_else(sqlite_home: Home) -> None:
    """Work that awaits something other than its reader fails, alone, and keeps nothing."""

    async def scenario(database: Database) -> list[int | None]:
        async def work(transaction: Reader) -> None:
            await repositories.ensure(transaction, parse_name("waiting"), 1)
            await asyncio.sleep(0)

        with pytest.raises(RuntimeError, match="other than its reader"):
            await database.write(work)
        await _add(database, "later")
        return [await repositories.find(database, parse_name(name)) for name in ("waiting", "later")]

    waiting, later = sqlite_home.run(scenario)

    assert waiting is None
    assert later is not None


def test_a_read_cannot_write(sqlite_home: Home) -> None:
    """A statement that writes is refused outside a transaction, where it would pass by the writers' lock."""

    async def scenario(database: Database) -> list[int | None]:
        with pytest.raises(Unavailable):
            await database.rows(INSERT, {"name": "app"})
        return [await repositories.find(database, parse_name("app"))]

    assert sqlite_home.run(scenario) == [None]


def test_a_database_that_may_not_grow_is_full_only_for_what_is_too_large(sqlite_home: Home) -> None:
    """SQLite gives up the whole group when it is full; those that fit are committed nevertheless."""

    async def too_large(transaction: Reader) -> None:
        # The limit is the connection's own, and a connection that failed is not used again.
        await transaction.rows(Statement(lambda insert: text("PRAGMA max_page_count = 1")), {})
        await outbox.note(transaction, Kind.LAYER, "big", bytes(MEBIBYTE))

    async def scenario(database: Database) -> list[object]:
        with _writers_held(sqlite_home):
            writes = [asyncio.create_task(_add(database, f"before{number}")) for number in range(3)]
            full = asyncio.create_task(database.write(too_large))
            writes += [asyncio.create_task(_add(database, f"after{number}")) for number in range(3)]
            await asyncio.sleep(0.02)
        with pytest.raises(StorageFull):
            await full
        return [*await asyncio.gather(*writes), await outbox.next_changes(database, 10)]

    *made, changes = sqlite_home.run(scenario)

    assert len(set(made)) == 6
    assert changes == []


def test_a_commit_that_fails_is_undone_and_fails_alone(sqlite_home: Home) -> None:
    """SQLite leaves a transaction open whose commit it refuses; its neighbours and the next are committed."""

    async def dangling(transaction: Reader) -> None:
        await transaction.rows(Statement(lambda insert: text("PRAGMA defer_foreign_keys = ON")), {})
        await blobs.link(transaction, 404, 404, 1)

    async def scenario(database: Database) -> list[int]:
        with _writers_held(sqlite_home):
            one = asyncio.create_task(_add(database, "one"))
            wrong = asyncio.create_task(database.write(dangling))
            other = asyncio.create_task(_add(database, "other"))
            await asyncio.sleep(0.02)
        with pytest.raises(sqlite3.IntegrityError):
            await wrong
        return [await one, await other, await _add(database, "next")]

    assert len(set(sqlite_home.run(scenario))) == 3


def test_a_full_disk_is_said_and_forgotten_when_there_is_room(sqlite_home: Home, tmp_path: Path) -> None:
    """On a disk that is full writes raise StorageFull, reads go on, and writes work again when there is room."""
    disk = tmp_path / "disk"
    with _small_disk(disk):
        shutil.copytree(sqlite_home.data, disk / "data")
        home = Home("sqlite", None, disk / "data")
        ballast = disk / "ballast"

        async def scenario(database: Database) -> tuple[int | None, int]:
            made = await _add(database, "before")
            ballast.write_bytes(bytes(2 * MEBIBYTE))
            with pytest.raises(StorageFull):
                await _write_bytes(database, 3 * MEBIBYTE)
            found = await repositories.find(database, parse_name("before"))
            ballast.unlink()
            await _write_bytes(database, MEBIBYTE)
            return found == made, len(await outbox.next_changes(database, 10))

        assert home.run(scenario) == (True, 1)


def test_a_disk_that_cannot_be_written_is_unavailable_until_it_can(sqlite_home: Home, tmp_path: Path) -> None:
    """A file system that is read-only, as the kernel leaves one after errors, is Unavailable until it is not."""
    disk = tmp_path / "disk"
    with _small_disk(disk):
        shutil.copytree(sqlite_home.data, disk / "data")
        _remount(disk, "ro")

        async def scenario(database: Database) -> int | None:
            for use in (_add(database, "app"), repositories.find(database, parse_name("app"))):
                with pytest.raises(Unavailable):
                    await use
            _remount(disk, "rw")
            await _add(database, "app")
            return await repositories.find(database, parse_name("app"))

        assert Home("sqlite", None, disk / "data").run(scenario) is not None


def _remount(folder: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """A file system of 4 MiB."""
    need_root()
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
    if subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode:
        lacking("this machine does not let its root mount anything")
    try:
        yield
    finally:
        # Lazily: a process keeps what it has mapped of the write-ahead log's index.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("content", [None, b"not a database at all" * 100], ids=["missing", "garbage"])
def test_a_file_that_is_lost_is_unavailable_until_it_is_back(sqlite_home: Home, content: bytes | None) -> None:
    """Without its file the database raises Unavailable, makes no new one, and works when the file is back."""
    file, kept = _file(sqlite_home), _file(sqlite_home).with_name("kept")
    file.rename(kept)
    if content is not None:
        file.write_bytes(content)

    async def scenario(database: Database) -> int:
        for use in (_add(database, "app"), repositories.find(database, parse_name("app"))):
            with pytest.raises(Unavailable):
                await use
        assert content is not None or not file.exists()
        kept.replace(file)
        return await _add(database, "app")

    assert sqlite_home.run(scenario) > 0


def test_a_lock_that_cannot_be_opened_is_unavailable_until_it_can(sqlite_home: Home) -> None:
    """Where the writers' lock cannot be opened, writes raise Unavailable, and reads go on."""
    lock = _file(sqlite_home).with_name("writer.lock")
    lock.unlink()
    lock.mkdir()

    async def scenario(database: Database) -> int | None:
        with pytest.raises(Unavailable):
            await _add(database, "app")
        assert await repositories.find(database, parse_name("app")) is None
        lock.rmdir()
        return await _add(database, "app")

    assert sqlite_home.run(scenario)


def test_a_database_that_somebody_locked_is_unavailable_and_not_waited_for_long(sqlite_home: Home) -> None:
    """A program that keeps the file to itself makes reads raise Unavailable; they work when it has gone."""
    hog = sqlite3.connect(_file(sqlite_home), isolation_level=None)
    hog.execute("PRAGMA locking_mode=EXCLUSIVE")
    hog.execute("BEGIN EXCLUSIVE")

    async def scenario(database: Database) -> int | None:
        with pytest.raises(Unavailable):
            await repositories.find(database, parse_name("app"))
        hog.close()
        return await repositories.find(database, parse_name("app"))

    assert sqlite_home.run(scenario) is None
