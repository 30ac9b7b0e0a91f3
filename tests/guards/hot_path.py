"""Small requests fed to the real protocol object and the real application, with nothing around them.

As a program it counts instructions: `valgrind --tool=callgrind --instr-atstart=no python -m tests.guards.hot_path
LIBRARY FOLDER TIMES`, where LIBRARY is `callgrind.c` compiled. It writes one profile for each case.
"""

from __future__ import annotations

import asyncio
import ctypes
import re
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from moorage.server.connection import Connection
from tests.content import MANIFEST, OCTETS, digest_of, encode, image, noise
from tests.guards.composed import PASSWORD, PEER, USER, Registry, composed, made_ready, settings_for
from tests.raw_http import basic, message
from tests.servers import write_htpasswd

REPOSITORY = "guard/hot"
LAYER = noise(2000, seed=1)
UNIT = 75_000
"""Instructions of one unit of `calibrate` on the Python where the table was first written (3.11.7 for x86-64)."""

_UNIT_CASE = "unit"
AGENT = {"User-Agent": "docker/28.1.0 go/go1.24", "Accept": MANIFEST}


class Outlet:
    """What a connection writes to: keeps the last answer, and is never full."""

    def __init__(self) -> None:
        self.answer = b""

    def write(self, data: bytes) -> None:
        self.answer = data

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> None:
        return None

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int) -> None:
        """Nothing."""

    def pause_reading(self) -> None:
        raise AssertionError("a request was not answered at once")

    resume_reading = close = abort = write_eof = pause_reading


@dataclass(frozen=True)
class Case:
    """A request and the status of its answer."""

    raw: bytes
    status: int


def cases(body: bytes) -> dict[str, Case]:
    """Those that registries answer most."""
    by_tag = f"/v2/{REPOSITORY}/manifests/v1"
    alice = {**AGENT, "Authorization": basic(USER, PASSWORD)}
    known = {**AGENT, "If-None-Match": f'"{digest_of(body)}"'}
    blob = f"/v2/{REPOSITORY}/blobs/{digest_of(LAYER)}"
    return {
        "/v2/": Case(message("GET", "/v2/", alice), 200),
        "manifest GET by tag": Case(message("GET", by_tag, AGENT), 200),
        "manifest GET by tag, htpasswd": Case(message("GET", by_tag, alice), 200),
        "manifest GET by digest": Case(message("GET", f"/v2/{REPOSITORY}/manifests/{digest_of(body)}", AGENT), 200),
        "manifest HEAD by tag": Case(message("HEAD", by_tag, AGENT), 200),
        "manifest 304 by tag": Case(message("GET", by_tag, known), 304),
        "manifest 404 by tag": Case(message("GET", f"{by_tag}-none", AGENT), 404),
        "blob GET, 2 KB": Case(message("GET", blob, AGENT), 200),
        "blob HEAD": Case(message("HEAD", blob, AGENT), 200),
    }


class HotPath:
    """Answers requests synchronously; made by `opened`, in whose event loop it is used."""

    def __init__(self, connection: Connection, outlet: Outlet) -> None:
        self._connection = connection
        self._outlet = outlet

    def ask(self, raw: bytes, times: int) -> bytes:
        """Give the connection the request so often; the last answer."""
        size, connection = len(raw), self._connection
        for _ in range(times):
            connection.get_buffer(-1)[:size] = raw
            connection.buffer_updated(size)
        return self._outlet.answer

    def check(self, case: Case) -> None:
        """Warm up, and see that the answer is right."""
        self._outlet.answer = b""
        answer = self.ask(case.raw, 3)
        assert answer.startswith(b"HTTP/1.1 %d " % case.status), answer


async def run(folder: Path, work: Callable[[HotPath, dict[str, Case]], None], *, access_log: bool = True) -> None:
    """Fill a registry in *folder*, and let *work* use its hot path."""
    users = folder / "htpasswd"
    write_htpasswd(users, {USER: PASSWORD})
    settings = settings_for(folder / "data", htpasswd=users)
    await made_ready(settings)
    body = await _fill(Registry(settings))
    faces, serving = await composed(settings, access_log=access_log)
    ours, theirs = socket.socketpair()
    connection, outlet = Connection(serving, faces.registry, ours, PEER, secure=False), Outlet()
    connection.connection_made(outlet)  # type: ignore[arg-type]
    known = cases(body)
    # The first password is checked in a thread, and so is answered later.
    connection.get_buffer(-1)[: len(known["/v2/"].raw)] = known["/v2/"].raw
    connection.buffer_updated(len(known["/v2/"].raw))
    while not outlet.answer:  # noqa: ASYNC110  (once)
        await asyncio.sleep(0.01)
    work(HotPath(connection, outlet), known)
    ours.close()
    theirs.close()
    await faces.close()


