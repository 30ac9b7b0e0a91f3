from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guards.hot_path import per_request
from tests.guards.table import Table
from tests.programs import lacking, need
from tests.servers import ROOT

SECTION = f"instructions on Python {sys.version_info.major}.{sys.version_info.minor}"

TIMES = 100
"""Requests of each kind: twice as many give the same figure to a thousandth."""

SECONDS = 600
"""Valgrind is some fifty times slower than the machine, which may be busy too."""


def _count(folder: Path) -> dict[str, int]:
    """Instructions per request, by case."""
    library = folder / "callgrind.so"
    source = Path(__file__).with_name("callgrind.c")
    subprocess.run([need("gcc"), "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source], check=True)
    (folder / "data").mkdir()
    command = [need("valgrind"), "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/profile"]
    program = [sys.executable, "-m", "tests.guards.hot_path", str(library), str(folder / "data"), str(TIMES)]
    done = subprocess.run(
        [*command, *program],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-4000:]
    return per_request(folder.glob("profile.*"), TIMES)


@pytest.mark.slow
def test_no_request_takes_more_instructions(tmp_path: Path, limits: Table) -> None:
    """From a request's bytes to its answer's, the process executes at most as many instructions as the table says."""
    if not limits.has(SECTION):
        lacking(f"tests/guards/limits.toml has no [{SECTION}]: `python -m tests.guards.renew -k instructions` adds it")

    counted = _count(tmp_path)

    limits.check(SECTION, {case: {"instructions": figure} for case, figure in counted.items()})
