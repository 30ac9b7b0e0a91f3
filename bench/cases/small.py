"""Small requests that only read: wrk with 16 connections."""

from __future__ import annotations

from collections.abc import Callable

from bench.cases.seed import REPOSITORY
from bench.content import usual_image
from bench.drivers import Load
from bench.measure import Case, Row, Samples, Scale, measured, rate
from bench.registries import ANONYMOUS, COST_5, COST_10, Mode, Registry
from bench.wrk import ab_head, wrk

_BY_TAG = f"/v2/{REPOSITORY}/manifests/latest"
_BY_DIGEST = f"/v2/{REPOSITORY}/manifests/{usual_image().manifest.digest}"
_MISSING = f"/v2/{REPOSITORY}/manifests/missing"
_ETAG = {"If-None-Match": f'"{usual_image().manifest.digest}"'}


def _case(name: str, wanted: float, load: Callable[[Registry, Scale], Load], mode: Mode = ANONYMOUS) -> Case:
    def run(registry: Registry, number: int, scale: Scale) -> Samples:
        return {name: rate(*measured(registry, lambda: load(registry, scale)))}

    return Case(name, (Row(name, "req/s", cpu_unit="us", wanted=wanted),), run, mode=mode)


def _pull(name: str, wanted: float, mode: Mode = ANONYMOUS) -> Case:
    return _case(name, wanted, lambda registry, scale: wrk(registry, _BY_TAG, seconds=scale.seconds), mode)


CASES = (
    _case("/v2/", 3, lambda registry, scale: wrk(registry, "/v2/", seconds=scale.seconds)),
    _pull("manifest GET by tag", 8),
    _case("manifest GET by digest", 8, lambda registry, scale: wrk(registry, _BY_DIGEST, seconds=scale.seconds)),
    _case("manifest HEAD by tag", 5, lambda registry, scale: ab_head(registry, _BY_TAG, seconds=scale.seconds)),
    _case("manifest 304", 5, lambda registry, scale: wrk(registry, _BY_TAG, seconds=scale.seconds, headers=_ETAG)),
    _case("manifest 404", 5, lambda registry, scale: wrk(registry, _MISSING, seconds=scale.seconds, good=False)),
    _pull("manifest GET, htpasswd cost 5", 60, COST_5),
    _pull("manifest GET, htpasswd cost 10", 1500, COST_10),
)
