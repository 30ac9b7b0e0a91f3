"""The first layer: Debian packages, by packages-ARCH.lock, from the mirrors that this machine's apt uses."""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import subprocess
import tarfile
from pathlib import Path

from image.layer import CACHE, ROOT, Entry, Layer, say
from image.sbom import Component

MERGED = ("bin", "sbin", "lib", "lib64")
"""In Debian 12 these are links into /usr; packages still name files by both ways."""

UNUSED = re.compile(
    r"usr/share/(doc|man|info|lintian|bug|locale|menu|applications|pixmaps|doc-base|common-licenses)/.*"
    r"|usr/share/zoneinfo/(posix|right)/.*|usr/lib/python3\.11/(test|idlelib|tkinter|lib2to3|pydoc_data|ensurepip"
    r"|turtledemo|distutils)/.*|usr/lib/[^/]+/gconv/.*|.*/__pycache__/.*|usr/lib/python3\.11/config-3\.11.*"
    r"|etc/(motd|issue|issue\.net|update-motd\.d/.*)|usr/share/(python3|binfmts|perl5)/.*|usr/sbin/update-ca-certificates"
)
KEPT = re.compile(r"usr/share/doc/[^/]+/copyright|usr/lib/[^/]+/gconv/(gconv-modules|UTF-(16|32)\.so)")

ACCOUNTS = "root:x:0:0:root:/root:/sbin/nologin\nmoorage:x:{id}:{id}:Moorage:/nonexistent:/sbin/nologin\n"
USER_ID = 10001
"""Of the workers that face the network; above those that hosts give to people (arbitrary)."""


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
