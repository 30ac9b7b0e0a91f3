"""Tags by the thousand: writing, paging, deleting what they name; and the catalog."""

from __future__ import annotations

import os
import time

from bench.cases.seed import push_image, shares
from bench.content import MANIFEST, Image, small_image
from bench.drivers import Load, request
from bench.measure import Case, Row, Sample, Samples, Scale, measured
from bench.registries import Registry
from bench.scripts import Script, run_scripts
from bench.transfers import exchange
from bench.wrk import wrk

_PUT, _PAGE, _DELETE, _CATALOG = "tag PUT", "tags page of 100", "delete of a manifest with all its tags", "catalog page"


def _tags(registry: Registry, number: int, scale: Scale) -> Samples:
    repository, image = f"bench/tags-{number}", small_image("tagged")
    run_scripts(registry, [push_image(registry, repository, image, "first")])
    os.sync()

    def put() -> Load:
        scripts = [_put(registry, repository, image, numbers) for numbers in shares(scale.tags)]
        return Load(scale.tags, 0, run_scripts(registry, scripts))

    def page() -> Load:
        middle = f"/v2/{repository}/tags/list?n=100&last=tag-{scale.tags // 2:07}"
        return wrk(registry, middle, seconds=scale.seconds, connections=1)

    def delete() -> Load:
        started = time.perf_counter()
        with registry.connect() as stream:
            path = f"/v2/{repository}/manifests/{image.manifest.digest}"
            exchange(stream, request(registry, "DELETE", path)).expect(202)
        return Load(1, 0, time.perf_counter() - started)

    written, used = measured(registry, put, behind=True)
    paged, paging = measured(registry, page)
    deleted, deleting = measured(registry, delete, behind=True)
    return {
        _PUT: Sample(written.requests / written.seconds, used.cpu_seconds * 1e6 / written.requests, 0, used),
        _PAGE: _each(paged, paging.cpu_seconds, paged.unexpected),
        _DELETE: Sample(deleted.seconds * 1e3, deleting.cpu_seconds * 1e3, 0, deleting),
    }


def _each(load: Load, cpu_seconds: float, unexpected: int) -> Sample:
    """Milliseconds for each request of one client, and of CPU time."""
    return Sample(load.seconds * 1e3 / max(1, load.requests), cpu_seconds * 1e3 / max(1, load.requests), unexpected)


def _put(registry: Registry, repository: str, image: Image, numbers: range) -> Script:
    for number in numbers:
        path = f"/v2/{repository}/manifests/tag-{number:07}"
        answer = yield request(registry, "PUT", path, image.manifest.data, Content_Type=MANIFEST)
        answer.expect(201)


def _catalog(registry: Registry, number: int, scale: Scale) -> Samples:
    path = f"/v2/_catalog?n=100&last=catalog/{scale.repositories // 2:06}"
    load, usage = measured(registry, lambda: wrk(registry, path, seconds=scale.seconds, connections=1))
    return {_CATALOG: _each(load, usage.cpu_seconds, load.unexpected)}


CASES = (
    Case(
        "tags",
        (
            Row(_PUT, "tags/s", cpu_unit="us", wanted=3),
            Row(_PAGE, "ms", "less", cpu_unit="ms"),
            Row(_DELETE, "ms", "less", cpu_unit="ms"),
        ),
        _tags,
        rounds=2,
    ),
    Case(_CATALOG, (Row(_CATALOG, "ms", "less", cpu_unit="ms"),), _catalog),
)
