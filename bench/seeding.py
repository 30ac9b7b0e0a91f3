"""Fills a registry, and sees that it holds what the others hold."""

from __future__ import annotations

import hashlib

from bench import bulk
from bench.cases.seed import MEDIUM, REPOSITORY, SMALL, seed
from bench.content import usual_image
from bench.drivers import request
from bench.measure import Scale
from bench.registries import ANONYMOUS, Registry
from bench.transfers import exchange


class Unequal(Exception):
    """A registry does not hold what the first one holds: their figures would say nothing about each other."""


def fill(registry: Registry, scale: Scale, wanted: str | None) -> None:
    """Push what is pulled later, make the long lists; the registry runs afterwards.

    Raises Unequal unless its fingerprint is *wanted*.
    """
    registry.start(ANONYMOUS)
    seed(registry, scale)
    bulk.fill_lists(registry, scale, registry.lists)
    found = registry.facts["fingerprint"] = fingerprint(registry, scale)
    if wanted is not None and found != wanted:
        raise Unequal("holds other bytes than the first registry, so it is not compared")


def fingerprint(registry: Registry, scale: Scale) -> str:
    """SHA-256 of the sorted digests and sizes that the registry itself says it holds."""
    image = usual_image()
    names = [f"blobs/{blob.digest}" for blob in (*image.blobs, SMALL, MEDIUM)]
    names += [f"blobs/{registry.facts['large']}", "manifests/latest", "manifests/blobs"]
    paths = [f"{REPOSITORY}/{name}" for name in names]
    for share in range(1, 5):
        paths.append(f"{bulk.LISTED}/manifests/{bulk.tag(share * (scale.listed_tags - 1) // 4)}")
        paths.append(f"{bulk.DOOMED}/manifests/{bulk.tag(share * (scale.listed_tags - 1) // 4)}")
        paths.append(f"{bulk.repository(share * (scale.repositories - 1) // 4)}/manifests/latest")
    held = []
    with registry.connect() as stream:
        for path in paths:
            answer = exchange(stream, request(registry, "HEAD", f"/v2/{path}")).expect(200)
            digest = answer.headers.get("docker-content-digest", path.rpartition("/")[2])
            held.append(f"{digest} {answer.headers['content-length']}")
    return hashlib.sha256("\n".join(sorted(held)).encode()).hexdigest()
