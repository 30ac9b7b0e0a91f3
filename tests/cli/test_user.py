from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from moorage.auth.passwords import verify
from tests.cli.conftest import Command
from tests.cli.terminal import Terminal
from tests.raw_http import ask, basic
from tests.servers import COMMAND, Moorage
from tests.volumes import Volume


def fits(volume: Volume, name: str, password: str) -> bool:
    """Whether the database lets the user in with that password."""
    rows = volume.sql("SELECT password_hash FROM users WHERE name = ? AND disabled = 0", name)
    return bool(rows) and verify(rows[0][0], password)


@pytest.fixture
def peopled(volume: Volume, moorage: Command) -> Volume:
    """A volume with an administrator, root, and a user, ann."""
    for words in (("root", "--admin"), ("ann",)):
        assert moorage("user", "add", *words, "--password-stdin", stdin=b"secret\n").code == 0
    return volume


@pytest.mark.parametrize(
    ("stdin", "password"),
    [
        (b"pass word\n", "pass word"),
        (b"p\xc3\xa4ss\r\n", "päss"),
        (b"no newline", "no newline"),
        (b" blanks \n", " blanks "),
        (b"x" * 4096 + b"\n", "x" * 4096),
    ],
)
def test_a_password_comes_from_standard_input(volume: Volume, moorage: Command, stdin: bytes, password: str) -> None:
    """All of standard input but the newline at its end is the password, and it is shown nowhere."""
    result = moorage("user", "add", "ann", "--password-stdin", stdin=stdin)

    assert (result.code, result.out, result.err) == (0, "", "added ann\n")
    assert fits(volume, "ann", password)


def test_a_made_up_password_is_printed_alone(volume: Volume, moorage: Command) -> None:
    """`PASSWORD=$(moorage user add robot --generate)` is all that a script needs."""
    result = moorage("user", "add", "robot", "--generate")

    assert re.fullmatch(r"[a-z0-9-]{20,}\n", result.out)
    assert fits(volume, "robot", result.out.strip())
    assert "only now" in result.err


