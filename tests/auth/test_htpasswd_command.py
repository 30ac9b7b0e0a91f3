from __future__ import annotations

import os
import stat
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from moorage.auth import passwords
from moorage.auth.htpasswd_edit import stored_hash
from moorage.cli.htpasswd import htpasswd
from tests.programs import need_root


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file of two users."""
    monkeypatch.chdir(tmp_path)
    hashes = {user: passwords.hash_bcrypt(user[::-1], 4) for user in ("alice", "bob")}
    (tmp_path / "users").write_text("".join(f"{user}:{stored}\n" for user, stored in hashes.items()))
    (tmp_path / "users").chmod(0o604)
    return tmp_path


def run(*arguments: str, typed: str | bytes | None = None) -> Result:
    """Run the command as a shell would."""
    return CliRunner().invoke(htpasswd, arguments, input=typed)


def fits(path: Path, user: str, password: str) -> bool:
    """Whether the file lets the user in with that password."""
    return passwords.verify(stored_hash(path.read_bytes(), user, "") or "", password)


@pytest.mark.parametrize("options", [["-Bbn"], ["-bn"], ["-nbB"], ["-B", "-b", "-n"], ["-BbnC4"], ["-Bbn", "-C", "4"]])
def test_the_tutorials_line(folder: Path, options: list[str]) -> None:
    """`htpasswd -Bbn user password` prints the entry and an empty line, however the options are combined."""
    result = run(*options, "user", "password")

    entry, nothing, end = result.stdout.split("\n")
    user, stored = entry.split(":")
    assert (result.exit_code, result.stderr, user, nothing, end) == (0, "", "user", "", "")
    assert stored.startswith("$2y$")
    assert passwords.verify(stored, "password")


@pytest.mark.parametrize(
    ("arguments", "typed", "user", "password", "says"),
    [
        (["-bC4", "users", "carol", "pw"], None, "carol", "pw", "Adding password for user carol"),
        (["-bC", "4", "users", "alice", "pw"], None, "alice", "pw", "Updating password for user alice"),
        (["-BbC4", "users", "alice", "-pw"], None, "alice", "-pw", "Updating password for user alice"),
        (["-bC4", "--", "users", "-u", "pw"], None, "-u", "pw", "Adding password for user -u"),
        (["-BiC4", "users", "alice"], "pw\n", "alice", "pw", "Updating password for user alice"),
        (["-iC4", "users", "alice"], "pw\r\n", "alice", "pw", "Updating password for user alice"),
        (["-iC4", "users", "alice"], " p w ", "alice", " p w ", "Updating password for user alice"),
        (["-BC4", "users", "alice"], "pw\npw\n", "alice", "pw", "Updating password for user alice"),
        (["-BcC4", "new", "alice"], "pw\npw\n", "alice", "pw", "Adding password for user alice"),
        (["-BbcC4", "new", "alice", "pw"], None, "alice", "pw", "Adding password for user alice"),
        (["-bC4", "users", "Ålice", "pä ß🐎"], None, "Ålice", "pä ß🐎", "Adding password for user Ålice"),
    ],
)
def test_passwords_are_set(
    folder: Path, arguments: list[str], typed: str | None, user: str, password: str, says: str
) -> None:
    """A user is added or changed with a password of the command line, of standard input, or typed twice."""
    result = run(*arguments, typed=typed)

    assert (result.exit_code, result.stdout.strip()) == (0, "")
    assert says in result.stderr
    path = folder / next(argument for argument in arguments if argument in {"users", "new"})
    assert fits(path, user, password)
    assert path.name == "new" or fits(path, "bob", "bob")


@pytest.mark.parametrize(
    ("arguments", "typed", "code"),
    [
        (["-Bb", "missing", "alice", "pw"], None, 1),
        (["-D", "missing", "alice"], None, 1),
        (["-v", "missing", "alice"], "pw\n", 1),
        (["-Bbc", "no/folder/here", "alice", "pw"], None, 1),
        (["-Bb", ".", "alice", "pw"], None, 1),
        ([], None, 2),
        (["users"], None, 2),
        (["-Bb", "users", "alice"], None, 2),
        (["-Bbn", "users", "alice", "pw"], None, 2),
        (["-n", "users", "alice"], None, 2),
        (["-cn", "alice"], None, 2),
        (["-cD", "users", "alice"], None, 2),
        (["-Dv", "users", "alice"], None, 2),
        (["-bi", "users", "alice", "pw"], None, 2),
        (["-x", "users", "alice"], None, 2),
        (["-Bbm", "users", "alice", "pw"], None, 2),
        (["-b5", "users", "alice", "pw"], None, 2),
        (["-BbC", "3", "users", "alice", "pw"], None, 2),
        (["-BbC", "18", "users", "alice", "pw"], None, 2),
        (["-BbC", "ten", "users", "alice", "pw"], None, 2),
        (["-b", "users", "", "pw"], None, 2),
        (["-b", "users", "alice", ""], None, 2),
        (["-i", "users", "alice"], "", 2),
        (["users", "alice"], "\n\n", 2),
        (["users", "alice"], "one\nother\n", 3),
        (["-n", "alice"], "one\nother\n", 3),
        (["-bv", "users", "alice", "wrong"], None, 3),
        (["-v", "users", "alice"], "wrong\n", 3),
        (["-bv", "md5", "alice", "password"], None, 3),
        (["users", "alice"], "", 4),
        (["users", "alice"], "one\n", 4),
        (["-b", "users", "u" * 256, "pw"], None, 5),
        (["-b", "users", "alice", "p" * 73], None, 5),
        (["-i", "users", "alice"], "ä" * 37, 5),
        (["-b", "users", "a:b", "pw"], None, 6),
        (["-b", "users", "#alice", "pw"], None, 6),
        (["-b", "users", "a\nb", "pw"], None, 6),
        (["-b", "users", "alice", "p\tw"], None, 6),
        (["-i", "users", "alice"], "p\0w", 6),
        (["-i", "users", "alice"], b"\xe9", 6),
        (["-b", "users", "\udce9", "pw"], None, 6),
        (["-b", "users", "alice", "\udce9"], None, 6),
        (["-bv", "users", "carol", "pw"], None, 6),
        (["-b", "garbage", "alice", "pw"], None, 7),
        (["-D", "garbage", "alice"], None, 7),
        (["-bv", "garbage", "alice", "pw"], None, 7),
        (["-b", "utf16", "alice", "pw"], None, 7),
    ],
)
def test_exit_codes_and_an_untouched_file(
    folder: Path, arguments: list[str], typed: str | bytes | None, code: int
) -> None:
    """Each way to fail has the exit code of Apache's tool, says why, repeats no password, and changes no file."""
    (folder / "garbage").write_text("what is this\n")
    (folder / "utf16").write_bytes("alice:x\r\n".encode("utf-16"))
    (folder / "md5").write_text("alice:$apr1$mYBnYy8P$T0DjeAWL3jRhaVsUsEYBT.\n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    result = run(*arguments, typed=typed)

    assert result.exit_code == code, result.output
    assert result.stdout.strip() == ""
    assert result.stderr.strip()
    assert not any(word in result.output for word in ("wrong", "other\n", "p" * 73))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_creating_empties_a_file_that_is_there(folder: Path) -> None:
    """-c begins anew, as with Apache's tool."""
    run("-BbcC4", "users", "carol", "pw")

    assert fits(folder / "users", "carol", "pw")
    assert stored_hash((folder / "users").read_bytes(), "alice", "") is None


def test_verifying_a_password(folder: Path) -> None:
    """-v says yes to the right password, of the command line or typed once, and leaves the file alone."""
    before = (folder / "users").stat()

    assert run("-bv", "users", "alice", "ecila").exit_code == 0
    assert run("-v", "users", "alice", typed="ecila\n").exit_code == 0
    assert run("-vi", "users", "alice", typed="ecila").exit_code == 0
    assert (folder / "users").stat().st_mtime_ns == before.st_mtime_ns


def test_deleting_a_user(folder: Path) -> None:
    """-D takes the user out, and whoever is not there is no failure."""
    assert run("-D", "users", "alice").exit_code == 0
    result = run("-D", "users", "alice")

    assert (result.exit_code, result.stderr) == (0, "User alice not found\n")
    assert [line.split(":")[0] for line in (folder / "users").read_text().splitlines()] == ["bob"]


def test_a_file_is_replaced_with_its_mode_behind_its_link(folder: Path) -> None:
    """A reader sees the old file or the new one; the mode stays, a link stays a link, and nothing else is left."""
    (folder / "link").symlink_to("users")
    before = (folder / "users").stat()

    run("-bC4", "link", "alice", "pw")

    after = (folder / "users").stat()
    assert after.st_ino != before.st_ino
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (0o604, before.st_uid, before.st_gid)
    assert (folder / "link").is_symlink()
    assert sorted(path.name for path in folder.iterdir()) == ["link", "users"]


def test_root_leaves_the_owner_alone(folder: Path) -> None:
    """An administrator who changes a password does not take the file from the server's user."""
    need_root()
    os.chown(folder / "users", 1234, 4321)

    run("-bC4", "users", "alice", "pw")

    after = (folder / "users").stat()
    assert (after.st_uid, after.st_gid) == (1234, 4321)
    assert fits(folder / "users", "alice", "pw")


def test_a_new_file_is_not_for_everybody(folder: Path) -> None:
    """Hashes can be guessed from, so others may not read a file that the command creates."""
    run("-bcC4", "new", "alice", "pw")

    assert stat.S_IMODE((folder / "new").stat().st_mode) == 0o640


def test_an_interrupt_ends_with_its_own_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control-C at the prompt ends with 4 and changes nothing."""

    def interrupt(*args: object, **kwargs: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(click, "prompt", interrupt)
    before = (folder / "users").read_bytes()

    result = run("users", "alice")

    assert result.exit_code == 4
    assert (folder / "users").read_bytes() == before


def test_help_shows_an_example_and_the_codes() -> None:
    """--help has a sentence, the options, an example and the exit codes."""
    result = run("--help")

    assert result.exit_code == 0
    for word in ("Add, change, verify or delete", "-C", "moorage htpasswd -Bbn", "Exit codes"):
        assert word in result.stdout
