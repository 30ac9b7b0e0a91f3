"""Docker Engines that are started for a measurement, each with nothing in it, and removed after it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.drivers import Unexpected
from bench.measure import Cannot
from bench.registries import TOOLS

_START_SECONDS = 60
_STOP_SECONDS = 20


@dataclass(frozen=True)
class Release:
    """Which engine: a name for people, and the folders in which its programs are, before those of PATH."""

    name: str
    folders: tuple[str, ...]


CLASSIC = Release("docker 20.10", ("/usr/sbin", "/usr/bin"))
CONTAINERD = Release("docker 29", (str(TOOLS / "engine29"),))


def program(name: str, path: str | None = None) -> str:
    """Where *name* is. Raises Cannot if it is nowhere."""
    found = shutil.which(name, path=path)
    if found is None:
        raise Cannot(f"{name} is not on this machine")
    return found


class Engine:
    """A dockerd with a network of the host's own and an empty store; as root. Raises Cannot where it is missing."""

    def __init__(self, release: Release) -> None:
        if os.geteuid() != 0:
            raise Cannot("dockerd must be started by root")
        if not any(os.access(f"{folder}/dockerd", os.X_OK) for folder in release.folders):
            raise Cannot(f"{release.name} is not on this machine")
        self._path = os.pathsep.join([*release.folders, os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
        self._dockerd = program("dockerd", self._path)
        # The engine's own command where there is one: an old command and a new engine may not understand each other.
        self._docker = program("docker", self._path)

    def __enter__(self) -> Self:
        # A short path: the engine's sockets are below it, and their names may have 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="mbe-"))
        (self._folder / "daemon.json").write_text("{}")
        places = [f"--data-root={self._folder}/data", f"--exec-root={self._folder}/exec"]
        places += [f"--host=unix://{self._folder}/sock", f"--pidfile={self._folder}/pid"]
        places += [f"--config-file={self._folder}/daemon.json", "--iptables=false", "--bridge=none"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._dockerd, *places],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": self._path},
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while self._run("version").returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = (self._folder / "log").read_text(errors="replace")[-500:]
                self._end()
                raise Cannot(f"{self._dockerd} does not start here: {tail}")
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def __call__(self, *arguments: str) -> str:
        """`docker ARGUMENTS`; what it printed. Raises Unexpected if it fails."""
        done = self._run(*arguments)
        if done.returncode:
            raise Unexpected(f"docker {' '.join(arguments)}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DOCKER_CONFIG": str(self._folder / "home")}
        command = [self._docker, "--host", f"unix://{self._folder}/sock", *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
