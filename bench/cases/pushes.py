"""Pushes of blobs: large ones in each of the two ways that clients use, small ones from one client and from eight."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from bench import content
from bench.content import digest_of
from bench.drivers import Load, request, target_of
from bench.lookups import look
from bench.measure import QUICK, USUAL, Case, Row, Sample, Samples, Scale, bandwidth, measured
from bench.registries import Registry
from bench.scripts import Script, run_scripts
from bench.transfers import Pieces, push_with_patch, push_with_put, together
from bench.tree import touch_memory

_LARGE, _SMALL = "bench/large", "bench/pushed"
_Push = Callable[[socket.socket, Registry, str, Pieces, str], None]


def _large(name: str, push: _Push, streams: int = 1, *, level: int = QUICK) -> Case:
    """One blob, or one for each of several connections that are together as long, all bytes new."""

    def run(registry: Registry, number: int, scale: Scale) -> Samples:
        size = scale.large_bytes // streams
        blobs = [content.large(size).numbered(f"{name} {number} {place}") for place in range(streams)]
        os.sync()  # what others left to be written must not slow this one
        touch_memory(2 * scale.large_bytes)

        def stream(place: int) -> None:
            with registry.connect() as line:
                push(line, registry, _LARGE, *blobs[place])

        load, usage = measured(registry, lambda: together(streams, stream), behind=True)
        for _, digest in blobs:
            look(registry, f"/v2/{_LARGE}/blobs/{digest}", method="HEAD").expect(200, size)
        return {name: bandwidth(size * streams, load, usage, 1e6)}

    row = Row(name, "MB/s", cpu_unit="ticks/GB", wanted=1.5, wanted_best=1)
    return Case(name, (row,), run, rounds=2, level=level, durable=True)


def _kib(name: str, clients: int, *, level: int = QUICK) -> Case:
    """Blobs of 1 KiB, all new, POST and PUT for each."""

    def run(registry: Registry, number: int, scale: Scale) -> Samples:
        pushed: list[str] = []

        def client(place: int, deadline: float) -> Script:
            while time.perf_counter() < deadline:
                body = f"{name} {number} {place} {len(pushed)}".encode().ljust(1024)
                answer = yield request(registry, "POST", f"/v2/{_SMALL}/blobs/uploads/")
                target = target_of(answer.expect(202).headers["location"], digest=digest_of(body))
                answer = yield request(registry, "PUT", target, body, Content_Type="application/octet-stream")
                answer.expect(201)
                pushed.append(digest_of(body))

        def work() -> Load:
            deadline = time.perf_counter() + scale.seconds
            seconds = run_scripts(registry, [client(place, deadline) for place in range(clients)])
            return Load(len(pushed), 0, seconds)

        os.sync()
        load, usage = measured(registry, work, behind=True)
        look(registry, f"/v2/{_SMALL}/blobs/{pushed[-1]}", method="HEAD").expect(200, 1024)
        return {name: Sample(load.requests / load.seconds, usage.cpu_seconds * 1e6 / load.requests, 0, usage)}

    return Case(name, (Row(name, "blobs/s", cpu_unit="us"),), run, rounds=2, level=level, durable=True)


def _mib(name: str, clients: int, *, level: int = QUICK) -> Case:
    """Blobs of 1 MiB, all new, POST and PUT for each."""
    size = 1 << 20

    def run(registry: Registry, number: int, scale: Scale) -> Samples:
        pushed: list[str] = []

        def client(place: int) -> None:
            count = 0
            with registry.connect() as line:
                while time.perf_counter() < deadline:
                    pieces, digest = content.large(size).numbered(f"{name} {number} {place} {count}")
                    push_with_put(line, registry, _SMALL, pieces, digest)
                    pushed.append(digest)
                    count += 1

        def work() -> Load:
            seconds = together(clients, client).seconds
            return Load(len(pushed), 0, seconds)

        os.sync()
        deadline = time.perf_counter() + scale.seconds
        load, usage = measured(registry, work, behind=True)
        look(registry, f"/v2/{_SMALL}/blobs/{pushed[-1]}", method="HEAD").expect(200, size)
        return {name: Sample(load.requests / load.seconds, usage.cpu_seconds * 1e3 / load.requests, 0, usage)}

    return Case(name, (Row(name, "blobs/s", cpu_unit="ms"),), run, rounds=2, level=level, durable=True)


CASES = (
    _kib("push 1 KiB, one client", 1, level=USUAL),
    _kib("push 1 KiB, eight clients", 8),
    _mib("push 1 MiB, one client", 1, level=USUAL),
    _mib("push 1 MiB, eight clients", 8),
    _large("push 512 MiB, POST and PUT", push_with_put),
    _large("push 512 MiB, chunked PATCH", push_with_patch),
    _large("push 512 MiB, eight streams", push_with_put, 8, level=USUAL),
    _large("push 512 MiB, eight streams, chunked PATCH", push_with_patch, 8, level=USUAL),
)