async def _fill(registry: Registry) -> bytes:
    """Push an image; its manifest."""
    alice = {"Authorization": basic(USER, PASSWORD)}
    async with registry:
        for blob in (b"{}", LAYER):
            target = f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest_of(blob)}"
            await registry.ask(message("POST", target, {**alice, "Content-Type": OCTETS}, blob))
        body = encode(image(b"{}", LAYER))
        target = f"/v2/{REPOSITORY}/manifests/v1"
        answer = await registry.ask(message("PUT", target, {**alice, "Content-Type": MANIFEST}, body))
        assert answer.status == 201, answer
    return body


class Facts(NamedTuple):
    """Part of the unit."""

    number: int
    words: dict[bytes, bytes]


class Answering:
    """Part of the unit."""

    __slots__ = ("_known", "_pattern")

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], bytes] = {}
        self._pattern = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*(?:/[a-z0-9]+(?:[._-][a-z0-9]+)*)*")

    async def answer(self, facts: Facts) -> bytes:
        name = facts.words[b"name"].decode("ascii").removeprefix("/v2/")
        if self._pattern.fullmatch(name) is None:
            raise ValueError(name)
        return await self.find(name, number=facts.number % 2)

    async def find(self, name: str, *, number: int) -> bytes:
        try:
            return self._known[name, number]
        except KeyError:
            return self._known.setdefault((name, number), f"{name}: {number}\r\n".encode("ascii"))


def calibrate(times: int) -> int:
    """So many units of work that no change of ours makes more or less, and that another build of Python does with
    other numbers of instructions in much the same way as it does requests.

    Mixed so that the requests' figures of two builds (3.11.7 of python.org, 3.11.2 of Debian) agree within 5 %.
    """
    answering, found = Answering(), 0
    for number in range(times):
        found += sum(_words(place) for place in range(4))
        coroutine = answering.answer(_facts(number))
        try:
            coroutine.send(None)
        except StopIteration as done:
            found += len(b"%bContent-Length: %d\r\n\r\n" % (done.value, number))
    return found


def _words(number: int) -> int:
    words = f"GET /v2/{number}/manifests/v1 HTTP/1.1".split(" ")
    facts = {word: len(word) for word in words}
    return sum(sorted(facts.values())) + len(b"%b: %d\r\n" % (words[1].encode("ascii"), number))


def _facts(number: int) -> Facts:
    words: dict[bytes, bytes] = {}
    for line in b"Host: registry.test\r\nName: /v2/guard/hot\r\nAccept: */*".split(b"\r\n"):
        key, _, value = line.partition(b":")
        words[key.lower()] = value.strip()
    return Facts(number, words)


def main(library: str, folder: str, times: str) -> None:
    """Count."""
    callgrind = ctypes.CDLL(library)

    def counted(name: str, work: Callable[[], object]) -> None:
        callgrind.begin()
        work()
        callgrind.end(name.encode("ascii"))

    def work(path: HotPath, known: dict[str, Case]) -> None:
        count = int(times)
        calibrate(10)
        counted(_UNIT_CASE, lambda: calibrate(count))
        for name, case in known.items():
            path.check(case)
            counted(name, lambda case=case: path.ask(case.raw, count))  # type: ignore[misc]
            path.check(case)

    asyncio.run(run(Path(folder), work))


def per_request(profiles: Iterable[Path], times: int) -> dict[str, int]:
    """Instructions of each case's request, from the profiles of a run, as they would be where a unit is `UNIT`."""
    found = {}
    for profile in profiles:
        lines = profile.read_text("utf-8", "replace").splitlines()
        case = next((line.partition("Client Request: ")[2] for line in lines if "Client Request: " in line), "")
        if case:
            found[case] = next(int(line.split()[1]) for line in lines if line.startswith("totals:"))
    unit = found.pop(_UNIT_CASE) / times
    return {case: round(total / times / unit * UNIT) for case, total in found.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
