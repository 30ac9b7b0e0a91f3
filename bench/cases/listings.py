"""Long lists: tags written, paged, listed whole, deleted with what they name; the catalog."""

from __future__ import annotations

import json
import os
import time

from bench import bulk
from bench.cases.seed import push_image, shares
from bench.content import MANIFEST, Image, small_image
from bench.drivers import Load, Unexpected, request
from bench.lookups import ask, line_to, look, pages
from bench.measure import Cannot, Case, Row, Sample, Samples, Scale, measured
from bench.registries import Registry
from bench.scripts import Script, run_scripts
from bench.transfers import exchange
from bench.tree import settle
from bench.wrk import wrk

_PAGE = 100
# A page that takes longer is asked for by one client that sees every answer, and not by wrk.
_LONG_SECONDS = 0.25
# One that takes longer still is asked for once.
_VERY_LONG_SECONDS = 5


def _page_sample(registry: Registry, path: str, key: str, names: list[str] | None, seconds: float) -> Sample:
    """Milliseconds for each request of one client, and of CPU time.

    Raises Unexpected unless the page holds *names*, or a hundred of whatever there is.
    """
    with line_to(registry) as line:
        length = 0

        def once() -> Load:
            nonlocal length
            started = time.perf_counter()
            found = ask(line, registry, path).expect(200)
            taken = time.perf_counter() - started
            length = len(found.body)
            _check(json.loads(found.body)[key], names)
            return Load(1, 0, taken)

        def again() -> Load:
            count, begun = 0, time.perf_counter()
            while count < 2 or time.perf_counter() - begun < seconds:
                ask(line, registry, path).expect(200, length)
                count += 1
            return Load(count, 0, time.perf_counter() - begun)

        def quickly() -> Load:
            return wrk(registry, path, seconds=seconds, connections=1, size=length)

        load, usage = measured(registry, once)
        if load.seconds < _VERY_LONG_SECONDS:
            load, usage = measured(registry, again if load.seconds > _LONG_SECONDS else quickly)
    each = 1e3 / load.requests
    return Sample(load.seconds * each, usage.cpu_seconds * each, load.unexpected, usage)


def _check(held: list[str], names: list[str] | None) -> None:
    if len(held) > _PAGE:
        raise Cannot(f"sends everything, {len(held)} names, where {_PAGE} were asked for")
    if held != names and (names is not None or len(held) != _PAGE):
        raise Unexpected(f"a page of {len(held)} names from {held[:1]}, not {_PAGE} from {(names or held)[:1]}")


def _page_case(name: str, share: float, targets: tuple[float, float], *, tags: bool) -> Case:
    """A page of 100 in a long list, by one client who asks again and again; *share* of the list comes before it."""
    kind = "tags" if tags else "repositories"

    def run(registry: Registry, number: int, scale: Scale) -> Samples:
        if registry.facts.get("page") == kind:
            raise Cannot("another page of this list took too long")
        path, names = _page(scale, share, tags=tags)
        registry.facts["page"] = kind  # stays if this is given up for the time that it takes
        try:
            sample = _page_sample(registry, path, kind, names, scale.seconds)
        except (Cannot, Unexpected):
            del registry.facts["page"]
            raise
        del registry.facts["page"]
        return {name: sample}

    row = Row(name, "ms", "less", "ms", wanted=targets[0], wanted_best=targets[1])
    return Case(name, (row,), run, rounds=3)


def _page(scale: Scale, share: float, *, tags: bool) -> tuple[str, list[str] | None]:
    """The path of a page, and the names on it where it is known which these are."""
    count = scale.listed_tags if tags else scale.repositories
    named = bulk.tag if tags else bulk.repository
    path = f"/v2/{bulk.LISTED}/tags/list?n={_PAGE}" if tags else f"/v2/_catalog?n={_PAGE}"
    if not share:
        return path, [named(place) for place in range(min(_PAGE, count))] if tags else None
    first = max(1, min(int(share * count), count - _PAGE))
    names = [named(place) for place in range(first, min(first + _PAGE, count))]
    return f"{path}&last={named(first - 1)}", names


