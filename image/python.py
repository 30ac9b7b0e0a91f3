"""The second layer, wheels by requirements.lock, and the third, Moorage itself."""

from __future__ import annotations

import importlib.util
import marshal
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath

from image.layer import CACHE, ROOT, Entry, Layer
from image.sbom import Component

SITE = "usr/lib/python3/dist-packages"
# Where wheels for Debian's Python 3.11 (glibc 2.36) are looked for, newest first.
PLATFORMS = {"amd64": "x86_64", "arm64": "aarch64"}
GLIBC = ("2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17")

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
