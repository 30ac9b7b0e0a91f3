"""Bytes on their way: exact under every range, pace and path, and never many of them in the server's memory."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.content import OCTETS, digest_of, noise
from tests.raw_http import chunked, head
from tests.wire.served import LARGE, SMALL, Served, memory

MIB = 1 << 20


@settings(
    max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    ranges=st.lists(st.tuples(st.integers(0, len(LARGE) - 1), st.integers(1, 300_000)), min_size=1, max_size=6),
    buffer=st.sampled_from([None, 2048, 16_384]),
    pieces=st.sampled_from([1 << 20, 65_536, 999]),
)
def test_any_range_at_any_pace(
    plain: Served, secure: Served, ranges: list[tuple[int, int]], buffer: int | None, pieces: int
) -> None:
    """Whatever part of a blob is asked for, and in whatever pieces it is read, exactly those bytes come."""
    for served in (plain, secure):
        with served.line(receive_buffer=buffer) as line:
            for start, length in ranges:
                line.send(served.blob(LARGE, {"Range": f"bytes={start}-{start + length - 1}"}))
                expected = LARGE[start : start + length]
                status = line.take(12)
                while b"\r\n\r\n" not in line.received:
                    line.received += line.socket.recv(pieces)
                line.take(line.received.index(b"\r\n\r\n") + 4)
                while len(line.received) < len(expected):
                    line.received += line.socket.recv(pieces)

                assert status == b"HTTP/1.1 206"
                assert line.take(len(expected)) == expected


def test_several_ranges_of_a_large_blob(served: Served) -> None:
    """Parts of a large blob, in one answer: the bytes between the boundaries are the blob's."""
    ranges = [(0, 99_999), (7_000_000, 7_999_999), (200_000, 200_000)]
    wanted = ",".join(f"{start}-{end}" for start, end in ranges)

    answer = served.ask(served.blob(LARGE, {"Range": f"bytes={wanted}"}))

    boundary = b"\r\n--" + answer.header("content-type").partition("boundary=")[2].encode()
    parts = [part.partition(b"\r\n\r\n")[2] for part in answer.body.split(boundary)[1:-1]]
    assert answer.status == 206
    assert parts == [LARGE[start : end + 1] for start, end in ranges]


def test_many_readers_at_once(served: Served) -> None:
    """Eight clients that read the same blob, each at its own pace, all get the same bytes."""
    got: list[bytes] = []

    def read(seed: int) -> None:
        choice = random.Random(seed)
        with served.line(receive_buffer=choice.choice([None, 4096, 65_536])) as line:
            line.send(served.blob(LARGE))
            while len(line.received) < len(LARGE):
                line.received += line.socket.recv(choice.randrange(1, 400_000))
                if choice.random() < 0.02:
                    time.sleep(0.01)
            got.append(line.answer().body)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(got) == 8
    assert set(got) == {LARGE}


@pytest.mark.parametrize("coding", ["length", "chunks"])
def test_upload_in_any_pieces(served: Served, coding: str) -> None:
    """A blob pushed in pieces of any size arrives as it was sent."""
    choice = random.Random(31)
    data = noise(3 * MIB + 17, seed=32)
    framing = {"Content-Length": str(len(data))} if coding == "length" else {"Transfer-Encoding": "chunked"}
    path = f"/v2/wire/pieces/blobs/uploads/?digest={digest_of(data)}"
    body = data if coding == "length" else chunked(data, 10_007)
    with served.line() as line:
        line.send(head("POST", path, {**served.alice.headers, "Content-Type": OCTETS, **framing}))
        while body:
            size = choice.choice([1, 2, 100, 16_384, 300_000])
            line.send(body[:size])
            body = body[size:]

        answer = line.answer()

    assert answer.status == 201
    assert served.alice.ask("GET", f"/v2/wire/pieces/blobs/{digest_of(data)}").body == data


def test_stalled_download_holds_no_blob(served: Served) -> None:
    """Twenty clients that ask for 64 MiB and read nothing cost the server next to nothing of that."""
    data = noise(64 * MIB, seed=33)
    served.alice.push_blob("wire/base", data)
    before = memory(served.server)
    lines = [served.line(receive_buffer=4096) for _ in range(20)]
    try:
        for line in lines:
            line.send(served.blob(data))
        time.sleep(1)

        grown = memory(served.server) - before
    finally:
        for line in lines:
            line.socket.close()

    assert grown < 20 * MIB


def test_waiting_upload_holds_no_body(served: Served) -> None:
    """Twenty uploads pipelined behind downloads that nobody reads do not pile up in memory."""
    data = noise(16 * MIB, seed=34)
    path = f"/v2/wire/behind/blobs/uploads/?digest={digest_of(data)}"
    push = head("POST", path, {**served.alice.headers, "Content-Length": str(len(data))})
    before = memory(served.server)
    lines = [served.line(receive_buffer=4096) for _ in range(20)]
    try:
        for line in lines:
            line.socket.settimeout(0.1)
            with suppress(TimeoutError):
                line.send(served.blob(LARGE) + push + data)

        grown = memory(served.server) - before
    finally:
        for line in lines:
            line.socket.close()

    assert grown < 20 * MIB


def test_small_blobs_and_manifests_beside_a_crawling_reader(served: Served) -> None:
    """While one client crawls through a large blob, others are answered."""
    with served.line(receive_buffer=4096) as slow, served.line() as quick:
        slow.send(served.blob(LARGE))
        slow.received += slow.socket.recv(1000)
        for _ in range(100):
            quick.send(served.get("manifests/v1") + served.blob(SMALL))

            assert quick.answer().body == served.manifest
            assert quick.answer().body == SMALL
