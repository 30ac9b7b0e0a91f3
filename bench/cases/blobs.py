"""Pulls of blobs, small with wrk, large on one connection, plain and over TLS."""

from __future__ import annotations

import time

from bench.cases.seed import MEDIUM, REPOSITORY, SMALL
from bench.content import Blob
from bench.drivers import Load, request
from bench.measure import Case, Row, Samples, Scale, bandwidth, measured, rate
from bench.registries import ANONYMOUS, TLS, Mode, Registry
from bench.transfers import exchange
from bench.wrk import wrk


def _small(name: str, blob: Blob, wanted: float | None, mode: Mode, connections: int = 16) -> Case:
    def run(registry: Registry, number: int, scale: Scale) -> Samples:
        path = f"/v2/{REPOSITORY}/blobs/{blob.digest}"

        def work() -> Load:
            return wrk(registry, path, seconds=scale.seconds, connections=connections)

        return {name: rate(*measured(registry, work))}

    return Case(name, (Row(name, "req/s", cpu_unit="us", wanted=wanted),), run, mode=mode)


def _large(name: str, wanted: float, wanted_cpu: float | None, mode: Mode) -> Case:
    def run(registry: Registry, number: int, scale: Scale) -> Samples:
        load, usage = measured(registry, lambda: _pull(registry, scale))
        return {name: bandwidth(load.requests * scale.large_bytes, load, usage, 1e9)}

    row = Row(name, "GB/s", cpu_unit="ticks/GB", wanted=wanted, wanted_cpu=wanted_cpu)
    return Case(name, (row,), run, mode=mode)


def _pull(registry: Registry, scale: Scale) -> Load:
    """GET the large blob again and again on one connection; at least four times, since a tick is 10 ms."""
    head = request(registry, "GET", f"/v2/{REPOSITORY}/blobs/{registry.facts['large']}")
    count, started = 0, time.perf_counter()
    with registry.connect() as stream:
        while count < 4 or time.perf_counter() - started < scale.seconds:
            exchange(stream, head).expect(200)
            count += 1
    return Load(count, 0, time.perf_counter() - started)


CASES = (
    _small("blob GET 4 KiB", SMALL, 25, ANONYMOUS),
    _small("blob GET 1 MiB", MEDIUM, None, ANONYMOUS, 8),
    _large("blob GET 512 MiB", 1.1, 2.5, ANONYMOUS),
    _small("blob GET 4 KiB, TLS", SMALL, None, TLS),
    _small("blob GET 1 MiB, TLS", MEDIUM, None, TLS, 8),
    _large("blob GET 512 MiB, TLS", 1, None, TLS),
)
