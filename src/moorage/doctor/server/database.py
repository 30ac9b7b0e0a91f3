"""The database: there, whole, of a schema that this program knows; and the first password that still lies about."""

from __future__ import annotations

import os
import shlex
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from moorage.app import Folders
from moorage.auth.passwords import verify
from moorage.doctor.accounts import Account, acting_as, open_to_others
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong
from moorage.errors import MoorageError
from moorage.metadata import users
from moorage.metadata.migrate import HEAD, revision
from moorage.metadata.open import PostgresServer, SqliteFile, locate, open_database
from moorage.metadata.sqlite_connection import connect, primary_code
from moorage.server.first_start import ADMINISTRATOR
from moorage.settings.model import Settings

_PATIENCE: Final = 10.0
_LONGEST_CHECK: Final = 20.0
"""Seconds after which the quick check of a large file is given up; `moorage check` takes its time."""
_STEPS_BETWEEN_LOOKS: Final = 100_000
_GRACE: Final = 24 * 3600.0
"""Seconds for which a first password may lie where the server put it before anybody is reminded. Arbitrary."""


async def look_at_database(settings: Settings, user: Account) -> AsyncIterator[Finding]:
    """Whether the database can be opened, is whole, and of the right schema."""
    place = locate(settings.database, settings.data)
    if isinstance(place, PostgresServer):
        async for finding in _look_at_server(settings):
            yield finding
        return
    for finding in look_at_file(place, user):
        yield finding


def look_at_file(place: SqliteFile, user: Account) -> Iterator[Finding]:
    """The same of a SQLite file."""
    path = place.path
    with acting_as(user):
        found = list(_look_at(path, user))
    yield from found
    if open_to_others(path):
        yield warning(
            f"{path} can be read by every user of this machine",
            "It holds the users' password hashes.",
            f"sudo chmod 600 {shlex.quote(str(path))}",
        )


def _look_at(path: Path, user: Account) -> Iterator[Finding]:
    try:
        size = os.stat(path).st_size
    except FileNotFoundError:
        yield ok(f"{path} is not there yet; the server makes it when it starts first", path=str(path))
        return
    except OSError as error:
        yield _closed(path, user, error.strerror or "cannot be opened")
        return
    if not size:
        yield warning(
            f"{path} is empty",
            "A start that was cut off, or a disk that was full then, left it so; the server makes its tables when it"
            " starts. If there were users and images before, restore the file from a backup first.",
            path=str(path),
        )
        return
    yield from _look_inside(path, user)


def _look_inside(path: Path, user: Account) -> Iterator[Finding]:
    try:
        with closing(connect(path, patience=_PATIENCE)) as connection:
            version = _revision(connection)
            if version is None:
                yield wrong(
                    f"{path} is a database, and not Moorage's",
                    "The server makes no tables beside another program's.",
                    "moorage serve --database sqlite:////PATH/OF/ANOTHER/moorage.db ...",
                    blocks=True,
                )
                return
            yield from _judge_revision(str(path), version)
            yield from _check(connection, path)
    except sqlite3.Error as error:
        yield _broken(path, user, error)


