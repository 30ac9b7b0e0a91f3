"""Finds and runs the real programs that tests use beside Moorage; `.ci/install` gets them all."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

TOOLS = Path(os.environ.get("MOORAGE_TOOLS", "/opt/moorage-tools"))
# Taken out, for it looks like a setting: every server and command that is started from here would say so.
REQUIRED = os.environ.pop("MOORAGE_REQUIRE_CLIENTS", "") == "1"
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/postgresql/15/bin")
SECONDS = 180.0


def need(name: str, folder: str = "bin") -> str:
    """The path of program *name*, looked for in *folder* of the tools and then where the system keeps programs.

    Without it the test is skipped; with MOORAGE_REQUIRE_CLIENTS=1, as in CI, it fails.
    """
    path = os.pathsep.join([str(TOOLS / folder), os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS])
    found = shutil.which(name, path=path)
    if found is None:
        lacking(f"{name} is not installed")
    return found


def need_root() -> None:
    """Skips, or fails in CI, a test that only root can run: it starts an engine or makes network namespaces."""
    if os.geteuid() != 0:
        lacking("only root can run this test")


def lacking(reason: str) -> NoReturn:
    """Ends the test: skipped with *reason*, or failed where everything must run."""
    if REQUIRED:
        pytest.fail(f"{reason}; `.ci/install` installs every program that the tests run")
    pytest.skip(f"{reason}; `.ci/install` installs every program that the tests run")


def readable(descriptor: int, seconds: float) -> bool:
    """Whether *descriptor* has something to read within *seconds*; select(2) knows the first thousand only."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


@dataclass(frozen=True)
class Shell:
    """Runs programs in a home folder of their own, so that no client sees another's logins, nor this machine's."""

    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()

    def __call__(self, *command: str | Path, stdin: str | bytes = b"", seconds: float = SECONDS) -> str:
        """Its standard output, white space stripped from both ends; AssertionError unless it exits with 0."""
        return self.output(*command, stdin=stdin, seconds=seconds).decode(errors="replace").strip()

    def output(self, *command: str | Path, stdin: str | bytes = b"", seconds: float = SECONDS) -> bytes:
        """Its standard output, byte for byte; AssertionError unless it exits with 0."""
        done = self._run(command, stdin, seconds)
        assert done.returncode == 0, f"{_line(command)} exited with {done.returncode}\n{_text(done)}"
        return done.stdout

    def fails(self, *command: str | Path, stdin: str | bytes = b"", seconds: float = SECONDS) -> str:
        """What it says, on either stream; AssertionError if it exits with 0."""
        done = self._run(command, stdin, seconds)
        assert done.returncode != 0, f"{_line(command)} should have failed\n{_text(done)}"
        return _text(done)

    def _run(
        self, command: tuple[str | Path, ...], stdin: str | bytes, seconds: float
    ) -> subprocess.CompletedProcess[bytes]:
        self.home.mkdir(parents=True, exist_ok=True)
        program, *arguments = (str(word) for word in command)
        return subprocess.run(
            [*self.prefix, program if "/" in program else need(program), *arguments],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            check=False,
            cwd=self.home,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.home), **self.environment},
            timeout=seconds,
        )


def _line(command: tuple[str | Path, ...]) -> str:
    return " ".join(str(word) for word in command)


def _text(done: subprocess.CompletedProcess[bytes]) -> str:
    return (done.stdout + done.stderr).decode(errors="replace")
