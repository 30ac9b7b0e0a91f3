"""Pulls of blobs, small ones and ranges with wrk, large ones on one connection; plain and over TLS."""

from __future__ import annotations

import time

from bench import content
from bench.cases.seed import MEDIUM, REPOSITORY, SMALL, push_image
from bench.content import Blob, make_blob
from bench.drivers import Load, request
from bench.lookups import look
from bench.measure import FULL, QUICK, USUAL, Case, Row, Samples, Scale, bandwidth, measured, rate
from bench.registries import ANONYMOUS, TLS, Mode, Registry
from bench.scripts import run_scripts
from bench.transfers import exchange
from bench.wrk import wrk

_50_KIB = make_blob(50 << 10, "50 KiB")
_RANGE = 64 << 10


def _small(
    name: str,
    blob: Blob,
    wanted: float | None = None,
    best: float | None = None,
    *,
    mode: Mode = ANONYMOUS,
    connections: int = 16,
    level: int = QUICK,
) -> Case:
    """GETs of one blob, as many as are answered whole."""
    path = f"/v2/{REPOSITORY}/blobs/{blob.digest}"

    def prepare(registry: Registry, scale: Scale) -> None:
        _have(registry, blob)

    def run(registry: Registry, number: int, scale: Scale) -> Samples:
        look(registry, path).expect(200, len(blob.data))

        def work() -> Load:
            return wrk(registry, path, seconds=scale.seconds, connections=connections, size=len(blob.data))

        return {name: rate(*measured(registry, work))}

    row = Row(name, "req/s", cpu_unit="us", wanted=wanted, wanted_best=best)
    return Case(name, (row,), run, prepare, mode=mode, level=level)


def _have(registry: Registry, blob: Blob) -> None:
    """Push *blob* in an image of its own where it is missing: some registries serve only what a manifest names."""
    if look(registry, f"/v2/{REPOSITORY}/blobs/{blob.digest}", method="HEAD").status != 200:
        holder = content.make_image(SMALL, (blob,))
        run_scripts(registry, [push_image(registry, REPOSITORY, holder, f"blob-{blob.digest[7:19]}")])


def _large(
    name: str,
    size: int | None,
    wanted: float | None = None,
    wanted_cpu: float | None = None,
    best: float | None = None,
    best_cpu: float | None = None,
    *,
    mode: Mode = ANONYMOUS,
    level: int = QUICK,
) -> Case:
    """GETs of a blob of *size* bytes, or of the large one, one after the other on one connection."""
    label = f"{size} bytes"

    def prepare(registry: Registry, scale: Scale) -> None:
        if size is not None and label not in registry.facts:
            pieces, digest = content.large(size).numbered(label)
            _have(registry, Blob(b"".join(pieces), digest))
            registry.facts[label] = digest

    def run(registry: Registry, number: int, scale: Scale) -> Samples:
        held = scale.large_bytes if size is None else size
        digest = registry.facts["large" if size is None else label]
        load, usage = measured(registry, lambda: _pull(registry, digest, held, scale.seconds))
        return {name: bandwidth(load.requests * held, load, usage, 1e9)}

    row = Row(name, "GB/s", "more", "ticks/GB", wanted, wanted_cpu, best, best_cpu)
    return Case(name, (row,), run, prepare, mode=mode, level=level)


def _pull(registry: Registry, digest: str, size: int, seconds: float) -> Load:
    """GET a blob again and again on one connection; at least four times, since a tick is 10 ms."""
    head = request(registry, "GET", f"/v2/{REPOSITORY}/blobs/{digest}")
    count, started = 0, time.perf_counter()
    with registry.connect() as stream:
        while count < 4 or time.perf_counter() - started < seconds:
            exchange(stream, head).expect(200, size=size)
            count += 1
    return Load(count, 0, time.perf_counter() - started)


def _ranges(name: str, *, mode: Mode = ANONYMOUS, level: int = QUICK) -> Case:
    """GETs of 64 KiB that begin anywhere in the large blob, as clients ask who load an image while it runs."""

    def run(registry: Registry, number: int, scale: Scale) -> Samples:
        path = f"/v2/{REPOSITORY}/blobs/{registry.facts['large']}"
        look(registry, path, headers={"Range": f"bytes=1000-{1000 + _RANGE - 1}"}).expect(206, _RANGE)

        def work() -> Load:
            script = ("ranges.lua", str(scale.large_bytes), str(_RANGE))
            return wrk(registry, path, seconds=scale.seconds, size=_RANGE, script=script)

        return {name: rate(*measured(registry, work))}

    return Case(name, (Row(name, "req/s", cpu_unit="us"),), run, mode=mode, level=level)


_100_MIB, _1_GIB = 100 << 20, 1 << 30
CASES = (
    _small("blob GET 4 KiB", SMALL, 25, 2.5),
    _small("blob GET 50 KiB", _50_KIB, level=USUAL),
    _small("blob GET 1 MiB", MEDIUM, connections=8),
    _large("blob GET 100 MiB", _100_MIB, level=USUAL),
    _large("blob GET 512 MiB", None, 1.1, 2.5, 1, 2),
    _large("blob GET 1 GiB", _1_GIB, level=FULL),
    _ranges("64 KiB ranges of 512 MiB"),
    _small("blob GET 4 KiB, TLS", SMALL, mode=TLS),
    _small("blob GET 50 KiB, TLS", _50_KIB, mode=TLS, level=USUAL),
    _small("blob GET 1 MiB, TLS", MEDIUM, mode=TLS, connections=8),
    _large("blob GET 100 MiB, TLS", _100_MIB, mode=TLS, level=USUAL),
    _large("blob GET 512 MiB, TLS", None, 1, None, 1, mode=TLS),
    _large("blob GET 1 GiB, TLS", _1_GIB, mode=TLS, level=FULL),
    _ranges("64 KiB ranges of 512 MiB, TLS", mode=TLS, level=USUAL),
)
