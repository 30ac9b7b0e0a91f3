"""What systemd is to a service, small enough to look into: it listens, keeps sockets, and passes them on."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers import Moorage

SECONDS = 60
# Runs where the service will run: takes the descriptors to their places, and becomes it.
_BECOME = """
import os, socket, sys
with socket.socket(socket.AF_UNIX) as way:
    way.connect(sys.argv[1])
    names, passed, _, _ = socket.recv_fds(way, 4096, 64)
for place, one in enumerate(passed):
    os.dup2(one, 100 + place)
    os.close(one)
passed = [100 + place for place in range(len(passed))]
for place, one in enumerate(passed):
    os.dup2(one, 3 + place)
    os.close(one)
pid = str(os.getpid())
os.environ["SYSTEMD_EXEC_PID"] = pid
if passed:
    os.environ |= {"LISTEN_PID": pid, "LISTEN_FDS": str(len(passed)), "LISTEN_FDNAMES": names.decode()}
os.execv(sys.argv[2], sys.argv[2:])
"""


class ServiceManager:
    """Hears what services say, at *address*; also a context manager.

    - *messages*: what was said, in order, each a map of its lines.
    - *units*: sockets to pass on to what is started, with their names, as socket units do.
    - *kept*: names and descriptors that services have given to keep; they are passed on too.
    """

    def __init__(self, folder: Path, *, abstract: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.address = f"@moorage-test-{os.getpid()}-{time.monotonic_ns()}" if abstract else str(folder / "notify")
        self.way = str(folder / "way")
        self.messages: list[dict[str, str]] = []
        self.units: list[tuple[str, socket.socket]] = []
        self.kept: list[tuple[str, int]] = []
        self._ears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ears.bind("\0" + self.address[1:] if abstract else self.address)
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(self.way)
        self._door.listen()
        self._news = threading.Condition()
        self._threads = [threading.Thread(target=self._hear), threading.Thread(target=self._pass_on)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (self._ears, self._door):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            name = self.address
            with contextlib.suppress(OSError):
                last.sendto(b"", "\0" + name[1:] if name.startswith("@") else name)
        for thread in self._threads:
            thread.join(SECONDS)
        for one in (self._ears, self._door, *(unit for _, unit in self.units)):
            one.close()
        self.forget()

    def forget(self) -> None:
        """Close what is kept, as systemd does for a service that is stopped for good."""
        for _, descriptor in self.kept:
            os.close(descriptor)
        self.kept.clear()

    def wait(self, condition: Callable[[list[dict[str, str]]], bool]) -> None:
        """Return once *condition* holds of the messages; AssertionError with them if it does not in time."""
        with self._news:
            assert self._news.wait_for(lambda: condition(self.messages), SECONDS), self.messages

    def wait_for(self, key: str, times: int = 1) -> dict[str, str]:
        """The message in which *key* stood for the *times*-th time."""
        self.wait(lambda messages: sum(key in message for message in messages) >= times)
        return [message for message in self.messages if key in message][times - 1]

    def count(self, key: str) -> int:
        """How many messages had *key*."""
        return sum(key in message for message in self.messages)

    def _hear(self) -> None:
        while True:
            try:
                text, descriptors, _, _ = socket.recv_fds(self._ears, 4096, 64)
            except OSError:
                return
            if not text:
                return
            message = dict(line.split("=", 1) for line in text.decode().splitlines())
            with self._news:
                self._store(message, descriptors)
                self.messages.append(message)
                self._news.notify_all()

    def _store(self, message: Mapping[str, str], descriptors: Sequence[int]) -> None:
        if message.get("FDSTOREREMOVE") == "1":
            for pair in [pair for pair in self.kept if pair[0] == message["FDNAME"]]:
                self.kept.remove(pair)
                os.close(pair[1])
        if message.get("FDSTORE") == "1":
            self.kept += [(message["FDNAME"], one) for one in descriptors]
            return
        for one in descriptors:
            os.close(one)

    def _pass_on(self) -> None:
        while True:
            try:
                way, _ = self._door.accept()
            except OSError:
                return
            with way:
                pairs = [(name, one.fileno()) for name, one in self.units] + self.kept
                socket.send_fds(way, [":".join(name for name, _ in pairs).encode() or b":"], [one for _, one in pairs])


class Service(Moorage):
    """A server that *manager* has started."""

    def __init__(self, manager: ServiceManager, folder: Path, *options: str, watchdog: float | None = None, port: int):
        variables = {"NOTIFY_SOCKET": manager.address}
        if watchdog is not None:
            variables["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        super().__init__(folder, "--workers", "2", *options, users={}, port=port, environment=variables)
        self._manager = manager

    def command(self) -> list[str]:
        """The manager's own first steps, then the server's command line."""
        return [sys.executable, "-c", _BECOME, self._manager.way, *super().command()]
