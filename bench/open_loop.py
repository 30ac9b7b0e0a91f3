"""Latencies at a fixed rate: requests are due at fixed times, whether or not the registry has kept up.

Each latency counts from the moment its request was due, so that a registry which stalls pays for all that waited
meanwhile: no coordinated omission. Run as `python -m bench.open_loop`, a process of its own, since it must not share
an interpreter with anything: a request on standard input, JSON on standard output.
"""

from __future__ import annotations

import gc
import json
import math
import re
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

from bench.drivers import Unexpected, request
from bench.registries import ROOT, Registry

# Answers are awaited for so long after the last request was due; what is missing then counts as answered at that time.
_PATIENCE = 5.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Latencies:
    """Milliseconds from when a request was due until its answer was there. *late* is the driver's own share at p99."""

    rate: float
    requests: int
    unexpected: int
    p50: float
    p99: float
    p999: float
    late: float


@dataclass
class _Connection:
    stream: socket.socket
    due: float = 0.0
    free_since: float = 0.0
    buffer: bytes = b""
    left: int = -1


@dataclass
class _Record:
    latencies: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    unexpected: int = 0


def open_loop(registry: Registry, path: str, *, rate: float, seconds: float, connections: int = 32) -> Latencies:
    """GET *path* at *rate* requests a second over keep-alive connections (plain HTTP)."""
    head = request(registry, "GET", path)
    arguments = [str(registry.port), repr(rate), repr(seconds), str(connections)]
    command = [sys.executable, "-m", "bench.open_loop", *arguments]
    done = subprocess.run(command, cwd=ROOT, input=head, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise Unexpected("the open-loop driver could not go on; its words are above")
    return Latencies(**json.loads(done.stdout))


def drive(port: int, head: bytes, rate: float, seconds: float, connections: int) -> Latencies:
    """The same in this process."""
    with ExitStack() as stack:
        free = deque(_Connection(stack.enter_context(_connect(port))) for _ in range(connections))
        return _summary(rate, _keep_rate(free, head, rate, max(1, round(rate * seconds))))


def _keep_rate(free: deque[_Connection], head: bytes, rate: float, total: int) -> _Record:
    by_number = {one.stream.fileno(): one for one in free}
    record = _Record()
    started, sent = time.perf_counter() + 0.05, 0
    give_up = started + total / rate + _PATIENCE
    while len(record.latencies) < total and (now := time.perf_counter()) < give_up:
        while free and sent < total and started + sent / rate <= now:
            # Requests that waited for a free connection go out one after another, each with its own due time.
            _send(free.popleft(), head, started + sent / rate, record)
            sent += 1
        until = give_up if not free or sent == total else started + sent / rate
        _receive(by_number, free, record, max(0.0, until - time.perf_counter()))
    missing = total - len(record.latencies)
    record.unexpected += missing
    record.latencies += [give_up - started - number / rate for number in range(total - missing, total)]
    return record


def _connect(port: int) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.setblocking(False)
    return stream


def _send(connection: _Connection, head: bytes, due: float, record: _Record) -> None:
    connection.due = due
    if connection.free_since <= due:
        record.late.append(time.perf_counter() - due)
    # A request is far smaller than the socket's buffer, which is empty: it is taken whole.
    connection.stream.send(head)


def _receive(by_number: dict[int, _Connection], free: deque[_Connection], record: _Record, seconds: float) -> None:
    # select(2) and not epoll: it waits by the microsecond, epoll by the millisecond.
    ready, _, _ = select.select(by_number, [], [], seconds)
    for number in ready:
        connection = by_number[number]
        data = connection.stream.recv(262144)
        if not data:
            raise Unexpected("the registry closed a connection")
        if not _taken(connection, data):
            continue
        connection.free_since = time.perf_counter()
        record.latencies.append(connection.free_since - connection.due)
        record.unexpected += not connection.buffer.startswith(b"HTTP/1.1 200")
        connection.buffer, connection.left = b"", -1
        free.append(connection)


def _taken(connection: _Connection, data: bytes) -> bool:
    """Whether the answer is there to its end."""
    if connection.left >= 0:
        connection.left -= len(data)
        return connection.left <= 0
    connection.buffer += data
    end = connection.buffer.find(b"\r\n\r\n")
    if end < 0:
        return False
    found = _LENGTH.search(connection.buffer, 0, end + 2)
    if found is None:
        raise Unexpected("an answer without a Content-Length")
    connection.left = end + 4 + int(found[1]) - len(connection.buffer)
    return connection.left <= 0


def _summary(rate: float, record: _Record) -> Latencies:
    latencies, late = sorted(record.latencies), sorted(record.late)

    def at(ordered: Sequence[float], share: float) -> float:
        return 1e3 * ordered[min(len(ordered), math.ceil(share * len(ordered))) - 1]

    return Latencies(
        rate=rate,
        requests=len(latencies),
        unexpected=record.unexpected,
        p50=at(latencies, 0.5),
        p99=at(latencies, 0.99),
        p999=at(latencies, 0.999),
        late=at(late, 0.99),
    )


if __name__ == "__main__":
    gc.disable()  # a collection would look like a slow answer
    found = drive(int(sys.argv[1]), sys.stdin.buffer.read(), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
    json.dump(asdict(found), sys.stdout)