_ALL = "all tags of a long list"


def _all_tags(registry: Registry, number: int, scale: Scale) -> Samples:
    """Every tag of a long list by one client, in pages as large as the registry makes them."""
    path = f"/v2/{bulk.LISTED}/tags/list"

    def work() -> Load:
        started = time.perf_counter()
        with line_to(registry) as line:
            found = sum(len(page["tags"]) for page in pages(line, registry, path))
        if found != scale.listed_tags:
            raise Unexpected(f"{found} tags instead of {scale.listed_tags}")
        return Load(1, 0, time.perf_counter() - started)

    load, usage = measured(registry, work)
    return {_ALL: Sample(load.seconds * 1e3, usage.cpu_seconds * 1e3, 0, usage)}


_PUT = "tag PUT"


def _puts(registry: Registry, number: int, scale: Scale) -> Samples:
    """New tags for one manifest of a repository of their own, from eight clients."""
    repository, image = f"bench/tags-{number}", small_image("tagged")
    run_scripts(registry, [push_image(registry, repository, image, "first")])
    os.sync()

    def put() -> Load:
        scripts = [_put(registry, repository, image, numbers) for numbers in shares(scale.tags)]
        return Load(scale.tags, 0, run_scripts(registry, scripts))

    load, usage = measured(registry, put, behind=True)
    last = bulk.tag(scale.tags - 1)
    look(registry, f"/v2/{repository}/manifests/{last}").expect(200, len(image.manifest.data))
    return {_PUT: Sample(load.requests / load.seconds, usage.cpu_seconds * 1e6 / load.requests, 0, usage)}


def _put(registry: Registry, repository: str, image: Image, numbers: range) -> Script:
    for number in numbers:
        path = f"/v2/{repository}/manifests/{bulk.tag(number)}"
        answer = yield request(registry, "PUT", path, image.manifest.data, Content_Type=MANIFEST)
        answer.expect(201)


_DELETE = "delete of a manifest with all its tags"


def _delete(registry: Registry, number: int, scale: Scale) -> Samples:
    """DELETE by digest of a manifest that a long list of tags names; afterwards none of them may be left."""
    manifests = f"/v2/{bulk.DOOMED}/manifests"
    look(registry, f"{manifests}/{bulk.tag(scale.listed_tags - 1)}").expect(200, len(bulk.IMAGE.manifest.data))

    def work() -> Load:
        started = time.perf_counter()
        with registry.connect() as stream:
            path = f"{manifests}/{bulk.IMAGE.manifest.digest}"
            exchange(stream, request(registry, "DELETE", path)).expect(202)
        return Load(1, 0, time.perf_counter() - started)

    load, usage = measured(registry, work, behind=True)
    for reference in (bulk.tag(0), bulk.tag(scale.listed_tags - 1), bulk.IMAGE.manifest.digest):
        look(registry, f"{manifests}/{reference}").expect(404)
    settle(registry.pid)
    return {_DELETE: Sample(load.seconds * 1e3, usage.cpu_seconds * 1e3, 0, usage)}


CASES = (
    Case(_PUT, (Row(_PUT, "tags/s", cpu_unit="us", wanted=3, wanted_best=2.5),), _puts, rounds=2, durable=True),
    _page_case("tags page of 100, first", 0, (50, 2), tags=True),
    _page_case("tags page of 100, middle", 0.5, (50, 2), tags=True),
    _page_case("tags page of 100, last", 1, (50, 2), tags=True),
    Case(_ALL, (Row(_ALL, "ms", "less", "ms"),), _all_tags, rounds=3),
    _page_case("catalog page of 100, first", 0, (20, 2), tags=False),
    _page_case("catalog page of 100, middle", 0.5, (20, 2), tags=False),
    _page_case("catalog page of 100, last", 1, (20, 2), tags=False),
    Case(_DELETE, (Row(_DELETE, "ms", "less", "ms", 500, None, 1),), _delete, rounds=1),
)
