"""Manifests that refer to another one, by the thousand: signatures, attestations, bills of materials."""

from __future__ import annotations

import json
import time
from pathlib import Path

from bench import bulk
from bench.cases.seed import push_blob, push_image, shares
from bench.content import EMPTY, MANIFEST, Blob, make_referrer, small_image
from bench.drivers import Load, Unexpected, request
from bench.lookups import line_to, look, pages
from bench.measure import Cannot, Case, Row, Sample, Samples, Scale, measured
from bench.peers import Zot
from bench.registries import Registry
from bench.scripts import Script, run_scripts

_SUBJECTS = "bench/referrers"
_REFERRERS, _FILTERED = "all referrers of one subject", "referrers of one type, one in a hundred"
_COMMON, _RARE = "application/vnd.bench.common", "application/vnd.bench.rare"


def _prepare_referrers(registry: Registry, scale: Scale) -> None:
    """One subject, and as many manifests that refer to it as the scale says, every hundredth of another type."""
    subject = small_image("subject")
    if look(registry, f"/v2/{bulk.LISTED}/referrers/{bulk.IMAGE.manifest.digest}").status != 200:
        raise Cannot("has no referrers API")
    run_scripts(registry, [push_image(registry, _SUBJECTS, subject, "subject")])
    run_scripts(registry, [_push_empty(registry)])
    if isinstance(registry, Zot):
        registry.stop()
        _write_layout(registry.data / _SUBJECTS, subject.manifest, scale.referrers)
        registry.start(registry.mode)
    else:
        run_scripts(registry, [_refer(registry, subject.manifest, numbers) for numbers in shares(scale.referrers)])


def _push_empty(registry: Registry) -> Script:
    yield from push_blob(registry, _SUBJECTS, EMPTY)


def _refer(registry: Registry, subject: Blob, numbers: range) -> Script:
    for number in numbers:
        referrer = _referrer(subject, number)
        path = f"/v2/{_SUBJECTS}/manifests/{referrer.digest}"
        answer = yield request(registry, "PUT", path, referrer.data, Content_Type=MANIFEST)
        answer.expect(201)


def _referrer(subject: Blob, number: int) -> Blob:
    return make_referrer(subject, _COMMON if number % 100 else _RARE, number)


def _write_layout(folder: Path, subject: Blob, count: int) -> None:
    """What pushes leave in zot's folder of a repository, which by requests takes it longer with each of them."""
    index = json.loads((folder / "index.json").read_bytes())
    for number in range(count):
        referrer = _referrer(subject, number)
        (folder / "blobs" / "sha256" / referrer.digest.partition(":")[2]).write_bytes(referrer.data)
        index["manifests"].append({"mediaType": MANIFEST, "digest": referrer.digest, "size": len(referrer.data)})
    (folder / "index.json").write_text(json.dumps(index, separators=(",", ":")))


def _referrers(registry: Registry, number: int, scale: Scale) -> Samples:
    """The referrers of one subject by one client, all of them page by page, and those of a rare type."""
    path = f"/v2/{_SUBJECTS}/referrers/{small_image('subject').manifest.digest}"
    rare = len(range(0, scale.referrers, 100))
    return {
        _REFERRERS: _whole(registry, path, scale.referrers, scale.seconds),
        _FILTERED: _whole(registry, f"{path}?artifactType={_RARE}", rare, scale.seconds, _RARE),
    }


def _whole(registry: Registry, path: str, count: int, seconds: float, kind: str | None = None) -> Sample:
    with line_to(registry) as line:

        def work() -> Load:
            done, started = 0, time.perf_counter()
            while done < 2 or time.perf_counter() - started < seconds:
                found = [entry for page in pages(line, registry, path) for entry in page["manifests"]]
                # A registry need not filter (distribution specification, "Listing Referrers"); then clients do.
                if kind is not None:
                    found = [entry for entry in found if entry.get("artifactType") == kind]
                if len(found) != count:
                    raise Unexpected(f"{len(found)} referrers instead of {count}")
                done += 1
            return Load(done, 0, time.perf_counter() - started)

        load, usage = measured(registry, work)
    return Sample(load.seconds * 1e3 / load.requests, usage.cpu_seconds * 1e3 / load.requests, 0, usage)


CASES = (
    Case(
        _REFERRERS,
        (Row(_REFERRERS, "ms", "less", "ms"), Row(_FILTERED, "ms", "less", "ms")),
        _referrers,
        _prepare_referrers,
        rounds=2,
    ),
)
