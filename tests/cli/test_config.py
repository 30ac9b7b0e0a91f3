from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command


def test_what_is_in_force_is_shown_with_its_origin(moorage: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options, variables, the file and defaults: each line says which of them it is from."""
    Path("moorage.yml").write_text("workers: 3\n")
    monkeypatch.setenv("MOORAGE_LOG_LEVEL", "debug")

    result = moorage("config", "--listen", "127.0.0.1:5001")

    lines = {line.split("#")[0].strip(): line.partition("#")[2].strip() for line in result.out.splitlines()}
    assert result.code == 0
    assert lines["workers: 3"] == "moorage.yml:1"
    assert lines["level: debug"] == "MOORAGE_LOG_LEVEL"
    assert lines["listen: ['127.0.0.1:5001']"] == "--listen"
    assert lines["data: data"] == "default"


def test_what_is_shown_can_be_read_again(moorage: Command) -> None:
    """The output is a moorage.yml, in which everything stands."""
    first = moorage("config", "--auth", "none", "--listen", ":5001", "--log-level", "debug").out
    Path("again.yml").write_text(first)

    second = moorage("config", "--config", "again.yml").out

    settings = [[line.split("  #")[0] for line in text.splitlines()] for text in (first, second)]
    assert settings[0][1:] == settings[1][1:]


def test_secrets_are_not_shown(moorage: Command) -> None:
    """A password in the database's address is masked."""
    result = moorage("config", "--database", "postgresql://me:hunter2-x@host/name")

    assert "postgresql://me:********@host/name" in result.out
    assert "hunter2-x" not in result.out + result.err


def test_a_classic_configuration_is_shown_in_our_words(moorage: Command) -> None:
    """FILE is read as registry:2 reads it, and its keys are named as origins."""
    Path("config.yml").write_text("version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: /srv\n")

    result = moorage("config", "config.yml")

    assert result.code == 0
    assert "data: /srv" in result.out
    assert "config.yml:4" in result.out


@pytest.mark.parametrize(
    "words", [["--config", "missing.yml"], ["--listen", "nonsense"], ["config.yml", "--config", "moorage.yml"]]
)
def test_a_wrong_setting_is_a_sentence(moorage: Command, words: list[str]) -> None:
    """What the server would refuse is refused here, with the exit code of settings."""
    result = moorage("config", *words)

    assert (result.code, result.out) == (3, "")
    assert result.err.startswith("moorage: ")
