from __future__ import annotations

from pathlib import Path

import pytest

from moorage.errors import ConfigurationError
from moorage.metadata.open import PostgresServer, SqliteFile, locate, open_database
from moorage.metadata.postgres import PostgresDatabase
from moorage.metadata.sqlite import SqliteDatabase

DATA = Path("/srv/data")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (None, "/srv/data/moorage/moorage.db"),
        ("sqlite:////var/lib/moorage/moorage.db", "/var/lib/moorage/moorage.db"),
        ("sqlite:///relative/moorage.db", "relative/moorage.db"),
        ("sqlite:////with%20space/50%25.db", "/with space/50%.db"),
    ],
)
def test_a_file_is_named_by_its_path(url: str | None, path: str) -> None:
    """SQLite's file is in the data folder or where the URL says, and its writers' lock lies beside it."""
    place = locate(url, DATA)

    assert place == SqliteFile(Path(path), Path(path).with_name("writer.lock"))
    assert isinstance(open_database(url, DATA), SqliteDatabase)


@pytest.mark.parametrize("url", ["postgresql://me:secret@host:5432/name", "postgres://host/name?sslmode=require"])
def test_a_server_is_named_by_its_url(url: str) -> None:
    """PostgreSQL's URL is the driver's to read; nothing is connected to."""
    assert locate(url, DATA) == PostgresServer(url)
    assert isinstance(open_database(url, DATA), PostgresDatabase)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite://",
        "sqlite:///",
        "sqlite:relative.db",
        "sqlite:////moorage.db?mode=ro",
        "sqlite:////moorage.db#1",
        "mysql://me:secret@host/name",
        "postgresql+asyncpg://me:secret@host/name",
        "/var/lib/moorage.db",
    ],
)
def test_anything_else_is_refused_without_telling_it(url: str) -> None:
    """What is no database's URL is a ConfigurationError that does not repeat it, since it may hold a password."""
    with pytest.raises(ConfigurationError) as refused:
        open_database(url, DATA)

    assert "secret" not in str(refused.value)
    assert "sqlite:///" in str(refused.value)
