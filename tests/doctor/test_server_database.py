"""The database file, and the first password."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.app import Folders
from moorage.auth.passwords import hash_argon2
from moorage.doctor.accounts import account, me
from moorage.doctor.finding import Finding, Verdict
from moorage.doctor.server.database import look_at_database, look_at_initial_password
from moorage.metadata import users
from moorage.metadata.migrate import HEAD, bring_up_to_date
from moorage.metadata.open import open_database
from moorage.metadata.users import User
from moorage.settings.model import Settings
from tests.doctor.findings import all_of, bad, let_in, only, own_folder
from tests.metadata.postgres_server import PostgresServer
from tests.programs import need_root

NOBODY = 65534
PASSWORD = "aaaaa-bbbbb-ccccc-ddddd"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In place of pytest's, which other users cannot be let in to."""
    with own_folder() as folder:
        yield folder


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """A data folder with a database as the server makes it."""
    data = tmp_path / "data"
    (data / "moorage").mkdir(parents=True, mode=0o700)
    asyncio.run(bring_up_to_date(None, data))
    return Folders(data)


def looked(folders: Folders, uid: int | None = None, database: str | None = None) -> list[Finding]:
    """What is said of the database, for a server of this user or another."""
    settings = Settings(data=folders.data, database=database)
    return all_of(look_at_database(settings, me() if uid is None else account(uid)))


def add_admin(folders: Folders, password: str) -> None:
    """Make the administrator with this password."""

    async def work() -> None:
        database = open_database(None, folders.data)
        admin = User("admin", hash_argon2(password), admin=True, disabled=False, created_at=1)
        await database.write(lambda transaction: users.add(transaction, admin))
        await database.close()

    asyncio.run(work())


def first_password(folders: Folders, *, days_old: float) -> list[Finding]:
    """What is said of a first password that has lain there for so long."""
    path = folders.initial_password
    path.write_text(PASSWORD + "\n")
    then = path.stat().st_mtime - days_old * 86400
    os.utime(path, (then, then))
    return all_of(look_at_initial_password(Settings(data=folders.data), folders, me()))


def test_a_database_as_the_server_made_it_is_well(folders: Folders) -> None:
    """It opens, is whole, and has this program's schema."""
    found = looked(folders)

    assert bad(found) == []
    assert f"its structures are whole (schema {HEAD})" in found[0].what


def test_no_database_yet_is_well(tmp_path: Path) -> None:
    """Before the first start there is none."""
    assert bad(looked(Folders(tmp_path))) == []


def test_a_newer_schema_is_named(folders: Folders) -> None:
    """An older program does not touch what a newer one has written."""
    with sqlite3.connect(folders.ours / "moorage.db") as connection:
        connection.execute("UPDATE schema_version SET version_num = '9999'")
    connection.close()

    one = only(looked(folders))

    assert "its schema is 9999" in one.what
    assert one.blocks


def test_an_older_schema_is_well(folders: Folders) -> None:
    """The server brings it up to date by itself."""
    with sqlite3.connect(folders.ours / "moorage.db") as connection:
        connection.execute("UPDATE schema_version SET version_num = '0000'")
    connection.close()

    assert bad(looked(folders)) == []


def test_damaged_pages_are_found(folders: Folders) -> None:
    """What a failing disk or a copy made under a running server leaves behind."""
    with sqlite3.connect(folders.ours / "moorage.db") as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        for number in range(400):
            connection.execute(
                "INSERT INTO users (name, password_hash, admin, disabled, created_at) VALUES (?, ?, 0, 0, 0)",
                (f"user{number}", "x" * 200),
            )
    connection.close()
    path = folders.ours / "moorage.db"
    data = bytearray(path.read_bytes())
    half = len(data) // 2 // 4096 * 4096
    data[half : half + 8192] = os.urandom(8192)
    path.write_bytes(data)

    one = only(looked(folders))

    assert "is damaged" in one.what
    assert "moorage check --fast" in one.remedy


def test_another_file_in_its_place_is_named(folders: Folders) -> None:
    """A file that is no database at all."""
    (folders.ours / "moorage.db").write_bytes(b"not a database" * 1000)

    assert "is damaged: file is not a database" in only(looked(folders)).what


def test_an_empty_file_is_a_warning(folders: Folders) -> None:
    """A start on a full disk leaves one; if there was more before, somebody should know."""
    for path in folders.ours.iterdir():
        path.unlink()
    (folders.ours / "moorage.db").touch()

    assert "is empty" in only(looked(folders)).what


def test_another_programs_database_is_named(folders: Folders) -> None:
    """The server makes no tables beside somebody else's."""
    path = folders.ours / "moorage.db"
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()

    assert "and not Moorage's" in only(looked(folders)).what


def test_a_database_that_the_servers_user_cannot_open_is_named(folders: Folders) -> None:
    """It was restored by root, and the server runs as somebody else."""
    need_root()
    let_in(folders.ours)
    os.chown(folders.ours, NOBODY, NOBODY)

    one = only(looked(folders, NOBODY))

    assert "nobody cannot use" in one.what
    assert one.remedy[0] == f"sudo chown -R nobody:nogroup {folders.ours}"


def test_nothing_of_roots_is_left_in_the_folder(folders: Folders) -> None:
    """A look as root at another user's database leaves no file of root's beside it, which would stop the server."""
    need_root()
    let_in(folders.ours)
    for path in (folders.data, *folders.data.rglob("*")):
        os.chown(path, NOBODY, NOBODY)

    assert bad(looked(folders, NOBODY)) == []
    assert {path.stat().st_uid for path in folders.ours.iterdir()} == {NOBODY}


def test_a_first_password_in_force_is_a_warning_after_a_day(folders: Folders) -> None:
    """The administrator never set another one, and the file still tells it."""
    add_admin(folders, PASSWORD)

    one = only(first_password(folders, days_old=2))

    assert "is still in force" in one.what
    assert "moorage user passwd admin" in one.remedy
    assert PASSWORD not in "".join((one.what, one.meaning, *one.remedy, str(one.facts)))


def test_a_first_password_of_today_is_well(folders: Folders) -> None:
    """Nobody is reminded on the first day."""
    add_admin(folders, PASSWORD)

    found = first_password(folders, days_old=0)

    assert [one.verdict for one in found] == [Verdict.OK]


def test_a_first_password_that_was_changed_is_well(folders: Folders) -> None:
    """The file is of no use any more, and can go."""
    add_admin(folders, "another one")

    found = first_password(folders, days_old=20)

    assert bad(found) == []
    assert "is of no use any more" in found[0].what


def test_postgresql_is_asked_too(tmp_path: Path) -> None:
    """An empty database is well, one that nobody answers for is not, and its password is never shown."""
    folders = Folders(tmp_path)
    server = PostgresServer()
    try:
        reachable = looked(folders, database=server.url(server.create()))
    finally:
        server.remove()

    one = only(looked(folders, database="postgresql://moorage:secret-word@127.0.0.1:1/registry"))

    assert bad(reachable) == []
    assert "the PostgreSQL database cannot be used" in one.what
    assert "secret-word" not in "".join((one.what, one.meaning, *one.remedy))
