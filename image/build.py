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
import importlib.util
import io
import json
import lzma
import marshal
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from image.layout import Layout
from image.sbom import Component, spdx

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "image"
SITE = "usr/lib/python3/dist-packages"
# Where wheels for Debian's Python 3.11 (glibc 2.36) are looked for, newest first.
PLATFORMS = {"amd64": "x86_64", "arm64": "aarch64"}
GLIBC = ("2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17")
MERGED = ("bin", "sbin", "lib", "lib64")
"""In Debian 12 these are links into /usr; packages still name files by both ways."""

UNUSED = re.compile(
    r"usr/share/(doc|man|info|lintian|bug|locale|menu|applications|pixmaps|doc-base|common-licenses)/.*"
    r"|usr/share/zoneinfo/(posix|right)/.*|usr/lib/python3\.11/(test|idlelib|tkinter|lib2to3|pydoc_data|ensurepip"
    r"|turtledemo|distutils)/.*|usr/lib/[^/]+/gconv/.*|.*/__pycache__/.*|usr/lib/python3\.11/config-3\.11.*"
    r"|etc/(motd|issue|issue\.net|update-motd\.d/.*)|usr/share/(python3|binfmts|perl5)/.*|usr/sbin/update-ca-certificates"
)
KEPT = re.compile(r"usr/share/doc/[^/]+/copyright|usr/lib/[^/]+/gconv/(gconv-modules|UTF-(16|32)\.so)")

SCRIPT = """#!/usr/bin/python3.11 -I
from moorage.cli.{module} import {name}

{name}()
"""
COMMANDS = {
    "usr/bin/moorage": ("container", "command"),
    "usr/bin/registry": ("container", "registry"),
    "usr/bin/htpasswd": ("container", "htpasswd"),
    "usr/bin/moorage-container": ("container", "main"),
}
ACCOUNTS = "root:x:0:0:root:/root:/sbin/nologin\nmoorage:x:{id}:{id}:Moorage:/nonexistent:/sbin/nologin\n"
USER_ID = 10001
"""Of the workers that face the network; above those that hosts give to people (arbitrary)."""


@dataclass(frozen=True)
class Entry:
    """A file, a link (to *target*) or a folder (neither) of the image."""

    mode: int
    data: bytes | None = None
    target: str | None = None


