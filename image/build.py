"""Builds the container image, without a daemon, without root and without a hub.

The image is three layers over nothing: Debian packages by packages-ARCH.lock, wheels by requirements.lock, Moorage.
Each is made in memory with sorted names, one owner and the time of the last commit, so that the same commit gives the
same image.

    python -m image.build                  dist/moorage-VERSION-ARCH.tar, for `docker load`, and its SBOM
    python -m image.build --arch arm64     for another architecture
    python -m image.build --layout         also dist/moorage-VERSION.oci.tar, with the bill as the image's referrer
    python -m image.build --lock           packages-*.lock anew, by the Debian mirrors of this machine
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from image.debian import debian, lock
from image.layer import CACHE, ROOT, say
from image.layout import Layout
from image.python import PLATFORMS, moorage, version, wheels
from image.sbom import spdx


def configuration(arch: str, layers: list[bytes], when: int, revision: str) -> dict[str, Any]:
    """The image's configuration in Docker's format, which knows HEALTHCHECK."""
    return {
        "architecture": arch,
        "os": "linux",
        "created": datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "config": {
            "Entrypoint": ["/usr/bin/moorage-container"],
            "Cmd": [],
            "Env": ["PATH=/usr/bin:/usr/sbin", "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"],
            "ExposedPorts": {"5000/tcp": {}},
            "Volumes": {"/var/lib/registry": {}},
            "StopSignal": "SIGTERM",
            "Healthcheck": {
                "Test": ["CMD", "/usr/bin/moorage-container", "health"],
                "Interval": 30_000_000_000,
                "Timeout": 10_000_000_000,
                "StartPeriod": 60_000_000_000,
                "StartInterval": 2_000_000_000,
                "Retries": 3,
            },
            "Labels": {
                "org.opencontainers.image.title": "Moorage",
                "org.opencontainers.image.description": "A private Docker and OCI registry with authentication",
                "org.opencontainers.image.version": version(),
                "org.opencontainers.image.revision": revision,
                "org.opencontainers.image.licenses": "Apache-2.0",
                "org.opencontainers.image.base.name": "scratch",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
        "history": [
            {"created_by": name, "created": datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
            for name in ("Debian packages", "Python packages", "Moorage")
        ],
    }


def save(path: Path, config: bytes, layers: list[bytes], tag: str, when: int) -> None:
    """Write the archive that `docker load`, podman, skopeo and crane take (docker save's format)."""
    names = [f"{hashlib.sha256(layer).hexdigest()}.tar" for layer in layers]
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": names}]).encode()
    members = {name: config, **dict(zip(names, layers, strict=True)), "manifest.json": manifest}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for member_name, data in members.items():
            member = tarfile.TarInfo(member_name)
            member.size, member.mode, member.mtime = len(data), 0o644, when
            archive.addfile(member, io.BytesIO(data))


def git(*arguments: str) -> str:
    """What git says."""
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()


def commit_time() -> int:
    """Seconds since the epoch."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct"))


def build(arch: str, output: Path, layout: Layout) -> None:
    """Make the image and its bill of materials, and add both to *layout*."""
    when = commit_time()
    revision = git("rev-parse", "HEAD")
    say(f"{arch}: Debian packages")
    parts = [debian(arch)]
    say(f"{arch}: wheels")
    parts += [wheels(arch), moorage()]
    layers = [part.pack(when) for part in parts]
    config = json.dumps(configuration(arch, layers, when, revision), sort_keys=True, separators=(",", ":")).encode()
    image_id = hashlib.sha256(config).hexdigest()
    path = output / f"moorage-{version()}-{arch}.tar"
    save(path, config, layers, f"moorage:{version()}", when)
    components = [component for part in parts for component in part.components]
    document = spdx(f"moorage-{version()}-{arch}", image_id, components, when)
    bill = (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
    path.with_suffix(".spdx.json").write_bytes(bill)
    layout.add(arch, config, layers, bill)
    size = sum(map(len, layers)) / 1e6
    say(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}: sha256:{image_id}, {size:.0f} MB unpacked")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=sorted(PLATFORMS), action="append", help="default: this machine's")
    parser.add_argument("--lock", action="store_true", help="renew packages-ARCH.lock and stop")
    parser.add_argument("--layout", action="store_true", help="also write all of it as an OCI layout")
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    chosen = parser.parse_args()
    if sys.version_info[:2] != (3, 11):
        raise SystemExit("image: modules are compiled for Debian 12's Python 3.11; run this with a Python 3.11")
    CACHE.mkdir(parents=True, exist_ok=True)
    own = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "amd64")
    layout = Layout()
    for arch in chosen.arch or (sorted(PLATFORMS) if chosen.lock else [own]):
        if chosen.lock:
            lock(arch)
        else:
            build(arch, chosen.output, layout)
    if chosen.layout and not chosen.lock:
        path = chosen.output / f"moorage-{version()}.oci.tar"
        say(f"{path.name}: {layout.write(path, version(), commit_time())}")


if __name__ == "__main__":
    main()
