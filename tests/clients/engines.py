"""Real Docker Engines, each on a unix socket, with data and configuration in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.clients.hosts import Host
from tests.programs import TOOLS, Shell, need, need_root

START_SECONDS = 60.0

# In a mount namespace of its own the engine finds *our* /etc/hosts and /etc/docker; nothing of this machine changes.
# Not by `ip netns exec`, which mounts another /sys and so hides the cgroups that running a container takes.
_VIEW = """
mkdir -p /etc/docker
mount --bind "$1/hosts" /etc/hosts
mount --bind "$1/etc-docker" /etc/docker
shift
exec "$@"
"""


class Engine:
    """A running dockerd. *modern*: Engine 29 with containerd's image store; else Debian's 20.10 with the classic one.

    *names*: host names that the engine can resolve, with their addresses. *bridge*: containers get a network, and
    ports of the engine's host, as `docker run -p` wants; without it they have `--network=none` and `host` only.
    """

    def __init__(self, folder: Path, host: Host, names: dict[str, str], *, modern: bool, bridge: bool = False) -> None:
        need_root()
        self.folder = folder
        self.modern = modern
        self.bridge = bridge
        self.host = host
        self.socket = folder / "sock"
        self.log = folder / "log"
        self.dockerd = need("dockerd", "engine29") if modern else _debian("/usr/sbin/dockerd")
        self.docker = need("docker") if modern else _debian("/usr/bin/docker")
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "etc-docker" / "certs.d").mkdir(parents=True)
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in names.items())]
        (folder / "hosts").write_text("\n".join(lines) + "\n")

    def trust(self, registry: str, ca: Path) -> None:
        """Lets the engine trust *ca* for *registry* (`name:port`), as docker's documentation tells people to."""
        folder = self.folder / "etc-docker" / "certs.d" / registry
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ca, folder / "ca.crt")

    def distrust(self, registry: str) -> None:
        shutil.rmtree(self.folder / "etc-docker" / "certs.d" / registry, ignore_errors=True)

    def shell(self, home: Path) -> Shell:
        """A shell whose `docker` talks to this engine and sees the network and the trust that the engine sees."""
        assert self.process is not None, "not started"
        view = ("nsenter", "-t", str(self.process.pid), "-n", "-m", f"--wd={home}")
        home.mkdir(parents=True, exist_ok=True)
        return Shell(home, {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": str(home / ".docker")}, view)

    def __enter__(self) -> Self:
        folders = [f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec"]
        sockets = [f"--host=unix://{self.socket}", f"--pidfile={self.folder}/pid"]
        network = [] if self.bridge else ["--iptables=false", "--bridge=none"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(*self.host.prefix, "unshare", "--mount", "sh", "-ec", _VIEW, "sh", str(self.folder)),
                    *(self.dockerd, *folders, *sockets, *network),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PATH": self._path()},
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self._end()
                raise AssertionError(f"{self.dockerd} did not start\n{self.log.read_text()[-4000:]}")
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _path(self) -> str:
        folders = [str(TOOLS / "engine29")] if self.modern else ["/usr/sbin", "/usr/bin"]
        return os.pathsep.join([*folders, os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

    def _answers(self) -> bool:
        command = [self.docker, "-H", f"unix://{self.socket}", "version"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def _end(self) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        # Gigabytes after a few runs; the log stays.
        shutil.rmtree(self.folder / "data", ignore_errors=True)


def _debian(path: str) -> str:
    """Debian's own program, where a newer one of the same name may come first on PATH."""
    return path if os.access(path, os.X_OK) else need(f"{path} of Debian's docker.io")
