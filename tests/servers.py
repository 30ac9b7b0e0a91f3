"""Starts the real server as a process of its own; every test that needs one on a socket starts it here."""

from __future__ import annotations

import errno
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import bcrypt

from tests.certificates import Pair
from tests.secrecy import leaks

ROOT = Path(__file__).resolve().parent.parent
COMMAND = Path(sys.executable).with_name("moorage")
START_SECONDS = 30.0
STOP_SECONDS = 30.0

# Run where the server runs, which may be another network namespace: exits with 0 once a request is answered there.
_PROBE = (
    "import sys; from tests.servers import answers; sys.exit(not answers(sys.argv[1], int(sys.argv[2]), sys.argv[3]))"
)


class Moorage:
    """`moorage serve` on a data folder of its own; also a context manager.

    When its processes are gone its log is searched for passwords (tests/secrecy.py): AssertionError if one is in it.
    *secrets* takes what else must not be there.

    - *folder*: everything of this server lies in it: `data/`, `log`, `htpasswd`. A second `Moorage` on the same folder
      is a restart.
    - *users*: names and passwords of an htpasswd file. None: the built-in users, with the administrator of first start.
      Empty: `--auth none`.
    - *options*: further options of `moorage serve`.
    - *pair*: a certificate and its key; the server then speaks TLS.
    - *secure*: whether it speaks TLS without one, since it has a certificate by other options.
    - *address*, *port*: where it listens; a free port by default.
    - *prefix*: a command to run it by, such as `ip netns exec NAME`.
    - *environment*: variables beside this process's own, of which settings (`MOORAGE_*`, `REGISTRY_*`) are left out.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        users: Mapping[str, str] | None = None,
        pair: Pair | None = None,
        secure: bool = False,
        address: str = "127.0.0.1",
        port: int | None = None,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "log"
        self.address = address
        self.port = port or free_port(address if not prefix else "127.0.0.1")
        self.pair = pair
        self.secure = secure or pair is not None
        self.prefix = tuple(prefix)
        self.environment = dict(environment or {})
        self.options = [*options, *self._authentication(users), *self._tls()]
        self.users = users
        self.secrets: list[str] = []
        self._logged = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """`ADDRESS:PORT`, as clients write it in a reference."""
        return f"{self.address}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.host}"

    @property
    def pid(self) -> int:
        """The process id of the tree's root, which is also its process group."""
        assert self.process is not None, "not started"
        return self.process.pid

    @property
    def user(self) -> str:
        """A user who may do everything; the empty string when nobody needs to log in."""
        if self.users is None:
            return "admin"
        return next(iter(self.users), "")

    @property
    def password(self) -> str:
        if self.users is None:
            return (self.data / "moorage" / "initial-password").read_text().strip()
        return self.users.get(self.user, "")

    def command(self) -> list[str]:
        """The whole command line."""
        listen = ["--data", str(self.data), "--listen", self.host]
        return [*self.prefix, str(COMMAND), "serve", *listen, *self.options]

    def start(self) -> Self:
        """Starts it and returns once it answers; AssertionError with the log's end if it does not."""
        with self.log.open("ab") as log:
            self._logged = log.tell()
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**_foreign(), **self.environment},
                start_new_session=True,
            )
        try:
            self.await_port(self.port)
        except AssertionError:
            self.kill()
            raise
        return self

    def await_port(self, port: int) -> None:
        """Returns once something answers at *port* where this server runs; AssertionError if nothing does in time."""
        assert self.process is not None, "not started"
        deadline = time.monotonic() + START_SECONDS
        while not self._answers(port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"nothing answers at port {port}: {self.command()}\n{self.log_tail()}")
            time.sleep(0.02)

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM to the root; its exit code, once the whole tree is gone."""
        assert self.process is not None, "not started"
        self.process.terminate()
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not stop within {seconds} s of SIGTERM\n{self.log_tail()}") from None
        self.kill()
        return code

    def kill(self) -> None:
        """SIGKILL to every process of the tree at once; returns when none is left. Nothing to do is no error."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        deadline = time.monotonic() + STOP_SECONDS
        while group_members(self.process.pid):
            assert time.monotonic() < deadline, "a killed process of the server's tree is still there"
            time.sleep(0.005)
        self._check_secrets()

    def _check_secrets(self) -> None:
        with self.log.open("rb") as log:
            log.seek(self._logged)
            text = log.read().decode("utf-8", "replace")
        first = self.data / "moorage" / "initial-password"
        made = {"admin": first.read_text().strip()} if self.users is None and first.exists() else {}
        leaked = leaks(text, self.users or made, self.secrets)
        assert not leaked, f"secrets in the log {self.log}: {leaked[:3]}"

    def log_tail(self, characters: int = 4000) -> str:
        return self.log.read_text(errors="replace")[-characters:]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _authentication(self, users: Mapping[str, str] | None) -> list[str]:
        if users is None:
            return []
        if not users:
            return ["--auth", "none"]
        path = self.folder / "htpasswd"
        write_htpasswd(path, users)
        return ["--auth", "htpasswd", "--htpasswd", str(path)]

    def _tls(self) -> list[str]:
        if self.pair is None:
            return []
        return ["--tls-certificate", str(self.pair.certificate), "--tls-key", str(self.pair.key)]

    def _answers(self, port: int) -> bool:
        scheme = "https" if self.secure else "http"
        if not self.prefix:
            return answers(self.address, port, scheme)
        probe = [*self.prefix, sys.executable, "-c", _PROBE, self.address, str(port), scheme]
        return subprocess.run(probe, check=False, stderr=subprocess.DEVNULL, cwd=ROOT).returncode == 0


def answers(address: str, port: int, scheme: str) -> bool:
    """Whether a server answers at *address*, with whatever status; a port that only accepts is not enough."""
    request = f"GET /v2/ HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
    try:
        with socket.create_connection((address, port), 5) as plain:
            with _unverified().wrap_socket(plain) if scheme == "https" else plain as stream:
                stream.sendall(request)
                return stream.recv(1) != b""
    except ssl.SSLEOFError:
        return False
    except ssl.SSLError:
        return True  # It asks for a client's certificate.
    except OSError:
        return False


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _foreign() -> dict[str, str]:
    """This process's variables without those that are the server's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MOORAGE_", "REGISTRY_"))}


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on at *address* just now.

    Below those that the kernel gives to clients (ip(7), ip_local_port_range): on one of these a client that asks
    whether somebody answers yet may be given the very port that it asks, and then answers itself.
    """
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as listener:
            try:
                listener.bind((address, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port


def write_htpasswd(path: Path, users: Mapping[str, str], cost: int = 5) -> None:
    """Writes *users* with bcrypt hashes of *cost*, as `htpasswd -B` does, in place of what is there."""
    lines = [f"{name}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(cost)).decode()}\n" for name, word in users.items()]
    fresh = path.with_name(path.name + ".new")
    fresh.write_text("".join(lines))
    fresh.replace(path)


def group_members(group: int) -> list[int]:
    """Process ids of a process group that are alive, zombies left out."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _, process_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(process_group) == group and state not in "ZX":
            members.append(int(entry.name))
    return members
