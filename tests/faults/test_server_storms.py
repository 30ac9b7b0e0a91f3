"""Faults anywhere, at any time: only honest answers meanwhile, everything acknowledged is there afterwards."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.content import Client, digest_of, encode, image
from tests.faults.injection import Faults
from tests.faults.target import CONFIG, LAYER, WAYS, Target, new_blob, push_at_once, push_in_parts
from tests.servers import Moorage

USERS = {"alice": "correct horse"}

# An upload whose bytes the disk did not take is gone, and the requests after that are told so.
HONEST = {200, 201, 202, 404, 503, 507}


@pytest.fixture
def target(faults: Faults, tmp_path: Path) -> Iterator[Target]:
    """A server with one worker, so that a fault's turn comes in the order of its requests."""
    with Moorage(tmp_path / "server", "--workers", "1", users=USERS, environment=faults.environment) as server:
        yield Target(server, faults, Client(server, *next(iter(USERS.items()))))


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_each_call_of_the_server_fails_once(target: Target, number: int) -> None:
    """Whichever system call below the data folder fails once, nothing is dishonest and the next try succeeds."""
    fired = 0
    for skip in range(70):
        with target.faults.failing("*", number, target.below("*"), skip=skip, count=1):
            answers = [way(target.client, new_blob()) for way in WAYS.values()]
        fired = target.faults.fired()
        assert {answer.status for answer in answers} <= HONEST, (skip, target.faults.calls()[-40:])
        target.serves()
        assert push_in_parts(target.client, new_blob()).status == 201

    assert fired >= 60
    target.is_well()
    assert target.server.stop() == 0
    assert [line for line in target.log() if "traceback" in line] == []


WEATHER = [
    f"{call} {number} {skip} {count} "
    for call in ("write", "sync", "rename", "create", "mkdir", "open", "unlink", "truncate", "*")
    for number in (errno.EIO, errno.ENOSPC)
    for skip, count in ((0, 3), (2, 1), (5, -1))
]


@dataclass
class Pusher:
    """A client that pushes images, and remembers which of them were acknowledged."""

    client: Client
    repository: str
    stop: threading.Event
    acknowledged: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    statuses: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Push until told to stop."""
        number = 0
        while not self.stop.is_set():
            number += 1
            self.push(f"v{number}", new_blob()[:20_000])

    def push(self, tag: str, layer: bytes) -> None:
        """Push one image, as far as it goes."""
        for data in (CONFIG, layer):
            answer = self.client.ask(
                "POST", f"/v2/{self.repository}/blobs/uploads/?digest={digest_of(data)}", None, data
            )
            self.statuses.add(answer.status)
            if answer.status != 201:
                return
        body = encode(image(CONFIG, layer))
        answer = self.client.push_manifest(self.repository, tag, body)
        self.statuses.add(answer.status)
        if answer.status == 201:
            self.acknowledged[tag] = (body, layer)

    def check(self) -> None:
        """Everything acknowledged is there."""
        for tag, (body, layer) in self.acknowledged.items():
            assert self.client.ask("GET", f"/v2/{self.repository}/manifests/{tag}").body == body
            assert self.client.ask("GET", f"/v2/{self.repository}/blobs/{digest_of(layer)}").body == layer


def test_storm(faults: Faults, tmp_path: Path) -> None:
    """Under pushes from all sides and ever new faults nothing acknowledged is lost, then or by a crash afterwards."""
    stop = threading.Event()
    with Moorage(tmp_path / "server", users=USERS, environment=faults.environment) as server:
        client = Client(server, *next(iter(USERS.items())))
        target = Target(server, faults, client)
        pushers = [Pusher(client, f"storm/{number}", stop) for number in range(4)]
        with ThreadPoolExecutor(len(pushers)) as threads:
            running = [threads.submit(pusher.run) for pusher in pushers]
            for rule in WEATHER:
                faults.set(rule + target.below("*"))
                time.sleep(0.06)
                faults.clear()
                time.sleep(0.02)
            stop.set()
            for future in running:
                future.result()

        assert set.union(*(pusher.statuses for pusher in pushers)) == {201, 503, 507}
        assert all(len(pusher.acknowledged) > 3 for pusher in pushers)
        target.is_well()
        for pusher in pushers:
            pusher.check()
        server.kill()
        with server:
            for pusher in pushers:
                pusher.check()
        assert [line for line in target.log() if "traceback" in line] == []


@pytest.mark.parametrize(
    ("call", "number", "pattern"),
    [
        ("mkdir", errno.ENOSPC, "*"),
        ("create", errno.EACCES, "*"),
        ("write", errno.ENOSPC, "*"),
        ("write", errno.EIO, "*moorage.db*"),
        ("sync", errno.EIO, "*"),
    ],
)
@pytest.mark.parametrize("used", [False, True], ids=["first start", "later start"])
def test_start_that_fails(faults: Faults, tmp_path: Path, call: str, number: int, pattern: str, *, used: bool) -> None:
    """A server that cannot start says why in a sentence and leaves nothing that keeps the next start from working."""
    server = Moorage(tmp_path / "server", users=USERS, environment=faults.environment)
    client = Client(server, *next(iter(USERS.items())))
    if used:
        with server:
            assert push_at_once(client, LAYER).status == 201
            server.stop()

    faults.set(f"{call} {number} 0 -1 {server.data}{pattern}")
    try:
        server.start()
    except AssertionError:
        started = False
    else:
        started = True
    text = server.log.read_text()
    faults.clear()
    server.kill()

    assert "Traceback" not in text
    assert "traceback" not in text
    assert started or text.strip(), "it ended without a word"
    assert used or not started
    with server:
        assert push_at_once(client, LAYER).status == 201
        assert client.ask("GET", f"/v2/new/app/blobs/{digest_of(LAYER)}").body == LAYER
