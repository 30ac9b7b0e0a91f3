"""A Debian machine that systemd has booted: what `BareDebian` is, with systemd as its process 1, in a container."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.programs import lacking, need
from tests.setup.bare import BareDebian

_SECONDS = 120


class BootedDebian:
    """Boots *debian*, in which systemd is installed first, with a network of its own; a context manager.

    Skips the test where systemd cannot be process 1: it wants root, cgroups and namespaces.
    """

    def __init__(self, debian: BareDebian) -> None:
        self.root = debian.root
        self._nspawn = need("systemd-nspawn")
        self._nsenter = need("nsenter")
        install = "apt-get -qq update && apt-get -qq install -y --no-install-recommends systemd-sysv dbus procps curl"
        done = debian.run("sh", "-c", f"export DEBIAN_FRONTEND=noninteractive; {install}")
        assert done.returncode == 0, done.stdout + done.stderr
        self._process: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> Self:
        self._log = (self.root.parent / "boot.log").open("wb")
        self._process = subprocess.Popen(
            [
                *(self._nspawn, "--quiet", "--boot", "--register=no", "--keep-unit", "--private-network"),
                *("--console=pipe", "--hostname=harbour", f"--directory={self.root}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + _SECONDS
        while not self._is_up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._end()
                lacking(f"systemd does not boot here: {Path(self._log.name).read_text(errors='replace')[-300:]}")
            time.sleep(0.2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, *command: str, seconds: float = _SECONDS) -> subprocess.CompletedProcess[str]:
        """Run *command* as root to its end; its streams are in the result, its exit code is not checked."""
        return subprocess.run(self.inside(*command), check=False, capture_output=True, text=True, timeout=seconds)

    def shell(self, script: str) -> str:
        """What a script for sh says, blanks at its ends left out; AssertionError if it fails."""
        done = self.run("sh", "-euc", script)
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def inside(self, *command: str) -> list[str]:
        """The words that run *command* there."""
        environment = ["env", "-i", "HOME=/root", "TERM=dumb", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        # Its own view of control groups would not let this process in.
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]
        return [self._nsenter, f"--target={self._init}", *spaces, *environment, *command]

    def _is_up(self) -> bool:
        if not self._init:
            assert self._process is not None
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
            found = children.read_text().split() if children.exists() else []
            self._init = int(found[0]) if found else 0
        if not self._init:
            return False
        return self.run("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"}

    def _end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            if self._init:
                # SIGRTMIN+4: power off (systemd(1)).
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._init, signal.SIGRTMIN + 4)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(30)
        self._log.close()
