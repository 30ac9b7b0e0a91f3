"""Images made on the spot, without a hub: tar layers, OCI layouts, and a busybox that runs."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.programs import need

CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"

APPLETS = ("sh", "cat", "echo", "true")


def tar(files: Mapping[str, bytes]) -> bytes:
    """An uncompressed tar of *files* (path: content), all owned by root, executable, of one time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def busybox_tar(files: Mapping[str, bytes]) -> bytes:
    """A root file system with a static busybox, hard links for a few applets, and *files*."""
    binary = Path(need("busybox")).read_bytes()
    buffer = io.BytesIO(tar({"bin/busybox": binary, **files}))
    with tarfile.open(fileobj=buffer, mode="a") as archive:
        for applet in APPLETS:
            member = tarfile.TarInfo(f"bin/{applet}")
            member.type, member.linkname, member.mode = tarfile.LNKTYPE, "bin/busybox", 0o755
            archive.addfile(member)
    return buffer.getvalue()


class Layout:
    """An OCI image layout (image-spec, image-layout.md) in *folder*."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: list[dict[str, Any]] = []
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self._save()

    def blob(self, media_type: str, content: bytes) -> dict[str, Any]:
        """Stores *content*; its descriptor."""
        encoded = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs" / "sha256" / encoded).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{encoded}", "size": len(content)}

    def image(self, *tars: bytes, architecture: str = "amd64", command: tuple[str, ...] = ("true",)) -> dict[str, Any]:
        """Stores an image of one platform with *tars* as layers; the descriptor of its manifest, platform included."""
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": list(command)},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in tars]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(CONFIG, json.dumps(config).encode()),
            "layers": [self.blob(LAYER, gzip.compress(one, compresslevel=1, mtime=0)) for one in tars],
        }
        descriptor = self.blob(MANIFEST, json.dumps(manifest).encode())
        return {**descriptor, "platform": {"architecture": architecture, "os": "linux"}}

    def index(self, *manifests: dict[str, Any]) -> dict[str, Any]:
        """Stores an index of *manifests*; its descriptor."""
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests)}
        return self.blob(INDEX, json.dumps(index).encode())

    def tag(self, name: str, descriptor: dict[str, Any]) -> str:
        """Names *descriptor* in the layout; its digest."""
        plain = {key: value for key, value in descriptor.items() if key != "platform"}
        self.entries.append({**plain, "annotations": {"org.opencontainers.image.ref.name": name}})
        self._save()
        return str(descriptor["digest"])

    def archive(self) -> bytes:
        """The whole layout as a tar, as `docker load` and `oci-archive:` take it."""
        files = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return tar({str(path.relative_to(self.folder)): path.read_bytes() for path in files})

    def _save(self) -> None:
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries}
        (self.folder / "index.json").write_text(json.dumps(index))


def two_platforms(folder: Path, name: str = "multi") -> tuple[Layout, str]:
    """A layout in which *name* is an index of amd64 and arm64 images; the layout and the index's digest."""
    layout = Layout(folder)
    images = [
        layout.image(tar({"platform": architecture.encode()}), architecture=architecture)
        for architecture in ("amd64", "arm64")
    ]
    return layout, layout.tag(name, layout.index(*images))
