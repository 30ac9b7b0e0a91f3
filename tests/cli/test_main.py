from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import click
import pytest

from moorage.cli import main
from moorage.cli.exit_codes import EXIT_CODES, exit_code
from moorage.errors import (
    ConfigurationError,
    DataError,
    MoorageError,
    StartRefused,
    StorageFull,
    Unavailable,
    UserError,
)
from tests.cli.conftest import Command
from tests.servers import COMMAND
from tests.volumes import Volume


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ConfigurationError("is not known", "moorage.yml", "litsen", 2), 3, "moorage.yml:2: litsen: is not known"),
        (StartRefused("port 80 is in use"), 4, "port 80 is in use"),
        (DataError("1 thing is damaged"), 5, "1 thing is damaged"),
        (UserError("there is no user"), 6, "there is no user"),
        (StorageFull(), 7, "the registry's storage is full"),
        (MoorageError("else"), 1, "else"),
        (OSError(errno.EACCES, "Permission denied", "/x"), 7, "/x: Permission denied"),
    ],
)
def test_every_failure_is_a_sentence_with_its_code(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, says: str
) -> None:
    """What a person can act on is one line on standard error, and an exit code from the table."""

    @click.command()
    def fail() -> None:
        raise error

    assert main.run(fail, []) == code
    assert capsys.readouterr() == ("", f"moorage: {says}\n")


def test_the_operator_is_told_what_the_system_said(capsys: pytest.CaptureFixture[str]) -> None:
    """What no client may see, the path and the system's words, is what an operator needs."""

    @click.command()
    def fail() -> None:
        raise Unavailable from OSError(errno.EIO, "Input/output error", "/srv/x")

    assert main.run(fail, []) == 7
    assert "[Errno 5] Input/output error: '/srv/x'" in capsys.readouterr().err


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), click.Abort()])
def test_an_interruption_is_quiet(capsys: pytest.CaptureFixture[str], interruption: BaseException) -> None:
    """Ctrl-C ends with 130 and not a word."""

    @click.command()
    def fail() -> None:
        raise interruption

    assert main.run(fail, []) == 130
    assert "".join(capsys.readouterr()).strip() == ""


def test_a_bug_is_not_hidden() -> None:
    """What nobody foresaw keeps its traceback."""

    @click.command()
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main.run(fail, [])


def test_exit_codes_mean_one_thing_each() -> None:
    """No code has two meanings, and none is click's 2."""
    meanings = {(code, meaning) for _, code, meaning in EXIT_CODES}

    assert len({code for code, _ in meanings}) == len(meanings)
    assert 2 not in {code for code, _ in meanings}
    assert exit_code(ZeroDivisionError()) == 1


@pytest.mark.parametrize("words", [["nothing"], ["serve", "--nothing"], ["rm"], ["user"], ["user", "nothing"]])
def test_a_line_that_cannot_be_read_is_2(moorage: Command, words: list[str]) -> None:
    """A wrong command line is click's sentence and code."""
    assert moorage(*words).code == 2


@pytest.mark.parametrize("words", [[], ["user"], ["ls"], ["check"]], ids=lambda words: " ".join(words) or "moorage")
def test_help_is_an_answer(moorage: Command, words: list[str]) -> None:
    """-h and --help print the same, and succeed."""
    short, long = moorage(*words, "-h"), moorage(*words, "--help")

    assert short == long
    assert (short.code, short.err) == (0, "")
    assert "Example: moorage" in short.out


def test_a_reader_that_has_seen_enough_ends_it(volume: Volume) -> None:
    """`moorage ls | head -1` prints no traceback."""
    listing = f"{COMMAND} ls --data {volume.data}"
    done = subprocess.run(
        ["/bin/sh", "-c", f"{{ {listing}; }} | true"], capture_output=True, check=False, text=True, timeout=60
    )

    assert "Traceback" not in done.stderr
    assert "BrokenPipeError" not in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--version"], "moorage 0."), (["-v"], "moorage 0."), (["--help"], "Usage: registry")],
)
def test_the_other_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    """Called as `registry`, as in distribution's image, the command answers as that one does."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/registry", *words])

    with pytest.raises(SystemExit) as ended:
        main.registry()

    assert ended.value.code == 0
    assert says in capsys.readouterr().out


def test_the_other_name_serves_classically(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`registry serve config.yml` reads distribution's configuration, as its complaint shows."""
    config = tmp_path / "config.yml"
    config.write_text("version: 0.1\nstorrage: {}\n")
    monkeypatch.setattr(sys, "argv", ["registry", "serve", str(config)])

    with pytest.raises(SystemExit) as ended:
        main.registry()

    assert ended.value.code == 3
    assert f"{config}:2: storrage: is not known; did you mean storage?" in capsys.readouterr().err
