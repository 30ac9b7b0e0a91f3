from __future__ import annotations

import subprocess
import sys

from tests.programs import need
from tests.servers import ROOT


def test_bench_runs() -> None:
    """The bench starts two servers, fills them, measures them in two ways, and prints a table with what it found."""
    need("wrk")
    need("registry")
    tiny = ["--rounds", "1", "--large-mib", "1", "--repositories", "3", "--listed-tags", "3", "--minutes", "10"]
    command = [sys.executable, "-m", "bench", *tiny, "--only", "by digest", "--only", "small images pushed"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    for row in (
        "| manifest GET by digest | req/s |",
        "| small images pushed | images/s |",
        "| small images pushed | ms |",
    ):
        assert row in done.stdout
    assert "wrong answers" not in done.stdout
    assert "# moorage beside distribution 3.1.1\n" in done.stdout
    assert "## Failed" not in done.stdout


def test_unknown_case_is_said() -> None:
    """A case that does not exist is named a mistake, and nothing is started for it."""
    command = [sys.executable, "-m", "bench", "--only", "no such case"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "--list" in done.stderr