def _revision(connection: sqlite3.Connection) -> str | None:
    """The schema's revision; None where Moorage's table of it is missing."""
    from moorage.metadata.migrate import VERSION_TABLE

    tables = {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if VERSION_TABLE not in tables:
        return None if tables else ""
    row = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - a constant
    return str(row[0]) if row else ""


def _judge_revision(where: str, version: str) -> Iterator[Finding]:
    if version > HEAD:
        yield wrong(
            f"{where} was made by a newer Moorage: its schema is {version}, and this program knows {HEAD}",
            "This version does not start on it, and does not touch it. Use the newer one again, or the backup from"
            " before the upgrade.",
            "moorage version",
            blocks=True,
            revision=version,
        )
    elif version < HEAD:
        yield ok(
            f"{where} was made by an older Moorage (schema {version or 'none yet'}, this program's is {HEAD}); the"
            " server brings it up to date when it starts",
            revision=version,
        )


def _check(connection: sqlite3.Connection, path: Path) -> Iterator[Finding]:
    deadline = time.monotonic() + _LONGEST_CHECK
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    try:
        said = [str(row[0]) for row in connection.execute("PRAGMA quick_check(20)")]
    except sqlite3.OperationalError as error:
        if primary_code(error) != sqlite3.SQLITE_INTERRUPT:
            raise
        yield skipped(f"{path} is too large to be read through here", "moorage check does it, however long it takes.")
        return
    if said == ["ok"]:
        yield ok(f"{path} opens, and its structures are whole (schema {HEAD})", path=str(path))
        return
    yield _damaged(path, said[0])


def _damaged(path: Path, said: str) -> Finding:
    return wrong(
        f"{path} is damaged: {said}",
        "Requests fail, or worse, answer what is not so. Stop the server, keep a copy, and restore the last backup;"
        " images that were pushed since have to be pushed again.",
        "moorage check --fast",
        f"cp -a {shlex.quote(str(path.parent))} /SOMEWHERE/SAFE",
        blocks=True,
        path=str(path),
    )


def _broken(path: Path, user: Account, error: sqlite3.Error) -> Finding:
    code = primary_code(error)
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return _damaged(path, str(error))
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return wrong(
            f"{path} is locked by another program",
            "Moorage never locks it for long. A backup, an editor of databases or a file system without proper locks"
            " does; requests fail with 503 meanwhile.",
            f"sudo fuser -v {shlex.quote(str(path))}",
        )
    return _closed(path, user, str(error))


def _closed(path: Path, user: Account, why: str) -> Finding:
    if not user.can_be_tried:
        return skipped(
            f"{path} belongs to {user.name}, and only that user and root can look into it",
            f"Give the command as that user: sudo -u {user.name} moorage doctor",
        )
    return wrong(
        f"{user.name} cannot use {path}: {why}",
        "The server answers 503, or does not start. SQLite writes beside the file too: the folder has to be writable.",
        f"sudo chown -R {user.owner} {shlex.quote(str(path.parent))}",
        f"ls -l {shlex.quote(str(path.parent))}",
        path=str(path),
    )


async def _look_at_server(settings: Settings) -> AsyncIterator[Finding]:
    try:
        version = await revision(settings.database, settings.data)
    except MoorageError as error:
        yield wrong(
            str(error),
            "The server does not start, or answers 503. Look whether PostgreSQL runs, whether this machine reaches it,"
            " and whether user and password are right.",
            "pg_isready -h HOST -p PORT",
            blocks=True,
        )
        return
    if version is None:
        yield ok("the PostgreSQL database answers, and has no tables yet; the server makes them when it starts first")
        return
    for finding in _judge_revision("the PostgreSQL database", version):
        yield finding
        if finding.blocks:
            return
    yield ok(f"the PostgreSQL database answers (schema {version})")


async def look_at_initial_password(settings: Settings, folders: Folders, user: Account) -> AsyncIterator[Finding]:
    """The file with the administrator's first password: of no use once the password is another."""
    path = folders.initial_password
    try:
        with acting_as(user):
            age = time.time() - path.stat().st_mtime
            password = path.read_bytes().decode("ascii").strip()
    except (OSError, ValueError):
        return
    # Root itself asks, if it is root: what SQLite makes beside the file it gives to the file's owner.
    in_use = await _is_in_use(settings, password)
    remove = f"sudo rm {shlex.quote(str(path))}"
    if settings.auth.kind != "users" or in_use is False:
        yield ok(f"{path} is of no use any more, its password is not in force: {remove}")
    elif age < _GRACE:
        yield ok(f"the first password of {ADMINISTRATOR} still stands in {path}; remove the file once you know it")
    else:
        yield warning(
            f"the first password of {ADMINISTRATOR} still stands in {path}, and is still in force",
            "Whoever gets at a backup of the data folder may push and delete everything.",
            f"moorage user passwd {ADMINISTRATOR}",
            remove,
            path=str(path),
        )


async def _is_in_use(settings: Settings, password: str) -> bool | None:
    """Whether the administrator still has it; None where that cannot be seen."""
    database = open_database(settings.database, settings.data)
    try:
        found = await users.find(database, ADMINISTRATOR)
    except (MoorageError, OSError, sqlite3.Error):
        return None
    finally:
        await database.close()
    return found is not None and not found.disabled and verify(found.password_hash, password)
