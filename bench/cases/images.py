"""Whole images, small ones from eight clients and a large one by layers in parallel; and layers that are mounted."""

from __future__ import annotations

import os
import queue
import time

from bench import content
from bench.cases.seed import push_blob, push_image
from bench.content import MANIFEST, Blob, make_blob, make_image, small_image
from bench.drivers import Load, request
from bench.lookups import look
from bench.measure import Case, Row, Sample, Samples, Scale, bandwidth, measured
from bench.registries import Registry
from bench.scripts import Script, run_scripts
from bench.transfers import push_with_patch, together
from bench.tree import touch_memory

_CLIENTS = 8
# As many as Docker sends at a time.
_STREAMS = 5
_LAYERS = 10
_SMALL, _LARGE, _MOUNT = "small images pushed", "large image pushed, 10 layers in 500 MB", "blobs mounted"
_FROM, _MOUNTED = "bench/mounts", 64


def _small(registry: Registry, number: int, scale: Scale) -> Samples:
    """Whole images, 2 blobs and a manifest each, from eight clients for some seconds."""
    os.sync()
    pushed: list[str] = []

    def client(place: int, deadline: float) -> Script:
        count = 0
        while time.perf_counter() < deadline:
            image = small_image(f"{number} {place} {count}")
            yield from push_image(registry, f"bench/images/{place}", image, f"{number}-{count}")
            pushed.append(f"bench/images/{place}/manifests/{number}-{count}")
            count += 1

    def work() -> Load:
        deadline = time.perf_counter() + 2 * scale.seconds
        taken = run_scripts(registry, [client(place, deadline) for place in range(_CLIENTS)])
        return Load(len(pushed), 0, taken)

    load, usage = measured(registry, work, behind=True)
    look(registry, f"/v2/{pushed[-1]}").expect(200)
    return {_SMALL: Sample(load.requests / load.seconds, usage.cpu_seconds * 1e3 / load.requests, 0, usage)}


def _large(registry: Registry, number: int, scale: Scale) -> Samples:
    """One image of ten layers that are all new, five of them at a time as Docker does, then its manifest."""
    size, repository = scale.large_bytes // _LAYERS, "bench/large-images"
    layers = [content.large(size).numbered(f"large image {number} {place}") for place in range(_LAYERS)]
    config = make_blob(4096, f"large image {number}")
    manifest = content.make_manifest((config.digest, len(config.data)), [(digest, size) for _, digest in layers])
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for place in range(_LAYERS):
        waiting.put(place)
    os.sync()
    touch_memory(2 * scale.large_bytes)

    def stream(_: int) -> None:
        with registry.connect() as line:
            while True:
                try:
                    pieces, digest = layers[waiting.get_nowait()]
                except queue.Empty:
                    return
                push_with_patch(line, registry, repository, pieces, digest)

    def work() -> Load:
        started = time.perf_counter()
        together(_STREAMS, stream)
        run_scripts(registry, [_finish(registry, repository, config, manifest, f"round-{number}")])
        return Load(1, 0, time.perf_counter() - started)

    load, usage = measured(registry, work, behind=True)
    look(registry, f"/v2/{repository}/manifests/round-{number}").expect(200, len(manifest.data))
    return {_LARGE: bandwidth(size * _LAYERS, load, usage, 1e6)}


def _finish(registry: Registry, repository: str, config: Blob, manifest: Blob, tag: str) -> Script:
    yield from push_blob(registry, repository, config)
    path = f"/v2/{repository}/manifests/{tag}"
    answer = yield request(registry, "PUT", path, manifest.data, Content_Type=MANIFEST)
    answer.expect(201)


def _mountable() -> content.Image:
    return make_image(make_blob(1024, "mounts"), tuple(make_blob(1024, f"mounted {n}") for n in range(_MOUNTED)))


def _prepare_mounts(registry: Registry, scale: Scale) -> None:
    """Layers of one image: some registries find only what a manifest names."""
    run_scripts(registry, [push_image(registry, _FROM, _mountable(), "latest")])


def _mounts(registry: Registry, number: int, scale: Scale) -> Samples:
    """Blobs of one repository mounted in others that have none of them, from eight clients for some seconds."""
    digests = [blob.digest for blob in _mountable().blobs[1:]]
    mounted: list[str] = []

    def client(place: int, deadline: float) -> Script:
        count = 0
        while time.perf_counter() < deadline:
            digest, target = digests[count % _MOUNTED], f"bench/mounted/{number}-{place}-{count // _MOUNTED}"
            query = f"mount={digest}&from={_FROM}"
            answer = yield request(registry, "POST", f"/v2/{target}/blobs/uploads/?{query}")
            answer.expect(201)
            mounted.append(f"{target}/blobs/{digest}")
            count += 1

    def work() -> Load:
        deadline = time.perf_counter() + scale.seconds
        taken = run_scripts(registry, [client(place, deadline) for place in range(_CLIENTS)])
        return Load(len(mounted), 0, taken)

    os.sync()
    load, usage = measured(registry, work, behind=True)
    look(registry, f"/v2/{mounted[-1]}", method="HEAD").expect(200, 1024)
    return {_MOUNT: Sample(load.requests / load.seconds, usage.cpu_seconds * 1e6 / load.requests, 0, usage)}


CASES = (
    Case(_SMALL, (Row(_SMALL, "images/s", cpu_unit="ms", wanted=4, wanted_best=2.5),), _small, durable=True),
    Case(_LARGE, (Row(_LARGE, "MB/s", cpu_unit="ticks/GB"),), _large, rounds=2, durable=True),
    Case(_MOUNT, (Row(_MOUNT, "blobs/s", cpu_unit="us"),), _mounts, _prepare_mounts, rounds=2, durable=True),
)
