"""What is pushed and pulled: the same for every registry of a run."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Blob:
    """Bytes and their digest."""

    data: bytes
    digest: str


@dataclass(frozen=True)
class Image:
    """A manifest and the blobs it names, the configuration first."""

    blobs: tuple[Blob, ...]
    manifest: Blob


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


EMPTY = Blob(b"{}", digest_of(b"{}"))


def make_blob(size: int, seed: str) -> Blob:
    """*size* bytes that no compression makes smaller; the same seed gives the same bytes."""
    data = random.Random(seed).randbytes(min(size, _BLOCK))
    data = (data * (size // len(data) + 1))[:size] if data else b""
    return Blob(data, digest_of(data))


def make_image(config: Blob, layers: tuple[Blob, ...]) -> Image:
    named = [(blob.digest, len(blob.data)) for blob in layers]
    return Image((config, *layers), make_manifest((config.digest, len(config.data)), named))


def make_manifest(config: tuple[str, int], layers: Iterable[tuple[str, int]]) -> Blob:
    """A manifest of what is known by digest and size."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": config[0], "size": config[1]},
        "layers": [{"mediaType": _LAYER, "digest": digest, "size": size} for digest, size in layers],
    }
    body = json.dumps(document, indent=3).encode()
    return Blob(body, digest_of(body))


def make_referrer(subject: Blob, kind: str, number: int) -> Blob:
    """A manifest of artifact type *kind* that holds nothing and refers to the manifest *subject*."""
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": EMPTY.digest, "size": len(EMPTY.data)}
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind,
        "config": empty,
        "layers": [empty],
        "subject": {"mediaType": MANIFEST, "digest": subject.digest, "size": len(subject.data)},
        "annotations": {"number": str(number)},
    }
    body = json.dumps(document).encode()
    return Blob(body, digest_of(body))


def small_image(seed: str) -> Image:
    """A configuration of 2 KiB and a layer of 4 KiB."""
    return make_image(make_blob(2048, f"{seed} config"), (make_blob(4096, f"{seed} layer"),))


@cache
def usual_image() -> Image:
    """What is pulled by manifest: ten layers, as large images have them."""
    return make_image(
        make_blob(4096, "config"), tuple(make_blob(4096 + place, f"layer {place}") for place in range(10))
    )


class Large:
    """Many blobs of *size* bytes that differ only at their end, so that each one's digest costs no second pass."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._prefix = memoryview(make_blob(size - 32, "large").data)
        self._running = hashlib.sha256(self._prefix)

    def numbered(self, label: str) -> tuple[list[memoryview], str]:
        """The pieces of the blob called *label*, and its digest."""
        end = hashlib.sha256(label.encode()).digest()
        running = self._running.copy()
        running.update(end)
        return [self._prefix, memoryview(end)], "sha256:" + running.hexdigest()


@cache
def large(size: int) -> Large:
    """One instance for each size: half a gigabyte is made once."""
    return Large(size)
