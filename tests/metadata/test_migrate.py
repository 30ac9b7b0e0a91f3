from __future__ import annotations

import asyncio
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from moorage.errors import ConfigurationError, StartRefused
from moorage.metadata.migrate import HEAD, VERSION_TABLE, bring_up_to_date, configuration
from moorage.metadata.schema import metadata
from tests.metadata.places import File, Place, Server
from tests.metadata.postgres_server import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Place]:
    """Makes a database without a schema, of each engine in turn."""

    def make() -> Place:
        data = tmp_path / f"data{len(list(tmp_path.iterdir()))}"
        data.mkdir()
        if request.param == "sqlite":
            return File(data)
        return Server(request.getfixturevalue("postgres"), data)

    return make


@pytest.fixture
def place(new_place: Callable[[], Place]) -> Place:
    """A database without a schema."""
    return new_place()


def _upgrade(place: Place, times: int = 1) -> None:
    async def main() -> None:
        await asyncio.gather(*(bring_up_to_date(place.url, place.data) for _ in range(times)))

    asyncio.run(main())


def _tables(place: Place) -> set[str]:
    names: list[str] = place.inspect(lambda connection: sqlalchemy.inspect(connection).get_table_names())
    return set(names)


def test_head_is_the_last_migration(tmp_path: Path) -> None:
    """The revision that the program asks for is the only head that Alembic finds."""
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        scripts = ScriptDirectory.from_config(configuration(connection))
    engine.dispose()

    assert scripts.get_heads() == [HEAD]


def test_migrations_make_the_schema(place: Place) -> None:
    """Alembic finds no difference between what the migrations made and schema.py."""
    _upgrade(place)

    def compare(connection: sqlalchemy.Connection) -> Any:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    assert place.inspect(compare) == []


def test_migrations_make_what_the_schema_would_make_at_once(new_place: Callable[[], Place]) -> None:
    """Columns, collations, constraints and indexes are those that schema.py alone gives, down to their names."""
    migrated, made = new_place(), new_place()

    _upgrade(migrated)
    made.inspect(metadata.create_all)

    assert migrated.definitions() == made.definitions() != set()


def test_many_who_begin_at_once_make_one_schema(place: Place) -> None:
    """Workers and replicas that start together on a new database all find it ready."""
    _upgrade(place, times=8)

    assert _tables(place) == {*metadata.tables, VERSION_TABLE}


def test_processes_that_begin_at_once_make_one_schema(place: Place) -> None:
    """The same holds for processes that know nothing of each other."""
    program = "import asyncio, pathlib, sys; from moorage.metadata.migrate import bring_up_to_date as up;"
    program += "asyncio.run(up(sys.argv[1] or None, pathlib.Path(sys.argv[2])))"
    command = [sys.executable, "-c", program, place.url or "", str(place.data)]

    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    errors = [process.communicate(timeout=60)[1] for process in processes]

    assert errors == [b""] * 3
    assert _tables(place) == {*metadata.tables, VERSION_TABLE}


def test_an_upgraded_schema_keeps_its_rows(place: Place) -> None:
    """Bringing a database up to date again changes nothing in it."""
    _upgrade(place)
    place.execute("INSERT INTO leases VALUES ('a', 'b', 1)")

    _upgrade(place)

    rows = place.inspect(lambda connection: connection.exec_driver_sql("SELECT * FROM leases").fetchall())
    assert [tuple(row) for row in rows] == [("a", "b", 1)]


def test_a_schema_newer_than_the_program_is_refused(place: Place) -> None:
    """The sentence names both revisions and says what to do, and nothing is changed."""
    _upgrade(place)
    place.execute(f"UPDATE {VERSION_TABLE} SET version_num = '0999'")

    with pytest.raises(StartRefused) as refused:
        _upgrade(place)

    assert all(word in str(refused.value) for word in ("0999", HEAD, "newer", "backup"))
    assert (
        place.inspect(lambda connection: connection.exec_driver_sql(f"SELECT * FROM {VERSION_TABLE}").scalar())
        == "0999"
    )


def test_tables_that_others_made_are_refused(place: Place) -> None:
    """A database with tables of our names, but not by us, is left alone and named as such."""
    place.execute("CREATE TABLE users (id integer)", "CREATE TABLE more (id integer)")

    with pytest.raises(StartRefused, match=r"users\): give Moorage a database of its own"):
        _upgrade(place)

    assert _tables(place) == {"users", "more"}


