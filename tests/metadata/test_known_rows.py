"""Remembered answers hold exactly until the next commit, whoever makes it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import bindparam, select

from moorage.metadata.database import Statement
from moorage.metadata.known_rows import KnownRows
from moorage.metadata.schema import users
from moorage.metadata.wal_stamp import WalStamp

STATEMENT = Statement(lambda insert: select(users.c.name).where(users.c.name == bindparam("name")))


@pytest.fixture
def database(tmp_path: Path) -> sqlite3.Connection:
    """A database in WAL mode, with this connection open."""
    connection = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE things (name)")
    return connection


def commit_elsewhere(path: Path) -> None:
    """Commit in another process."""
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('INSERT INTO things VALUES (1)'); c.commit()"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


def test_a_stamp_stays_while_nobody_commits(database: sqlite3.Connection, tmp_path: Path) -> None:
    """Reads, and writes that are rolled back, do not change what commits change."""
    stamp = WalStamp(tmp_path / "test.db")
    before = stamp.read()

    database.execute("SELECT * FROM things").fetchall()
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO things VALUES (1)")
    database.execute("ROLLBACK")

    assert before is not None
    assert stamp.read() == before


def test_every_commit_changes_the_stamp(database: sqlite3.Connection, tmp_path: Path) -> None:
    """A commit of this process, of another one, and a checkpoint that starts the log anew are all seen."""
    stamp = WalStamp(tmp_path / "test.db")
    seen = [stamp.read()]

    database.execute("INSERT INTO things VALUES (1)")
    seen.append(stamp.read())
    commit_elsewhere(tmp_path / "test.db")
    seen.append(stamp.read())
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.execute("INSERT INTO things VALUES (2)")
    seen.append(stamp.read())

    assert len(set(seen)) == len(seen)


def test_an_answer_is_forgotten_with_the_next_commit(database: sqlite3.Connection, tmp_path: Path) -> None:
    """What was remembered is given until somebody commits, and not after."""
    known = KnownRows(tmp_path / "test.db")
    known.get(STATEMENT, ("a",))
    known.put(STATEMENT, ("a",), [("a",)])
    before = known.get(STATEMENT, ("a",))

    commit_elsewhere(tmp_path / "test.db")

    assert before == [("a",)]
    assert known.get(STATEMENT, ("a",)) is None


def test_a_write_lock_of_this_process_outlives_a_new_stamp(database: sqlite3.Connection, tmp_path: Path) -> None:
    """Looking at the WAL index does not cost SQLite its locks on it: another process still waits for the writer."""
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO things VALUES (1)")

    for _ in range(3):
        WalStamp(tmp_path / "test.db").read()
    code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    other = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "test.db")], capture_output=True, text=True, check=False
    )

    assert "database is locked" in other.stderr


@pytest.mark.parametrize("rows", [[("a",), ("b",)], [(b"x" * 20_000,)]], ids=["a list", "a large manifest"])
def test_large_answers_are_not_kept(database: sqlite3.Connection, tmp_path: Path, rows: list[tuple[object]]) -> None:
    """Lists and large manifests would fill the memory."""
    known = KnownRows(tmp_path / "test.db")
    known.get(STATEMENT, ("a",))

    known.put(STATEMENT, ("a",), rows)

    assert known.get(STATEMENT, ("a",)) is None
