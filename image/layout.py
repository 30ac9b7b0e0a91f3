"""The image for several architectures with its bills of materials, as an OCI layout (image-spec, image-layout.md).

Manifests are Docker's (schema 2), since OCI's configuration knows no HEALTHCHECK; the bills are artifacts that name the
manifest of their architecture as subject, so that a registry lists them as its referrers:

    oras cp --recursive --from-oci-layout moorage-VERSION.oci.tar:VERSION HOST/moorage:VERSION
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

CONFIG: Final = "application/vnd.docker.container.image.v1+json"
LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
ARTIFACT: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
SPDX: Final = "application/spdx+json"
EMPTY: Final = "application/vnd.oci.empty.v1+json"

Descriptor = dict[str, Any]


@dataclass
class Layout:
    """Blobs by their digest, and what the index names."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    images: list[Descriptor] = field(default_factory=list)
    bills: list[Descriptor] = field(default_factory=list)

    def add(self, arch: str, config: bytes, layers: list[bytes], bill: bytes) -> None:
        """Add the image of one architecture; *layers* are plain tars, *bill* an SPDX document."""
        packed = [gzip.compress(layer, 9, mtime=0) for layer in layers]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._put(CONFIG, config),
            "layers": [self._put(LAYER, layer) for layer in packed],
        }
        image = self._put(MANIFEST, _encode(manifest))
        self.images.append({**image, "platform": {"architecture": arch, "os": "linux"}})
        artifact = {
            "schemaVersion": 2,
            "mediaType": ARTIFACT,
            "artifactType": SPDX,
            "config": self._put(EMPTY, b"{}"),
            "layers": [self._put(SPDX, bill)],
            "subject": image,
        }
        self.bills.append({**self._put(ARTIFACT, _encode(artifact)), "artifactType": SPDX})

    def write(self, path: Path, tag: str, when: int) -> str:
        """Write it as a tar, in which *tag* names the list of all; the list's digest. *when* in seconds."""
        everything = {"schemaVersion": 2, "mediaType": LIST, "manifests": self.images}
        named = {**self._put(LIST, _encode(everything)), "annotations": {"org.opencontainers.image.ref.name": tag}}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [named, *self.bills]}
        files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": _encode(index)}
        files |= {f"blobs/{digest.replace(':', '/')}": data for digest, data in sorted(self.blobs.items())}
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode, member.mtime = len(data), 0o644, when
                archive.addfile(member, io.BytesIO(data))
        return str(named["digest"])

    def _put(self, media_type: str, data: bytes) -> Descriptor:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _encode(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
