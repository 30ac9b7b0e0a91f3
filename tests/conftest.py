"""What holds for every test: no deadlines for hypothesis, and a loud word about tests that did not run.

A test whose program is missing is skipped (tests/programs.py), and the run's last lines name it. With
MOORAGE_REQUIRE_CLIENTS=1, as `.ci/run` sets it, every skipped test is a failure.
"""

from __future__ import annotations

import resource
import signal
from collections import Counter
from collections.abc import Iterator

import hypothesis
import pytest

from tests.programs import REQUIRED

# Each SQLite database of a test stays mapped for the life of this process (moorage/metadata/wal_stamp.py), which may
# come to more files than a shell's usual limit.
_, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(_most, 20_000), _most))

# A shell that starts this in its background has it ignore these, and every server under test would do so too.
for _signal in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, signal.default_int_handler if _signal is signal.SIGINT else signal.SIG_DFL)

# No deadline: the machine is shared, and a slow example is no error.
hypothesis.settings.register_profile("moorage", deadline=None, print_blob=True)
hypothesis.settings.load_profile("moorage")


def _skip_reasons(reporter: pytest.TerminalReporter) -> Iterator[str]:
    for report in reporter.stats.get("skipped", []):
        where_why = report.longrepr
        yield where_why[2].removeprefix("Skipped: ") if isinstance(where_why, tuple) else str(where_why)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where everything must run, a skipped test is a failure, and one that a second try does not mend (`.ci/run`)."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    ended = exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}
    if REQUIRED and ended and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.INTERRUPTED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was skipped, how often and why, and how to get it."""
    reasons = Counter(_skip_reasons(terminalreporter))
    if not reasons:
        return
    terminalreporter.section("not run on this machine", yellow=True)
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count:5d}  {reason}")
    if REQUIRED:
        terminalreporter.write_line("MOORAGE_REQUIRE_CLIENTS=1: a test that does not run is a failure.", red=True)
