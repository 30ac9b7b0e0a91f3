"""What every registry holds before it is measured; pushed once, with no passwords."""

from __future__ import annotations

from collections.abc import Iterator

from bench import content
from bench.content import MANIFEST, Blob, Image, make_blob, usual_image
from bench.drivers import request, target_of
from bench.measure import Scale
from bench.registries import Registry
from bench.scripts import Script, run_scripts

REPOSITORY = "bench/usual"
SMALL = make_blob(4096, "small")
MEDIUM = make_blob(1 << 20, "medium")
_CLIENTS = 8


def seed(registry: Registry, scale: Scale) -> None:
    """Push the image that is pulled, and blobs of three sizes."""
    image = usual_image()
    pieces, registry.facts["large"] = content.large(scale.large_bytes).numbered("pulled")
    large = Blob(b"".join(pieces), registry.facts["large"])
    # A registry may serve only blobs that a manifest of the repository names.
    holder = content.make_image(SMALL, (MEDIUM, large))
    run_scripts(registry, [push_image(registry, REPOSITORY, image, "latest")])
    run_scripts(registry, [push_image(registry, REPOSITORY, holder, "blobs")])
    for path in (f"manifests/{image.manifest.digest}", f"blobs/{SMALL.digest}", f"blobs/{MEDIUM.digest}"):
        run_scripts(registry, [_look(registry, f"/v2/{REPOSITORY}/{path}")])


def push_image(registry: Registry, repository: str, image: Image, tag: str) -> Script:
    """What a client does for an image that is all new: POST, PATCH and PUT for each blob, then the manifest."""
    for blob in image.blobs:
        yield from push_blob(registry, repository, blob)
    put = f"/v2/{repository}/manifests/{tag}"
    answer = yield request(registry, "PUT", put, image.manifest.data, Content_Type=MANIFEST)
    answer.expect(201)


def push_blob(registry: Registry, repository: str, blob: Blob) -> Script:
    answer = yield request(registry, "POST", f"/v2/{repository}/blobs/uploads/")
    location = answer.expect(202).headers["location"]
    kind = "application/octet-stream"
    answer = yield request(registry, "PATCH", target_of(location), blob.data, Content_Type=kind)
    location = answer.expect(202).headers["location"]
    answer = yield request(registry, "PUT", target_of(location, digest=blob.digest))
    answer.expect(201)


def _look(registry: Registry, path: str) -> Script:
    answer = yield request(registry, "GET", path)
    answer.expect(200)


def shares(count: int, clients: int = _CLIENTS) -> Iterator[range]:
    """*count* numbers dealt out to *clients*."""
    for first in range(clients):
        yield range(first, count, clients)