@dataclass
class Layer:
    """Names without a leading slash, and what they are."""

    entries: dict[str, Entry] = field(default_factory=dict)
    components: list[Component] = field(default_factory=list)

    def add(self, name: str, entry: Entry) -> None:
        """Add an entry and the folders above it."""
        for folder in reversed(PurePosixPath(name).parents[:-1]):
            self.entries.setdefault(str(folder), Entry(0o755))
        self.entries[name] = entry

    def pack(self, when: int) -> bytes:
        """A tar that depends on nothing else."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name in sorted(self.entries):
                entry = self.entries[name]
                member = tarfile.TarInfo(name)
                member.mode, member.mtime = entry.mode, when
                if entry.target is not None:
                    member.type, member.linkname = tarfile.SYMTYPE, entry.target
                elif entry.data is None:
                    member.type = tarfile.DIRTYPE
                else:
                    member.size = len(entry.data)
                archive.addfile(member, io.BytesIO(entry.data or b""))
        return buffer.getvalue()


def say(text: str) -> None:
    """One line of progress."""
    print(f"image: {text}", file=sys.stderr, flush=True)


# Debian packages


def package_names() -> list[str]:
    """The names in packages.txt."""
    lines = (ROOT / "image" / "packages.txt").read_text().splitlines()
    return [name for name in (line.partition("#")[0].strip() for line in lines) if name]


def apt(arch: str, *arguments: str, folder: Path | None = None) -> str:
    """Run apt with lists of its own for *arch*, from the mirrors that this machine uses."""
    state = CACHE / f"apt-{arch}"
    for needed in ("lists/partial", "archives/partial"):
        (state / needed).mkdir(parents=True, exist_ok=True)
    status = state / "status"
    status.touch()
    options = {
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": status,
        "Dir::Cache": state,
        "Dir::Cache::archives": state / "archives",
        "APT::Sandbox::User": "",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    done = subprocess.run(
        [arguments[0], *words, *arguments[1:]], check=False, capture_output=True, text=True, cwd=folder or CACHE
    )
    if done.returncode:
        raise SystemExit(f"image: {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def lock(arch: str) -> None:
    """Write packages-ARCH.lock: the newest version of each package, with its hash."""
    apt(arch, "apt-get", "-qq", "update")
    lines = []
    for name in package_names():
        found = dict(
            line.split(": ", 1)
            for line in apt(arch, "apt-cache", "show", "--no-all-versions", name).splitlines()
            if re.match(r"(Version|SHA256): ", line)
        )
        lines.append(f"{name} {found['Version']} sha256:{found['SHA256']}\n")
    _lock_file(arch).write_text("".join(lines))
    say(f"{_lock_file(arch).name}: {len(lines)} packages")


def _lock_file(arch: str) -> Path:
    return ROOT / "image" / f"packages-{arch}.lock"


def debian(arch: str) -> Layer:
    """The first layer."""
    layer = Layer()
    for name in MERGED:
        layer.add(name, Entry(0o777, target=f"usr/{name}"))
        layer.add(f"usr/{name}", Entry(0o755))
    for line in _lock_file(arch).read_text().splitlines():
        name, version, digest = line.split()
        unpack(fetch(arch, name, version, digest.removeprefix("sha256:")), layer)
        layer.components.append(Component("deb", name, version))
    roots = sorted(path for path in layer.entries if path.startswith("usr/share/ca-certificates/mozilla/"))
    bundle = b"".join(layer.entries[path].data or b"" for path in roots)
    layer.add("etc/ssl/certs/ca-certificates.crt", Entry(0o644, bundle))
    for folder, mode in (
        ("tmp", 0o1777),
        ("var/lib/registry", 0o755),
        ("root", 0o700),
        ("proc", 0o555),
        ("sys", 0o555),
        ("dev", 0o755),
        ("run", 0o755),
        ("etc/docker/registry", 0o755),
    ):
        layer.add(folder, Entry(mode))
    layer.add("etc/passwd", Entry(0o644, ACCOUNTS.format(id=USER_ID).encode()))
    layer.add("etc/group", Entry(0o644, f"root:x:0:\nmoorage:x:{USER_ID}:\n".encode()))
    layer.add("etc/nsswitch.conf", Entry(0o644, b"passwd: files\ngroup: files\nhosts: files dns\n"))
    layer.add("usr/bin/python3", Entry(0o777, target="python3.11"))
    return layer


def fetch(arch: str, name: str, version: str, digest: str) -> bytes:
    """The package file, from the cache or the mirror."""
    cached = CACHE / "debs" / digest
    if not cached.exists():
        folder = CACHE / "debs" / f"{name}-{arch}"
        folder.mkdir(parents=True, exist_ok=True)
        if not any((CACHE / f"apt-{arch}" / "lists").glob("*Packages*")):
            apt(arch, "apt-get", "-qq", "update")
        try:
            apt(arch, "apt-get", "-qq", "download", f"{name}={version}", folder=folder)
        except SystemExit as error:
            raise SystemExit(
                f"{error}\nimage: packages-{arch}.lock wants what bookworm, its updates and its security updates have;"
                " where this machine's mirrors have moved on, `make image-lock` takes their versions"
            ) from None
        (file,) = folder.glob("*.deb")
        file.rename(cached)
        folder.rmdir()
    data = cached.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        cached.unlink()
        raise SystemExit(
            f"image: {name} {version} is not what {_lock_file(arch).name} says; `make image-lock` renews it"
        )
    return data


def unpack(package: bytes, layer: Layer) -> None:
    """Add a package's files to the layer (deb(5): an ar archive with a tar in it)."""
    with tarfile.open(fileobj=io.BytesIO(_data_member(package))) as archive:
        for member in archive:
            name = member.name.removeprefix("./").strip("/")
            first, slash, rest = name.partition("/")
            if first in MERGED:
                name = f"usr/{first}{slash}{rest}"
            if not name or (UNUSED.fullmatch(name) and not KEPT.fullmatch(name)):
                continue
            if member.issym():
                layer.add(name, Entry(0o777, target=member.linkname))
            elif member.islnk():
                layer.add(name, layer.entries[member.linkname.removeprefix("./")])
            elif member.isfile():
                file = archive.extractfile(member)
                assert file is not None
                layer.add(name, Entry(member.mode & 0o755, file.read()))
            elif name not in layer.entries:
                layer.add(name, Entry(member.mode & 0o7777))


