"""Fills a registry, and sees that it holds what the others hold."""

from __future__ import annotations

import hashlib

from bench.cases.seed import MEDIUM, REPOSITORY, SMALL, seed
from bench.content import usual_image
from bench.drivers import request
from bench.measure import Scale
from bench.registries import ANONYMOUS, Registry
from bench.transfers import exchange


class Unequal(Exception):
    """A registry does not hold what the first one holds: their figures would say nothing about each other."""


def fill(registry: Registry, scale: Scale, wanted: str | None) -> None:
    """Push what is pulled later; the registry runs afterwards. Raises Unequal unless its fingerprint is *wanted*."""
    registry.start(ANONYMOUS)
    seed(registry, scale)
    found = registry.facts["fingerprint"] = fingerprint(registry)
    if wanted is not None and found != wanted:
        raise Unequal("holds other bytes than the first registry, so it is not compared")


def fingerprint(registry: Registry) -> str:
    """SHA-256 of the sorted digests and sizes that the registry itself says it holds."""
    image = usual_image()
    paths = [f"blobs/{blob.digest}" for blob in (*image.blobs, SMALL, MEDIUM)]
    paths += [f"blobs/{registry.facts['large']}", "manifests/latest", "manifests/blobs"]
    held = []
    with registry.connect() as stream:
        for path in paths:
            answer = exchange(stream, request(registry, "HEAD", f"/v2/{REPOSITORY}/{path}")).expect(200)
            digest = answer.headers.get("docker-content-digest", path.partition("/")[2])
            held.append(f"{digest} {answer.headers['content-length']}")
    return hashlib.sha256("\n".join(sorted(held)).encode()).hexdigest()
