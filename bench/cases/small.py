"""Small requests that only read: wrk with 16 connections."""

from __future__ import annotations

from collections.abc import Mapping

from bench.cases.seed import REPOSITORY
from bench.content import digest_of, usual_image
from bench.drivers import Load
from bench.lookups import look
from bench.measure import QUICK, USUAL, Cannot, Case, Row, Samples, Scale, measured, rate
from bench.registries import ANONYMOUS, COST_5, COST_10, Mode, Registry
from bench.wrk import ab_head, wrk

_BY_TAG = f"/v2/{REPOSITORY}/manifests/latest"
_BY_DIGEST = f"/v2/{REPOSITORY}/manifests/{usual_image().manifest.digest}"
_NO_MANIFEST = f"/v2/{REPOSITORY}/manifests/missing"
_NO_BLOB = f"/v2/{REPOSITORY}/blobs/{digest_of(b'nobody pushed this')}"
_ETAG = {"If-None-Match": f'"{usual_image().manifest.digest}"'}
# How many times better than distribution 3.1.1, and than the best peer.
_Targets = tuple[float | None, float | None]
# Sixteen checks of a password at cost 10 take a second on two processors that are not idle.
_BCRYPT_SECONDS = 3
_SIZE = len(usual_image().manifest.data)


def _case(
    name: str,
    path: str,
    status: int = 200,
    *,
    size: int | None = None,
    targets: _Targets = (None, None),
    headers: Mapping[str, str | None] | None = None,
    mode: Mode = ANONYMOUS,
    level: int = QUICK,
) -> Case:
    """GETs of one *path*, as many as are answered, each with *status*; the first one is looked at."""

    def run(registry: Registry, number: int, scale: Scale) -> Samples:
        found = look(registry, path, headers=headers)
        if (status, found.status) == (304, 200):
            raise Cannot("sends the whole manifest to those who have it")
        found.expect(status, size)

        seconds = max(scale.seconds, _BCRYPT_SECONDS if mode is COST_10 else 0)

        def work() -> Load:
            return wrk(registry, path, seconds=seconds, headers=headers, good=status < 400, size=size or 0)

        return {name: rate(*measured(registry, work))}

    row = Row(name, "req/s", cpu_unit="us", wanted=targets[0], wanted_best=targets[1])
    return Case(name, (row,), run, mode=mode, rounds=None if level == QUICK else 2, level=level)


def _head(name: str, path: str, targets: _Targets, mode: Mode = ANONYMOUS, *, level: int = QUICK) -> Case:
    """HEADs of one *path*, as many as are answered; the first one is looked at."""

    def run(registry: Registry, number: int, scale: Scale) -> Samples:
        look(registry, path, method="HEAD").expect(200, _SIZE)
        return {name: rate(*measured(registry, lambda: ab_head(registry, path, seconds=scale.seconds)))}

    row = Row(name, "req/s", cpu_unit="us", wanted=targets[0], wanted_best=targets[1])
    return Case(name, (row,), run, mode=mode, rounds=None if level == QUICK else 2, level=level)


def _with_password(mode: Mode, cost: str, wanted: float) -> tuple[Case, ...]:
    """The same requests by somebody who sends a password with each."""
    targets = (wanted, wanted)
    return (
        _case(f"manifest GET, {cost}", _BY_TAG, size=_SIZE, targets=targets, mode=mode),
        _head(f"manifest HEAD, {cost}", _BY_TAG, targets, mode, level=USUAL),
        _case(f"manifest 304, {cost}", _BY_TAG, 304, targets=targets, headers=_ETAG, mode=mode, level=USUAL),
        _case(f"manifest 404, {cost}", _NO_MANIFEST, 404, targets=targets, mode=mode, level=USUAL),
        _case(f"/v2/, {cost}", "/v2/", targets=targets, mode=mode, level=USUAL),
    )


CASES = (
    _case("/v2/", "/v2/", targets=(3, 1)),
    _case("manifest GET by tag", _BY_TAG, size=_SIZE, targets=(8, 2.5)),
    _case("manifest GET by digest", _BY_DIGEST, size=_SIZE, targets=(8, 2.5)),
    _head("manifest HEAD by tag", _BY_TAG, (5, 2)),
    _head("manifest HEAD by digest", _BY_DIGEST, (5, 2), level=USUAL),
    _case("manifest 304", _BY_TAG, 304, targets=(5, 2), headers=_ETAG),
    _case("manifest 404", _NO_MANIFEST, 404, targets=(5, 2)),
    _case("blob 404", _NO_BLOB, 404, targets=(5, 2)),
    _case("401, no password sent", "/v2/", 401, headers={"Authorization": None}, mode=COST_5),
    *_with_password(COST_5, "htpasswd cost 5", 60),
    *_with_password(COST_10, "htpasswd cost 10", 1500),
)
