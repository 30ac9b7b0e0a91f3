"""Pushes: a large blob in each of the two ways that clients use, and whole small images."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from bench import content
from bench.cases.seed import push_image
from bench.content import small_image
from bench.drivers import Load, request, target_of
from bench.measure import Case, Row, Sample, Samples, Scale, bandwidth, measured
from bench.registries import Registry
from bench.scripts import Script, run_scripts
from bench.transfers import exchange, send_chunked, send_pieces
from bench.tree import touch_memory

_CLIENTS = 8


def _head(registry: Registry, method: str, target: str, framing: str) -> bytes:
    """A request's head whose body is sent by itself."""
    plain = request(registry, "GET", target).replace(b"GET", method.encode(), 1)
    return plain[:-2] + f"Content-Type: application/octet-stream\r\n{framing}\r\n\r\n".encode()


def _push_with_put(registry: Registry, pieces: Sequence[memoryview], digest: str) -> None:
    """POST, then everything in the PUT: containerd, BuildKit, regctl."""
    with registry.connect() as stream:
        answer = exchange(stream, request(registry, "POST", "/v2/bench/large/blobs/uploads/")).expect(202)
        target = target_of(answer.headers["location"], digest=digest)
        framing = f"Content-Length: {sum(map(len, pieces))}"
        exchange(stream, _head(registry, "PUT", target, framing), send_pieces(pieces)).expect(201)


def _push_with_patch(registry: Registry, pieces: Sequence[memoryview], digest: str) -> None:
    """POST, a PATCH of unknown length, PUT: Docker, Podman, crane."""
    with registry.connect() as stream:
        answer = exchange(stream, request(registry, "POST", "/v2/bench/large/blobs/uploads/")).expect(202)
        target = target_of(answer.headers["location"])
        head = _head(registry, "PATCH", target, "Transfer-Encoding: chunked")
        answer = exchange(stream, head, send_chunked(pieces)).expect(202)
        target = target_of(answer.headers["location"], digest=digest)
        exchange(stream, request(registry, "PUT", target)).expect(201)


def _large(name: str, wanted: float, push: Callable[[Registry, Sequence[memoryview], str], None]) -> Case:
    def run(registry: Registry, number: int, scale: Scale) -> Samples:
        pieces, digest = content.large(scale.large_bytes).numbered(f"{name} {number}")
        os.sync()  # what others left to be written must not slow this one
        touch_memory(2 * scale.large_bytes)

        def work() -> Load:
            started = time.perf_counter()
            push(registry, pieces, digest)
            return Load(1, 0, time.perf_counter() - started)

        return {name: bandwidth(scale.large_bytes, *measured(registry, work, behind=True), 1e6)}

    return Case(name, (Row(name, "MB/s", cpu_unit="ticks/GB", wanted=wanted),), run)


_IMAGES = "small images pushed"


def _images(registry: Registry, number: int, scale: Scale) -> Samples:
    """Whole images, 2 blobs and a manifest each, from eight clients for some seconds."""
    os.sync()
    pushed = 0

    def client(place: int, deadline: float) -> Script:
        nonlocal pushed
        count = 0
        while time.perf_counter() < deadline:
            image = small_image(f"{number} {place} {count}")
            yield from push_image(registry, f"bench/images/{place}", image, f"{number}-{count}")
            count += 1
            pushed += 1

    def work() -> Load:
        deadline = time.perf_counter() + 2 * scale.seconds
        taken = run_scripts(registry, [client(place, deadline) for place in range(_CLIENTS)])
        return Load(pushed, 0, taken)

    load, usage = measured(registry, work, behind=True)
    return {_IMAGES: Sample(load.requests / load.seconds, usage.cpu_seconds * 1e3 / load.requests, 0, usage)}


CASES = (
    _large("push 512 MiB, POST and PUT", 1.5, _push_with_put),
    _large("push 512 MiB, chunked PATCH", 1.5, _push_with_patch),
    Case(_IMAGES, (Row(_IMAGES, "images/s", cpu_unit="ms", wanted=4),), _images),
)
