"""What holds for every test: no deadlines for hypothesis, programs that tests need, a loud word about skipped tests.

A test that runs real programs says so with `@pytest.mark.needs("skopeo", "crane")`. Where one is missing the test is
skipped and the run's last lines name it; with MOORAGE_REQUIRE_CLIENTS set (as `.ci/run` does) it fails, and so does any
other skipped test.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from glob import glob
from pathlib import Path

import hypothesis
import pytest

TOOLS = Path(os.environ.get("MOORAGE_TOOLS", "/opt/moorage-tools"))
REQUIRE_ALL = bool(os.environ.get("MOORAGE_REQUIRE_CLIENTS"))

# No deadline: the machine is shared, and a slow example is no error.
hypothesis.settings.register_profile("moorage", deadline=None, print_blob=True)
hypothesis.settings.load_profile("moorage")


def _search_path() -> str:
    """PATH, then where `.ci/install` puts programs, then where Debian keeps PostgreSQL's, the newest first."""
    own = (os.environ.get("PATH", os.defpath), str(TOOLS / "bin"))
    return os.pathsep.join((*own, *sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True), "/usr/sbin", "/sbin"))


def missing_programs(programs: tuple[str, ...]) -> list[str]:
    """Those of *programs* that this machine does not have."""
    path = _search_path()
    return [program for program in programs if shutil.which(program, path=path) is None]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail a test whose programs are missing."""
    missing = [program for mark in item.iter_markers("needs") for program in missing_programs(mark.args)]
    if missing:
        reason = "not installed: " + ", ".join(sorted(set(missing)))
        (pytest.fail if REQUIRE_ALL else pytest.skip)(reason)


def _skip_reasons(reporter: pytest.TerminalReporter) -> Iterator[str]:
    for report in reporter.stats.get("skipped", []):
        where_why = report.longrepr
        yield where_why[2].removeprefix("Skipped: ") if isinstance(where_why, tuple) else str(where_why)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where everything must run, a skipped test is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if REQUIRE_ALL and exitstatus == pytest.ExitCode.OK and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was skipped, how often and why, and how to get it."""
    reasons = Counter(_skip_reasons(terminalreporter))
    if not reasons:
        return
    terminalreporter.section("not run on this machine", yellow=True)
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count:5d}  {reason}")
    if REQUIRE_ALL:
        terminalreporter.write_line("MOORAGE_REQUIRE_CLIENTS is set: a test that cannot run is a failure.", red=True)
    else:
        terminalreporter.write_line("`.ci/install` installs what is missing (Debian 12, as root or with sudo).")