def test_a_migration_that_fails_leaves_nothing(place: Place) -> None:
    """What a migration had done when it failed is undone, and it works when the obstacle is gone."""
    place.execute("CREATE TABLE obstacle (id integer)", "CREATE INDEX tags_by_manifest ON obstacle (id)")

    with pytest.raises(StartRefused, match="tags_by_manifest"):
        _upgrade(place)
    left = _tables(place)
    place.execute("DROP TABLE obstacle")
    _upgrade(place)

    assert left == {"obstacle"}
    assert _tables(place) == {*metadata.tables, VERSION_TABLE}


def test_a_schema_of_today_costs_no_alembic(place: Place) -> None:
    """A start on a database that is up to date does not import Alembic, and on a file not the PostgreSQL driver."""
    _upgrade(place)
    program = "import asyncio, pathlib, sys; from moorage.metadata.migrate import bring_up_to_date as up;"
    program += "asyncio.run(up(sys.argv[1] or None, pathlib.Path(sys.argv[2]))); print(*sys.modules)"

    command = [sys.executable, "-c", program, place.url or "", str(place.data)]
    modules = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

    assert "alembic" not in modules
    assert ("asyncpg" in modules) == (place.url is not None)


def test_a_new_file_is_the_owners_alone_and_in_wal_mode(tmp_path: Path) -> None:
    """The file holds password hashes: nobody else may read it or its folder; and WAL is chosen for good."""
    place = File(tmp_path / "new" / "data")

    _upgrade(place)

    modes = {stat.S_IMODE(path.stat().st_mode) for path in place.path.parent.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(place.path.parent.stat().st_mode) == 0o700
    mode = place.inspect(lambda connection: connection.exec_driver_sql("PRAGMA journal_mode").scalar())
    assert mode == "wal"


@pytest.mark.parametrize("name", ["with space", "50%", "100%s", "a?b#c", "%20", "größe"])
def test_a_data_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    """No character of the path is taken for something else."""
    place = File(tmp_path / name)

    _upgrade(place, times=2)

    assert place.path.exists()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_program_may_be_installed_anywhere(tmp_path: Path) -> None:
    """Migrations run from a folder whose name has characters that configuration files treat specially."""
    folder = tmp_path / "50% of 100%"
    shutil.copytree(Path(__file__).parents[2] / "src", folder)
    program = "import asyncio, pathlib, sys; from moorage.metadata.migrate import bring_up_to_date as up;"
    program += "asyncio.run(up(None, pathlib.Path(sys.argv[1])))"

    command = [sys.executable, "-c", program, str(tmp_path / "data")]
    subprocess.run(command, check=True, env={"PYTHONPATH": str(folder)})

    assert _tables(File(tmp_path / "data")) == {*metadata.tables, VERSION_TABLE}


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0" + bytes(200)], ids=["garbage", "broken"])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    """A sentence names the file, which is not touched."""
    place = File(tmp_path)
    place.path.parent.mkdir()
    place.path.write_bytes(content * 100)

    with pytest.raises(StartRefused, match=r"moorage\.db cannot be used"):
        _upgrade(place)

    assert place.path.read_bytes() == content * 100


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A sentence says which, and why."""
    (tmp_path / "moorage").write_text("a file where the folder should be")

    with pytest.raises(StartRefused, match=r"moorage\.db cannot be used.*exists"):
        _upgrade(File(tmp_path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("port=1&", ""), "cannot be used"),
        (("", "moorage_nobody_made_this"), "does not exist"),
    ],
    ids=["no server", "no database"],
)
def test_a_server_that_cannot_be_used_is_refused(postgres: PostgresServer, change: tuple[str, str], said: str) -> None:
    """A sentence says why the server cannot be used, without the password."""
    option, name = change
    url = postgres.url(name or "postgres", user="postgres:secret").replace("?", f"?{option}")

    with pytest.raises(StartRefused, match=said) as refused:
        asyncio.run(bring_up_to_date(url, Path("/nonexistent")))

    assert "secret" not in str(refused.value)


def test_a_role_that_may_not_make_tables_is_told(postgres: PostgresServer) -> None:
    """A role without the right to create is refused with the server's reason."""
    name = postgres.create()
    postgres.execute(f"CREATE ROLE {name} LOGIN")

    with pytest.raises(StartRefused, match="permission denied"):
        asyncio.run(bring_up_to_date(postgres.url(name, user=name), Path("/nonexistent")))


@pytest.mark.parametrize("url", ["postgresql://me:sec#ret@host/name", "postgresql://me:sec/ret@host:x/name"])
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    """A password with special characters that were not escaped does not end up on the terminal."""
    with pytest.raises((ConfigurationError, StartRefused)) as refused:
        asyncio.run(bring_up_to_date(url, Path("/nonexistent")))

    assert "sec" not in str(refused.value)
    assert "ret" not in str(refused.value)
