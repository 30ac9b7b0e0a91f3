"""A pull, a push of 512 MiB and newcomers, all under way while a test changes the server's certificate."""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.content import Client, digest_of, noise
from tests.raw_http import Line, message

PUSHED = 512 << 20
PULLED = noise(32 << 20, seed=41)
_PIECE = noise(1 << 20, seed=42)
_TRICKLE_SECONDS = 0.05
_PATIENCE = 120.0


@dataclass
class Traffic:
    """Begins with the context, goes on slowly until `finish`, which lets it run to its end.

    *client* asks, and *context* is what it trusts. After `finish`, *failures* has what went wrong, by
    whom; *handshakes* is how many newcomers were answered, *resumed* how many of them by a session of before.
    """

    client: Client
    context: ssl.SSLContext
    failures: list[str] = field(default_factory=list)
    handshakes: int = 0
    resumed: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _under_way: threading.Barrier = field(default_factory=lambda: threading.Barrier(4))

    def __enter__(self) -> Self:
        self.client.push_blob("traffic/pulled", PULLED)
        for work in (self._pull, self._push, self._come_and_go):
            thread = threading.Thread(target=self._guarded, args=(work,), name=work.__name__)
            thread.start()
            self._threads.append(thread)
        self._under_way.wait(_PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._under_way.abort()
        self.finish()

    def finish(self) -> None:
        """Let the pull and the push end, and wait until they have."""
        self._over.set()
        for thread in self._threads:
            thread.join(_PATIENCE)
            if thread.is_alive():
                self.failures.append(f"{thread.name} does not end")

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  (told in `failures`)
            self.failures.append(f"{threading.current_thread().name}: {error!r}")
            self._under_way.abort()

    def _line(self, receive_buffer: int | None = None) -> Line:
        return Line(self.client.server, self.context, receive_buffer=receive_buffer, seconds=60)

    def _pull(self) -> None:
        """The answer is read a little at a time, on one connection."""
        with self._line(receive_buffer=64 * 1024) as line:
            line.send(message("GET", f"/v2/traffic/pulled/blobs/{digest_of(PULLED)}", self.client.headers))
            line.received += line.socket.recv(4096)
            self._under_way.wait(_PATIENCE)
            while not self._over.wait(_TRICKLE_SECONDS):
                line.received += line.socket.recv(16 * 1024)
            answer = line.answer()
        assert (answer.status, digest_of(answer.body)) == (200, digest_of(PULLED))

    def _push(self) -> None:
        """One PATCH, half of it slowly, and the closing PUT."""
        place = self.client.begin_upload("traffic/pushed")
        hashed = hashlib.sha256()
        headers = {**self.client.headers, "Content-Length": str(PUSHED), "Content-Type": "application/octet-stream"}
        with self._line() as line:
            line.send(message("PATCH", place, headers))
            for number in range(PUSHED // len(_PIECE)):
                line.send(_PIECE)
                hashed.update(_PIECE)
                if number == 0:
                    self._under_way.wait(_PATIENCE)
                if number < PUSHED // len(_PIECE) // 2:
                    self._over.wait(_TRICKLE_SECONDS)
            patched = line.answer("PATCH")
            assert patched.status == 202, patched
            target = f"{patched.header('location')}?digest=sha256:{hashed.hexdigest()}"
            line.send(message("PUT", target, {**self.client.headers, "Content-Length": "0"}))
            put = line.answer("PUT")
        assert put.status == 201, put
        head = self.client.ask("HEAD", f"/v2/traffic/pushed/blobs/sha256:{hashed.hexdigest()}")
        assert (head.status, head.header("content-length")) == (200, str(PUSHED))

    def _come_and_go(self) -> None:
        """New connections one after another, each with the session of the one before."""
        session = None
        self._under_way.wait(_PATIENCE)
        while not self._over.is_set():
            with Line(self.client.server, seconds=60) as line:
                wrapped = self.context.wrap_socket(
                    line.socket, server_hostname=self.client.server.address, session=session
                )
                line.socket = wrapped
                line.send(message("GET", "/v2/", self.client.headers))
                assert line.answer().status == 200
                self.handshakes += 1
                self.resumed += bool(wrapped.session_reused)
                session = wrapped.session
            time.sleep(0.01)


def trusting(*roots: bytes) -> ssl.SSLContext:
    """A client's context that trusts these PEM texts and nothing else, whatever the name in a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    for root in roots:
        context.load_verify_locations(cadata=root.decode())
    return context
