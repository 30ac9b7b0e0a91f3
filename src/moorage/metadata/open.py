"""The database that a setting names."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from moorage.errors import ConfigurationError
from moorage.metadata.database import Database
from moorage.metadata.sqlite import SqliteDatabase


class SqliteFile(NamedTuple):
    """A database file, and the lock that all its writers take."""

    path: Path
    lock: Path


class PostgresServer(NamedTuple):
    """A database on a PostgreSQL server, as libpq's connection URI names it."""

    url: str


def locate(url: str | None, data: Path) -> SqliteFile | PostgresServer:
    """Where the database is: None is a file in the data folder, else `sqlite:///path` or `postgresql://...`.

    A fourth slash begins an absolute path, as SQLAlchemy writes it. The lock lies beside the file, so that everybody
    who names the file takes the same. Raises ConfigurationError.
    """
    if url is None:
        path = data / "moorage" / "moorage.db"
    elif url.startswith(("postgresql://", "postgres://")):
        return PostgresServer(url)
    elif url.startswith("sqlite:///") and len(url) > len("sqlite:///") and not {"?", "#"} & {*url}:
        path = Path(unquote(url.removeprefix("sqlite:///")))
    else:
        # Not the value itself: it may hold a password.
        raise ConfigurationError("a database is written sqlite:///path or postgresql://user:password@host/name")
    return SqliteFile(path, path.with_name("writer.lock"))


def open_database(url: str | None, data: Path) -> Database:
    """The database that *url* names, see `locate`; nothing is opened before it is used. Raises ConfigurationError."""
    place = locate(url, data)
    if isinstance(place, SqliteFile):
        return SqliteDatabase(place.path, place.lock)
    # Half of a command's start would be the driver's import, where it is not used.
    from moorage.metadata.postgres import PostgresDatabase

    return PostgresDatabase(place.url)
