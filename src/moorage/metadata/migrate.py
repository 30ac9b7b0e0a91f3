"""Bringing the schema to this program's revision, before anything else uses the database.

Where the revision matches, that is one statement. Else Alembic's migrations run in one transaction, while a lock keeps
every other process and replica waiting; those then find that nothing is left to do.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from moorage.errors import ConfigurationError, StartRefused
from moorage.metadata.open import PostgresServer, SqliteFile, locate
from moorage.metadata.schema import metadata
from moorage.metadata.sqlite_connection import connect

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

HEAD: Final = "0002"
"""The revision that this program's statements are written for: the number of the last migration."""

VERSION_TABLE: Final = "schema_version"
_REVISION: Final = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608 - a constant
_LOCK_KEY: Final = int.from_bytes(b"moorage")
_CONNECT_SECONDS: Final = 10.0
_PATIENCE: Final = 60.0
_SERVER: Final = "the PostgreSQL database"


async def bring_up_to_date(url: str | None, data: Path) -> None:
    """Create or upgrade the schema of the database that *url* names, see `open.locate`; None is a file under *data*.

    Any number of processes may call this at once. Raises ConfigurationError; StartRefused where the schema is newer
    than this program, the tables are not Moorage's, or the database cannot be reached, made or changed.
    """
    place = locate(url, data)
    if isinstance(place, PostgresServer):
        await _upgrade_server(place.url)
    else:
        await asyncio.to_thread(_upgrade_file, place)


async def revision(url: str | None, data: Path) -> str | None:
    """The schema's revision in the database that *url* names, to be compared with HEAD; None where Moorage's is not.

    Changes nothing. Raises ConfigurationError, and StartRefused where a server cannot be reached.
    """
    place = locate(url, data)
    if isinstance(place, PostgresServer):
        with _server_trouble():
            return await _server_revision(place.url)
    return await asyncio.to_thread(_file_revision, place.path)


def configuration(connection: Connection) -> Config:
    """What Alembic's commands need, without an alembic.ini: where the scripts are, and the connection they run on."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _migrate(connection: Connection, where: str) -> None:
    """Run what is missing, inside the caller's transaction and lock."""
    from alembic import command
    from sqlalchemy import inspect

    tables = set(inspect(connection).get_table_names())
    revision = connection.exec_driver_sql(_REVISION).scalar() if VERSION_TABLE in tables else None
    if revision == HEAD:
        return
    if revision is not None and revision > HEAD:
        raise StartRefused(
            f"the schema of {where} has revision {revision}, and this program knows none after {HEAD}: start the newer"
            " Moorage that wrote it, or restore the backup from before its upgrade"
        )
    foreign = tables & set(metadata.tables)
    if revision is None and foreign:
        raise StartRefused(
            f"{where} has tables that Moorage did not make ({', '.join(sorted(foreign))}): give Moorage a database of"
            " its own"
        )
    command.upgrade(configuration(connection), HEAD)


def _upgrade_file(place: SqliteFile) -> None:
    from sqlalchemy.exc import DBAPIError

    try:
        if _file_revision(place.path) == HEAD:
            return
        place.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(place.lock):
            _create_file(place.path)
            _migrate_file(place.path)
    except DBAPIError as error:
        raise _unusable(str(place.path), error.orig) from error
    except (sqlite3.Error, OSError) as error:
        raise _unusable(str(place.path), error) from error


def _file_revision(path: Path) -> str | None:
    """The file's revision; None for a file that is missing, empty or not a database."""
    try:
        connection = connect(path, patience=_PATIENCE)
        try:
            row = connection.execute(_REVISION).fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError:  # what is wrong comes to light when it is created
        return None
    return row[0] if row else None


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    """Keep every process from writing to the file."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _create_file(path: Path) -> None:
    """Make the file if it is new, readable by nobody else since it holds password hashes, and choose WAL for good."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = connect(path, patience=_PATIENCE)
    try:
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    finally:
        connection.close()
    if mode != "wal":
        raise StartRefused(
            f"the file system of {path} has no shared memory, which SQLite needs for its write-ahead log: put the"
            " database on a local disk with --database sqlite:////path, or use --database postgresql://..."
        )


def _migrate_file(path: Path) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(
        "sqlite://", creator=lambda: connect(path, patience=_PATIENCE), poolclass=sqlalchemy.NullPool
    )
    # In autocommit mode Python's driver begins nothing by itself, and so leaves DDL inside the transaction.
    sqlalchemy.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.begin() as connection:
        _migrate(connection, str(path))
        # Foreign keys are off here, since a table is altered by copying it.
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise StartRefused(f"upgrading {path} would break {len(broken)} foreign keys; nothing was changed")


async def _upgrade_server(url: str) -> None:
    with _server_trouble():
        if await _server_revision(url) != HEAD:
            await _migrate_server(url, _SERVER)


@contextmanager
def _server_trouble() -> Iterator[None]:
    """Say of a PostgreSQL server's errors what they mean."""
    import asyncpg
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except DBAPIError as error:
        raise _unusable(_SERVER, error.orig) from error
    except ValueError:
        # Not the error's text: it may quote a part of the password.
        raise ConfigurationError(
            "the database's URL cannot be understood; in user and password write special characters as %XX"
        ) from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise _unusable(_SERVER, error) from error


async def _server_revision(url: str) -> str | None:
    import asyncpg

    connection = await asyncpg.connect(url, timeout=_CONNECT_SECONDS)
    try:
        revision: str | None = await connection.fetchval(_REVISION)
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close(timeout=_CONNECT_SECONDS)
    return revision


async def _migrate_server(url: str, where: str) -> None:
    import asyncpg
    import sqlalchemy
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: asyncpg.connect(url, timeout=_CONNECT_SECONDS),
        poolclass=sqlalchemy.NullPool,
    )
    async with engine.begin() as connection:
        # Held to the end of the transaction; what is read after it was waited for includes the other's work.
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")
        await connection.run_sync(_migrate, where)


def _unusable(where: str, error: BaseException | None) -> StartRefused:
    return StartRefused(f"{where} cannot be used: {str(error) or type(error).__name__}")