def _data_member(package: bytes) -> bytes:
    offset = 8
    while offset < len(package):
        name = package[offset : offset + 16].decode("ascii").strip().rstrip("/")
        size = int(package[offset + 48 : offset + 58])
        offset += 60
        if name.startswith("data.tar"):
            data = package[offset : offset + size]
            return lzma.decompress(data) if name.endswith(".xz") else data
        offset += size + size % 2
    raise SystemExit("image: a package without data.tar")


# Python


def wheels(arch: str) -> Layer:
    """The second layer: what requirements.lock names, as wheels."""
    folder = CACHE / "wheels" / arch
    folder.mkdir(parents=True, exist_ok=True)
    requirements = ROOT / "requirements.lock"
    tags = [word for glibc in GLIBC for word in ("--platform", f"manylinux_{glibc}_{PLATFORMS[arch]}")]
    tags += ["--platform", f"manylinux2014_{PLATFORMS[arch]}"]
    options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "--only-binary=:all:"]
    python = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "abi3", "--abi", "none"]
    where = ["--dest", str(folder), "--requirement", str(requirements)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, *python, *tags, *where], check=True)
    layer = Layer()
    for name, version in locked():
        if name == "setuptools":
            continue
        (wheel,) = (file for file in folder.glob("*.whl") if _same(file.name, name, version))
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                if not member.is_dir() and ".data/scripts/" not in member.filename:
                    add_python(layer, member.filename, archive.read(member))
        layer.components.append(Component("pypi", name, version))
    return layer


def locked() -> Iterator[tuple[str, str]]:
    """Names and versions in requirements.lock."""
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        match = re.match(r"([a-z0-9][a-z0-9._-]*)(?:\[[^\]]*\])?==([^ ;\\]+)", line)
        if match:
            yield match[1], match[2]


def _same(file: str, name: str, version: str) -> bool:
    parts = file.split("-")
    return re.sub(r"[-_.]+", "-", parts[0]).lower() == name and parts[1] == version


def moorage() -> Layer:
    """The third layer: this project, with its commands."""
    layer = Layer()
    source = ROOT / "src"
    for path in subprocess.run(
        ["git", "ls-files", "-z", "src"], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout.split("\0"):
        if path:
            add_python(layer, str(PurePosixPath(path).relative_to("src")), (source.parent / path).read_bytes())
    layer.components.append(Component("pypi", "moorage", version(), "Apache-2.0"))
    for name, (module, function) in COMMANDS.items():
        layer.add(name, Entry(0o755, SCRIPT.format(module=module, name=function).encode()))
    return layer


def add_python(layer: Layer, name: str, data: bytes) -> None:
    """Add a file of a Python package; a module also compiled, so that nothing is compiled at each start."""
    path = PurePosixPath(SITE, name)
    layer.add(str(path), Entry(0o644, data))
    if path.suffix == ".py":
        try:
            code = compile(data, f"/{path}", "exec", dont_inherit=True, optimize=0)
        except SyntaxError:  # Alembic's templates
            return
        # By hash and unchecked (PEP 552), in marshal's second version, which does not depend on reference counts: the
        # same bytes whenever they are made.
        head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(data)
        name = f"{path.stem}.{sys.implementation.cache_tag}.pyc"
        layer.add(str(path.parent / "__pycache__" / name), Entry(0o644, head + marshal.dumps(code, 2)))


def version() -> str:
    """The project's version."""
    text = (ROOT / "src" / "moorage" / "__init__.py").read_text()
    match = re.search(r'__version__ = "([^"]+)"', text)
    assert match is not None
    return match[1]


# The image


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
