"""How each registry is started, with its own best settings, and what it promises about the disk."""

from __future__ import annotations

import base64
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import bcrypt

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(os.environ.get("MOORAGE_TOOLS", "/opt/moorage-tools"))
USER, PASSWORD = "bench", "correct horse battery staple"
# What Docker accepts; distribution hides manifests of the OCI from clients that do not name them.
ACCEPT = (
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, */*"
)
_START_SECONDS = 30
_STOP_SECONDS = 30


@dataclass(frozen=True)
class Mode:
    """How a registry is asked for in some of the cases: *cost* is bcrypt's, None without passwords."""

    name: str
    cost: int | None = None
    secure: bool = False


ANONYMOUS = Mode("anonymous, plain HTTP")
COST_5 = Mode("htpasswd, bcrypt cost 5", cost=5)
COST_10 = Mode("htpasswd, bcrypt cost 10", cost=10)
TLS = Mode("anonymous, TLS", secure=True)
# In the order of a run, the slow cases last: what a run has no time left for is the least important.
MODES = (COST_5, COST_10, TLS, ANONYMOUS)


class Registry:
    """A registry in a folder of its own, started and stopped any number of times on the same data."""

    name = ""
    durability = ""
    # Takes part only where something is written: a peer's slower setting, beside the same peer's own.
    flushes_only = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.port = 0
        self.mode = ANONYMOUS
        self.facts: dict[str, str] = {}
        # Where long lists may lie that are made of files (`bench.bulk`).
        self.lists = folder / "lists"
        # The one that all are compared with, where a peer is measured at the rate of the slower of both.
        self.first: Registry = self
        self._process: subprocess.Popen[bytes] | None = None

    # What each kind says.

    def version(self) -> str:
        raise NotImplementedError

    def settings(self) -> str:
        """The settings that differ from its defaults, for the report."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The command line for `self.mode` on `self.port`; may write files into the folder first."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def cannot(self, mode: Mode) -> str:
        """Why it cannot be asked in *mode*; nothing where it can."""
        return ""

    # What all share.

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def data(self) -> Path:
        """Where it keeps what it is given."""
        return self.folder / "data"

    @property
    def url(self) -> str:
        return f"{'https' if self.mode.secure else 'http'}://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries in this mode."""
        if self.mode.cost is None:
            return {"Accept": ACCEPT}
        return {"Accept": ACCEPT, "Authorization": authorization(PASSWORD)}

    def start(self, mode: Mode) -> float:
        """Start it; returns the seconds until its first answer."""
        self.mode = mode
        self.port = _free_port()
        foreign = {name: value for name, value in os.environ.items() if not name.startswith(("MOORAGE_", "REGISTRY_"))}
        command = self.command()
        started = time.monotonic()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**foreign, **self.environment()},
                cwd=self.folder,
                start_new_session=True,
            )
        deadline = started + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self.name} did not start: {' '.join(command)}\n{self.log_tail()}")
            time.sleep(0.002)
        return time.monotonic() - started

    def stop(self) -> None:
        """End it, gently and then by force."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    def log_tail(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """A blocking connection, with the handshake done."""
        plain = socket.socket()
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(120)
        try:
            plain.connect(("127.0.0.1", self.port))
        except OSError:
            plain.close()
            raise
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _unverified().wrap_socket(plain) if self.mode.secure else plain

    def _answers(self) -> bool:
        try:
            with self.connect() as stream:
                stream.sendall(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return stream.recv(1) != b""
        except OSError:
            return False

    def htpasswd(self) -> Path:
        """A file with one user, hashed at the mode's cost."""
        path = self.folder / f"htpasswd-{self.mode.cost}"
        if not path.exists():
            hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(self.mode.cost or 5)).decode()
            path.write_text(f"{USER}:{hashed.replace('$2b$', '$2y$')}\n")
        return path

    def pair(self) -> tuple[Path, Path]:
        """A certificate (ECDSA P-256) and its key."""
        certificate, key = self.folder / "server.crt", self.folder / "server.key"
        if not certificate.exists():
            command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
            command += ["-subj", "/CN=localhost", "-days", "30", "-keyout", str(key), "-out", str(certificate)]
            subprocess.run(command, check=True, capture_output=True)
        return certificate, key


class Moorage(Registry):
    """This project, from the working tree or from another tree of sources."""

    name = "moorage"
    durability = "file and directories fsynced, then the row (SQLite WAL, synchronous=FULL, group commit)"

    def __init__(self, folder: Path, source: Path = ROOT / "src", name: str = "moorage", *, access: bool) -> None:
        super().__init__(folder)
        self.source = source
        self.name = name
        self.access = access

    def version(self) -> str:
        text = self.run("version").stdout
        return text.decode().split("\n")[0] + f" ({self._commit()})"

    def settings(self) -> str:
        return "defaults" if self.access else "log.access: false"

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.source), "MOORAGE_LOG_ACCESS": str(self.access).lower()}

    def command(self) -> list[str]:
        listen = ["--data", str(self.data), "--listen", f"127.0.0.1:{self.port}"]
        command = [*self._program(), "serve", *listen, "--log-level", "error"]
        if self.mode.cost is None:
            command += ["--auth", "none"]
        else:
            command += ["--auth", "htpasswd", "--htpasswd", str(self.htpasswd())]
        if self.mode.secure:
            certificate, key = self.pair()
            command += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
        return command

    def _program(self) -> list[str]:
        return [sys.executable, "-c", "from moorage.cli.main import main; main()"]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(self.source)}
        return subprocess.run([*self._program(), *arguments], check=True, capture_output=True, env=environment)

    def _commit(self) -> str:
        if self.source != ROOT / "src":
            return self.name.partition("@")[2]
        git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
        return subprocess.run(git, check=False, capture_output=True).stdout.decode().strip() or "no git"


def authorization(password: str) -> str:
    return "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
