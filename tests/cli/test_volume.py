from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.metadata.postgres_server import PostgresServer
from tests.volumes import Volume

EVERY_COMMAND = [
    ["user", "add", "ann", "--generate"],
    ["user", "passwd", "ann", "--generate"],
    ["user", "list"],
    ["user", "disable", "ann"],
    ["user", "enable", "ann"],
    ["user", "remove", "ann"],
    ["ls"],
    ["ls", "app"],
    ["rm", "--yes", "app:1"],
    ["check"],
    ["check", "--repair"],
]
commands = pytest.mark.parametrize("words", EVERY_COMMAND, ids=" ".join)


@commands
def test_no_command_makes_a_data_folder(tmp_path: Path, moorage: Command, words: list[str]) -> None:
    """A folder without a registry is refused with the way to name the right one, and nothing is made."""
    (tmp_path / "there").mkdir()

    results = [moorage(*words, "--data", folder) for folder in ("there", "not-there")]

    assert [result.code for result in results] == [6, 6]
    assert all("--data" in result.err and result.out == "" for result in results)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["there"]


@commands
@pytest.mark.parametrize(("revision", "says"), [("0000", "an older Moorage"), ("9999", "a newer Moorage")])
def test_another_versions_schema_is_refused(
    volume: Volume, moorage: Command, words: list[str], revision: str, says: str
) -> None:
    """A database that this program does not understand is left alone, with the sentence that says which is older."""
    volume.sql("UPDATE schema_version SET version_num = ?", revision)

    result = moorage(*words)

    assert (result.code, result.out) == (4, "")
    assert says in result.err
    assert volume.sql("SELECT version_num FROM schema_version") == [(revision,)]


@pytest.mark.parametrize("content", [b"", b"text\n" * 1000], ids=["empty", "text"])
def test_a_file_that_is_no_database_is_refused(volume: Volume, moorage: Command, content: bytes) -> None:
    """What is not ours is neither read nor written."""
    file = volume.data / "moorage" / "moorage.db"
    volume.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    file.write_bytes(content)

    result = moorage("ls")

    assert result.code == 6
    assert "not a database of Moorage" in result.err
    assert file.read_bytes() == content


@pytest.mark.parametrize("how", ["option", "variable", "file", "default file", "database"])
def test_a_volume_is_found_as_the_server_finds_it(
    volume: Volume, moorage: Command, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """By --data, MOORAGE_DATA, --config, moorage.yml, or --database for the database alone."""
    away = volume.data.rename(volume.data.with_name("elsewhere"))
    words: list[str | Path] = []
    match how:
        case "option":
            words = ["--data", away]
        case "variable":
            monkeypatch.setenv("MOORAGE_DATA", str(away))
        case "file":
            Path("other.yml").write_text(f"data: {away}\n")
            words = ["--config", "other.yml"]
        case "default file":
            Path("moorage.yml").write_text(f"data: {away}\n")
        case "database":
            words = ["--database", f"sqlite:///{away}/moorage/moorage.db"]

    assert "tools/demo" in moorage("ls", *words).out


def test_a_misspelt_variable_is_worth_a_word(volume: Volume, moorage: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who believes to have named a folder should know that it was not."""
    monkeypatch.setenv("MOORAGE_DTA", "/srv")

    result = moorage("ls")

    assert result.code == 0
    assert "did you mean MOORAGE_DATA?" in result.err


def test_a_wrong_setting_is_a_sentence(moorage: Command) -> None:
    """With its file and line, and the exit code of settings."""
    Path("moorage.yml").write_text("data: /srv\nlitsen: 1\n")

    result = moorage("ls")

    assert result.code == 3
    assert "moorage.yml:2" in result.err


def test_a_volume_of_another_user_is_refused_with_the_line_to_type(volume: Volume, moorage: Command) -> None:
    """Who may not write it is told whose it is; root leaves no files there that the server could not change."""
    nobody = pwd.getpwnam("nobody")
    if os.geteuid() == 0:
        os.chown(volume.data / "moorage", nobody.pw_uid, nobody.pw_gid)
        result = moorage("check", "--repair")
        named = "sudo -u nobody"
    else:
        (volume.data / "moorage" / "moorage.db").chmod(0)
        result = moorage("ls")
        named = f"sudo -u {pwd.getpwuid(os.geteuid()).pw_name}"

    assert result.code == 6
    assert named in result.err


def test_users_live_on_postgres_too(tmp_path: Path, moorage: Command) -> None:
    """With --database the folder has no part in it; a server without our schema, or none at all, is a sentence."""
    server = PostgresServer()
    try:
        empty = moorage("user", "list", "--database", server.url(server.create()))
    finally:
        server.remove()
    gone = moorage("user", "list", "--database", "postgresql://me:secret@127.0.0.1:1/none")

    assert (empty.code, gone.code) == (6, 4)
    assert "the PostgreSQL database is not a database of Moorage" in empty.err
    assert "secret" not in gone.err
    assert list(tmp_path.iterdir()) == []
