"""A thousand clients that stall and a thousand that dawdle, beside one that is in a hurry."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.content import OCTETS, digest_of, noise
from tests.raw_http import head, message
from tests.wire.served import LARGE, SMALL, Served, descriptors, eventually, memory

COUNT = 1000
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _enough_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _settled(served: Served) -> int:
    """The processes' memory once it changes no more."""
    last = memory(served.server)
    for _ in range(20):
        time.sleep(0.3)
        now = memory(served.server)
        if abs(now - last) < MIB // 4:
            return now
        last = now
    return last


def _in_a_hurry(served: Served) -> None:
    """A client that pulls an image and pushes a blob; each answer is right."""
    data = noise(100_000, seed=61)
    path = f"/v2/wire/hurry/blobs/uploads/?digest={digest_of(data)}"
    with served.line() as line:
        for raw, body in (
            (served.get("manifests/v1"), served.manifest),
            (served.blob(SMALL), SMALL),
            (served.blob(LARGE), LARGE),
        ):
            line.send(raw)
            assert line.answer().body == body
        line.send(
            head("POST", path, {**served.alice.headers, "Content-Type": OCTETS, "Content-Length": str(len(data))})
            + data
        )
        assert line.answer().status == 201


def _sessions(served: Served) -> list[str]:
    """As many upload sessions, asked for on one connection."""
    with served.line() as line:
        line.send_and_receive(message("POST", "/v2/wire/slow/blobs/uploads/", served.alice.headers, b"") * COUNT)
        return [line.answer().header("location") for _ in range(COUNT)]


@pytest.mark.slow
def test_thousand_stalled_readers_and_slow_senders(served: Served) -> None:
    """All are taken, a pull and a push beside them succeed, and each costs at most 0.1 MiB, or 0.2 under TLS."""
    allowed = 0.1 * MIB if served.context is None else 0.2 * MIB
    _in_a_hurry(served)
    before = descriptors(served.server)
    base = _settled(served)
    with ExitStack() as stack:
        stalled = [stack.enter_context(served.line(receive_buffer=4096)) for _ in range(COUNT)]
        for line in stalled:
            line.send(served.blob(LARGE))
        reading = _settled(served)
        _in_a_hurry(served)
        slow = [stack.enter_context(served.line()) for _ in range(COUNT)]
        for line, location in zip(slow, _sessions(served), strict=True):
            headers = {**served.alice.headers, "Content-Type": OCTETS, "Content-Length": "4000"}
            line.send(head("PATCH", location, headers) + b"x" * 1000)
        for _ in range(3):
            for line in slow:
                line.send(b"x" * 500)
        sending = _settled(served)
        _in_a_hurry(served)
        begun = [line.take(12) for line in stalled]
        for line in slow:
            line.send(b"x" * 1500)
        answers = [line.answer() for line in slow]

    each_reader, each_sender = (reading - base) / COUNT, (sending - reading) / COUNT
    assert set(begun) == {b"HTTP/1.1 200"}
    assert {answer.status for answer in answers} == {202}
    assert each_reader <= allowed, f"{each_reader / 1024:.1f} KiB per stalled reader"
    assert each_sender <= allowed, f"{each_sender / 1024:.1f} KiB per slow sender"
    assert eventually(lambda: descriptors(served.server) <= before + COUNT // 50)