@pytest.mark.parametrize(
    ("words", "stdin", "says"),
    [
        (["add", "ann"], b"", "--password-stdin or --generate"),
        (["add", "ann", "--password-stdin"], b"\n", "the password is empty"),
        (["add", "ann", "--password-stdin"], b"a\tb\n", "control characters"),
        (["add", "ann", "--password-stdin"], b"\xff\n", "not UTF-8"),
        (["add", "ann", "--password-stdin"], b"x" * 5000, "at most 4096 bytes"),
        (["add", "a:b", "--generate"], b"", "colon"),
        (["add", "", "--generate"], b"", "empty"),
        (["add", "x" * 256, "--generate"], b"", "at most 255 bytes"),
        (["passwd", "nobody", "--generate"], b"", "there is no user 'nobody'"),
        (["disable", "nobody"], b"", "there is no user 'nobody'"),
        (["enable", "nobody"], b"", "there is no user 'nobody'"),
        (["remove", "nobody"], b"", "there is no user 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    volume: Volume, moorage: Command, words: list[str], stdin: bytes, says: str
) -> None:
    """A bad name, a bad password, nobody to ask, an unknown user: exit code 6, and nothing is changed."""
    result = moorage("user", *words, stdin=stdin)

    assert (result.code, result.out) == (6, "")
    assert says in result.err
    assert volume.sql("SELECT * FROM users") == []


def test_a_password_is_no_argument(volume: Volume, moorage: Command) -> None:
    """What other users of the machine see is not taken."""
    result = moorage("user", "add", "ann", "secret")

    assert (result.code, volume.sql("SELECT * FROM users")) == (2, [])


def test_only_one_source_of_a_password(volume: Volume, moorage: Command) -> None:
    """Standard input and chance exclude each other."""
    assert moorage("user", "add", "ann", "--generate", "--password-stdin", stdin=b"x").code == 2


def test_a_name_is_taken_once(peopled: Volume, moorage: Command) -> None:
    """A second user of a name is refused before a password is asked for, and the first keeps theirs."""
    result = moorage("user", "add", "ann")

    assert result.code == 6
    assert "moorage user passwd ann" in result.err
    assert fits(peopled, "ann", "secret")


def test_a_misspelt_user_is_guessed(peopled: Volume, moorage: Command) -> None:
    """Who is nearly there is named."""
    assert "did you mean ann?" in moorage("user", "remove", "anne").err


def test_a_new_password_replaces_the_old(peopled: Volume, moorage: Command) -> None:
    """After passwd only the new password is right."""
    result = moorage("user", "passwd", "ann", "--password-stdin", stdin=b"other")

    assert (result.code, result.err) == (0, "set the password of ann\n")
    assert (fits(peopled, "ann", "other"), fits(peopled, "ann", "secret")) == (True, False)


def test_users_are_listed(peopled: Volume, moorage: Command) -> None:
    """By name, with role and state, for people and for programs; no hash is shown."""
    moorage("user", "disable", "ann")

    table, listed = moorage("user", "list").out, json.loads(moorage("user", "list", "--json").out)

    rows = [line.split()[:3] for line in table.splitlines()]
    assert rows == [["NAME", "ROLE", "STATE"], ["ann", "user", "disabled"], ["root", "administrator", "enabled"]]
    assert [(one["name"], one["admin"], one["disabled"]) for one in listed] == [
        ("ann", False, True),
        ("root", True, False),
    ]
    assert all(one.keys() == {"name", "admin", "disabled", "created"} for one in listed)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", one["created"]) for one in listed)


def test_a_disabled_user_can_come_back(peopled: Volume, moorage: Command) -> None:
    """disable locks out and keeps the password, enable lets in again; twice is once."""
    moorage("user", "disable", "ann")
    again = moorage("user", "disable", "ann")
    locked_out = not fits(peopled, "ann", "secret")
    moorage("user", "enable", "ann")

    assert (again.code, locked_out, fits(peopled, "ann", "secret")) == (0, True, True)


@pytest.mark.parametrize("word", ["remove", "disable"])
def test_the_last_administrator_stays(peopled: Volume, moorage: Command, word: str) -> None:
    """Nobody locks themselves out by accident; who insists may."""
    refused = moorage("user", word, "root")
    there = fits(peopled, "root", "secret")
    forced = moorage("user", word, "root", "--force")

    assert (refused.code, there, forced.code, fits(peopled, "root", "secret")) == (6, True, 0, False)
    assert "last administrator" in refused.err


@pytest.mark.parametrize("word", ["remove", "disable"])
def test_another_administrator_may_take_over(peopled: Volume, moorage: Command, word: str) -> None:
    """Of two administrators one may go; a disabled one does not count as the other."""
    moorage("user", "add", "second", "--admin", "--generate")
    moorage("user", "disable", "second")
    alone = moorage("user", word, "root")
    moorage("user", "enable", "second")
    both = moorage("user", word, "root")

    assert (alone.code, both.code) == (6, 0)


def test_users_that_nobody_asks_are_worth_a_word(peopled: Volume, moorage: Command) -> None:
    """Where the settings take passwords from elsewhere, the command says so."""
    Path("htpasswd").touch()
    Path("moorage.yml").write_text("auth:\n  htpasswd: htpasswd\n")

    result = moorage("user", "add", "bob", "--generate")

    assert result.code == 0
    assert "auth.kind is htpasswd" in result.err


def test_a_typed_password_is_asked_for_twice_and_not_shown(volume: Volume) -> None:
    """On a terminal nothing of the password is to be seen, and it counts if both are equal."""
    with Terminal([COMMAND, "user", "add", "ann", "--data", volume.data], volume.data) as terminal:
        terminal.wait_for("New password: ")
        terminal.enter("sEcReT\n")
        terminal.wait_for("The same again: ")
        terminal.enter("sEcReT\n")
        code = terminal.end()

    assert (code, "sEcReT" in terminal.text) == (0, False)
    assert fits(volume, "ann", "sEcReT")


@pytest.mark.parametrize(
    ("typed", "says"),
    [(["one\n", "two\n"], "the two passwords differ"), (["\n"], "the password is empty")],
)
def test_a_mistyped_password_changes_nothing(volume: Volume, typed: list[str], says: str) -> None:
    """Two different passwords, or an empty one, are refused in a sentence."""
    with Terminal([COMMAND, "user", "add", "ann", "--data", volume.data], volume.data) as terminal:
        for prompt, text in zip(("New password: ", "The same again: "), typed, strict=False):
            terminal.wait_for(prompt)
            terminal.enter(text)
        code = terminal.end()

    assert code == 6
    assert says in terminal.text
    assert volume.sql("SELECT * FROM users") == []


def test_ctrl_c_at_the_question_is_quiet(volume: Volume) -> None:
    """Who changes their mind gets neither a traceback nor a user."""
    with Terminal([COMMAND, "user", "add", "ann", "--data", volume.data], volume.data) as terminal:
        terminal.wait_for("New password: ")
        terminal.interrupt()
        code = terminal.end()

    assert (code, terminal.text.split()) == (130, ["New", "password:"])
    assert volume.sql("SELECT * FROM users") == []


def test_what_is_changed_is_in_force_at_once(tmp_path: Path, moorage: Command) -> None:
    """A running server knows a new user with the next request, and one who is locked out or has a new password."""
    with Moorage(tmp_path / "server", "--workers", "2") as server:

        def status(user: str, password: str) -> int:
            return ask(server, "GET", "/v2/", {"Authorization": basic(user, password)}).status

        def change(*words: str, stdin: bytes = b"") -> None:
            assert moorage("user", *words, "--data", server.data, stdin=stdin).code == 0

        unknown = status("ann", "one")
        change("add", "ann", "--password-stdin", stdin=b"one")
        added = status("ann", "one")
        change("passwd", "ann", "--password-stdin", stdin=b"two")
        changed = status("ann", "one"), status("ann", "two")
        change("disable", "ann")
        disabled = status("ann", "two")
        change("enable", "ann")
        enabled = status("ann", "two")
        change("remove", "ann")
        removed = status("ann", "two")

    assert (unknown, added, changed, disabled, enabled, removed) == (401, 200, (401, 200), 401, 200, 401)


def test_the_first_password_is_not_kept_longer_than_it_is_true(tmp_path: Path, moorage: Command) -> None:
    """The file of the first start goes when the administrator gets another password, and not for anybody else."""
    with Moorage(tmp_path / "server") as server:
        file = server.data / "moorage" / "initial-password"
        moorage("user", "add", "ann", "--generate", "--data", server.data)
        moorage("user", "passwd", "ann", "--generate", "--data", server.data)
        kept = file.exists()

        moorage("user", "passwd", "admin", "--generate", "--data", server.data)

    assert (kept, file.exists()) == (True, False)
