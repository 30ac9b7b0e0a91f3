from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.drivers import Unexpected
from bench.open_loop import drive

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@contextmanager
def server(answer: bytes = ANSWER, *, stall_at: int = -1, stall: float = 0.0) -> Iterator[int]:
    """Answers one connection's requests, one after another; before number *stall_at* it sleeps. Yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, answer, stall_at, stall))
        thread.start()
        yield listener.getsockname()[1]
        thread.join(30)


def _serve(listener: socket.socket, answer: bytes, stall_at: int, stall: float) -> None:
    stream, _ = listener.accept()
    with stream:
        number = 0
        while stream.recv(65536):
            if number == stall_at:
                time.sleep(stall)
            number += 1
            stream.sendall(answer)


def test_stall_is_paid_for() -> None:
    """A server that stalls once for half a second makes all late that were due meanwhile, and not one of them."""
    with server(stall_at=20, stall=0.5) as port:
        found = drive(port, HEAD, rate=100, seconds=1, connections=1)

    # 50 of the 100 were due during the stall: half a second late the first, hardly late the last.
    assert found.requests == 100
    assert found.p99 > 400
    assert found.p50 >= 0.5 * found.late
    assert found.unexpected == 0


def test_stall_raises_the_median() -> None:
    """Of a stall for most of the run the median tells: a closed loop would have counted it once."""
    with server(stall_at=5, stall=1.0) as port:
        found = drive(port, HEAD, rate=100, seconds=1, connections=1)

    assert found.p50 > 300


def test_wrong_answers_are_counted() -> None:
    """An answer of another status is counted, and its latency with the others."""
    with server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as port:
        found = drive(port, HEAD, rate=200, seconds=0.1, connections=1)

    assert found.unexpected == found.requests == 20


def test_answer_that_cannot_be_read_is_said() -> None:
    """An answer whose end cannot be known ends the measurement with an error that says so."""
    with server(b"HTTP/1.1 200 OK\r\n\r\n") as port, pytest.raises(Unexpected, match="without a Content-Length"):
        drive(port, HEAD, rate=100, seconds=0.1, connections=1)
