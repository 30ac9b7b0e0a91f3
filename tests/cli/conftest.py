"""The command in this process, and a volume to use it on."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from moorage.cli import main
from tests.volumes import Volume, make_volume


class Result(NamedTuple):
    """What a command came to: its exit code, and what it wrote to either stream."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a sound volume."""
    return make_volume(tmp_path_factory.mktemp("template") / "data").data


@pytest.fixture
def volume(template: Path, tmp_path: Path) -> Volume:
    """A sound volume in `./data`."""
    shutil.copytree(template, tmp_path / "data")
    return Volume(tmp_path / "data")


@pytest.fixture
def moorage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `moorage` with these words in a folder of the test's own, without a terminal and without settings."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("MOORAGE_", "REGISTRY_")):
            monkeypatch.delenv(name)

    def run(*words: str | Path, stdin: bytes = b"") -> Result:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = main.run(main.moorage, [str(word) for word in words])
        return Result(code, *capsys.readouterr())

    return run
