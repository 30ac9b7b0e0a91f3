"""Images as `docker save` writes them, made on the spot of bytes that nothing compresses."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
from pathlib import Path


def write_archive(path: Path, reference: str, layers: int, size: int, seed: str) -> None:
    """An image of so many *layers*, *size* bytes in each, that `docker load` and `crane push` take."""
    with tarfile.open(path, "w") as archive:
        digests = []
        for number in range(layers):
            layer = _layer(f"data/{number}", random.Random(f"{seed} {number}").randbytes(size))
            digests.append("sha256:" + hashlib.sha256(layer).hexdigest())
            _add(archive, f"{number}/layer.tar", layer)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": ["/none"]},
                "rootfs": {"type": "layers", "diff_ids": digests},
            }
        ).encode()
        name = hashlib.sha256(config).hexdigest() + ".json"
        _add(archive, name, config)
        parts = [f"{number}/layer.tar" for number in range(layers)]
        manifest = [{"Config": name, "RepoTags": [reference], "Layers": parts}]
        _add(archive, "manifest.json", json.dumps(manifest).encode())


def _layer(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        _add(layer, name, data)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    archive.addfile(member, io.BytesIO(data))
