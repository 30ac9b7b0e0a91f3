"""Latencies of manifest GETs at a fixed rate, open loop: each peer beside us at 70 % of what the slower of both does.

The driver is Python and keeps up with some 12,000 requests a second beside a server on the same processors, which is
the highest rate that is asked for.
"""

from __future__ import annotations

from bench.cases.seed import REPOSITORY
from bench.measure import USUAL, Case, Row, Sample, Samples, Scale
from bench.open_loop import Latencies, open_loop
from bench.registries import Registry
from bench.wrk import wrk

_PATH = f"/v2/{REPOSITORY}/manifests/latest"
_SHARE, _MOST = 0.7, 12_000.0
_P50, _P99, _P999 = (f"manifest GET, {share} at 70 % of the slower one's peak" for share in ("p50", "p99", "p99.9"))


def _peak(registry: Registry, scale: Scale) -> None:
    load = wrk(registry, _PATH, seconds=max(2.0, scale.seconds))
    registry.facts["peak"] = repr(load.requests / load.seconds)


def _rate(registry: Registry) -> float:
    return min(_MOST, _SHARE * min(float(one.facts["peak"]) for one in (registry, registry.first)))


def _latency(registry: Registry, number: int, scale: Scale) -> Samples:
    rate, seconds = _rate(registry), 2 * scale.seconds

    def drive(one: Registry) -> Latencies:
        return open_loop(one, _PATH, rate=rate, seconds=seconds)

    if registry is registry.first:
        return _samples(drive(registry), None)
    if number % 2:
        ours = drive(registry.first)
        return _samples(drive(registry), ours)
    theirs = drive(registry)
    return _samples(theirs, drive(registry.first))


def _samples(found: Latencies, ours: Latencies | None) -> Samples:
    return {
        _P50: Sample(found.p50, None, found.unexpected, None, ours.p50 if ours else None),
        _P99: Sample(found.p99, None, found.unexpected, None, ours.p99 if ours else None),
        _P999: Sample(found.p999, None, found.unexpected, None, ours.p999 if ours else None),
    }


CASES = (
    Case(
        "latency at a fixed rate",
        (
            Row(_P50, "ms", "less"),
            Row(_P99, "ms", "less", wanted=2, wanted_best=1.25),
            Row(_P999, "ms", "less"),
        ),
        _latency,
        prepare=_peak,
        weight=2,
        level=USUAL,
    ),
)
