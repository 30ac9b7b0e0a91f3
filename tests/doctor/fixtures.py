"""Walks of the doctor in this process, and small servers that have one fault each."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from time import time
from types import TracebackType
from typing import Any, Self

from moorage.doctor.client.names import Address, NameServer
from moorage.doctor.client.path import client_steps
from moorage.doctor.client.target import Login, Options, parse_target
from moorage.doctor.finding import Finding, Verdict
from moorage.doctor.walk import walk
from moorage.oci.name import parse_name
from tests.certificates import Pair

HOST = "registry.test"
SECONDS = 30.0


@dataclass(frozen=True)
class Table:
    """Names from a table, in place of this machine's."""

    known: Mapping[str, Sequence[Address]] = field(default_factory=lambda: {HOST: ("127.0.0.1",)})
    hosts: Mapping[str, Sequence[Address]] = field(default_factory=lambda: {HOST: ("127.0.0.1",)})
    asked: Sequence[NameServer] = ()

    def lookup(self, host: str) -> list[Address]:
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return list(self.known[host])

    def hosts_file(self, host: str) -> list[Address]:
        return list(self.hosts.get(host, ()))

    def servers(self) -> list[NameServer]:
        return list(self.asked)

    def search(self) -> list[str]:
        return []


def options(url: str, login: tuple[str, str] | None = None, **more: Any) -> Options:
    """Options for a walk to *url*, with a table of names and no folder of an engine."""
    chosen: dict[str, Any] = {
        "names": Table(),
        "repository": parse_name("doctor/scratch"),
        "certs_folders": (),
        "timeout": SECONDS,
        **more,
    }
    return Options(target=parse_target(url), login=Login(*login) if login else None, **chosen)


def walked(chosen: Options, *names: str) -> list[Finding]:
    """The findings of a whole walk; of these steps only where *names* are given, and what comes before them."""
    steps = client_steps(chosen)
    if names:
        last = max(number for number, step in enumerate(steps) if step.name in names)
        steps = steps[: last + 1]

    async def take() -> list[Finding]:
        return [finding async for finding in walk(steps)]

    return asyncio.run(take())


def troubles(found: Iterable[Finding]) -> list[tuple[str, str, str]]:
    """Step, verdict and sentence of everything that is not well."""
    return [(one.step, one.verdict.value, one.what) for one in found if one.verdict in {Verdict.WARNING, Verdict.WRONG}]


def the(found: Iterable[Finding], text: str) -> Finding:
    """The one finding whose sentence has *text* in it."""
    matching = [one for one in found if text in one.what]
    assert len(matching) == 1, f"{text!r} is in {len(matching)} of {[one.what for one in found]}"
    return matching[0]


REGISTRY = {
    "Docker-Distribution-Api-Version": "registry/2.0",
    "WWW-Authenticate": 'Basic realm="test"',
    "Content-Type": "application/json",
}
UNAUTHORIZED = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'

Reply = tuple[int, Mapping[str, str], bytes]
"""Status, headers, body."""


def unauthorized(request: bytes) -> Reply:
    """As a registry answers a stranger."""
    return 401, REGISTRY, UNAUTHORIZED


class Canned:
    """A server on loopback that gives canned answers, with TLS where there is a *pair* (or a *context*).

    *reply* gets the request's head; *raw* is sent at once, in place of any answer; a *silent* one never answers.
    """

    def __init__(
        self,
        pair: Pair | None = None,
        reply: Callable[[bytes], Reply] = unauthorized,
        *,
        context: ssl.SSLContext | None = None,
        raw: bytes = b"",
        silent: bool = False,
        ahead: float = 0.0,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        if pair is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.load_cert_chain(pair.certificate, pair.key)
        self.context, self.reply, self.raw, self.silent, self.ahead = context, reply, raw, silent, ahead
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.listener = socket.create_server((address, port), family=family)
        self.port: int = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        """By the name that the table of names has."""
        return f"{'https' if self.context else 'http'}://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A closed listener does not wake a thread that waits for it; a connection does.
        self.silent = True
        listening, self.context = self.listener.getsockname()[:2], None
        self.listener.settimeout(0.1)
        with socket.create_connection(listening):
            pass
        self.thread.join(SECONDS)
        self.listener.close()

    def _serve(self) -> None:
        self.listener.settimeout(None)
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            if self.listener.gettimeout() is not None:
                plain.close()
                return
            threading.Thread(target=self._answer, args=(plain,), daemon=True).start()

    def _answer(self, plain: socket.socket) -> None:
        plain.settimeout(SECONDS)
        try:
            with self.context.wrap_socket(plain, server_side=True) if self.context else plain as stream:
                if self.silent:
                    stream.recv(1)
                    threading.Event().wait(SECONDS)
                if self.raw:
                    stream.sendall(self.raw)
                request = _head(stream)
                if request and not self.raw:
                    stream.sendall(self._response(self.reply(request), head=request.startswith(b"HEAD")))
        except OSError:
            plain.close()

    def _response(self, reply: Reply, *, head: bool) -> bytes:
        status, headers, body = reply
        fields = {"Date": formatdate(time() + self.ahead, usegmt=True), "Content-Length": str(len(body)), **headers}
        lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in fields.items()), "Connection: close"]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if head else body)


def _head(stream: socket.socket) -> bytes:
    head = b""
    # A handshake in place of a request is answered at once, as HTTP servers do.
    while b"\r\n\r\n" not in head and not head.startswith(b"\x16"):
        data = stream.recv(65536)
        if not data:
            return b""
        head += data
    return head


def file_of(folder: Path, name: str, content: bytes) -> Path:
    """A file with this content."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
