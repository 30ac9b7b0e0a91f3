"""Room on the disk: bytes and inodes, in proportion to its size, and the tree that lies somewhere else."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from moorage.doctor.finding import Finding, ok, skipped, warning, wrong

_LOW: Final = 0.10
_EMPTY: Final = 0.01
_PLENTY: Final = 50 << 30
"""Bytes that are enough however small a part of the disk they are. All three are arbitrary."""
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

USUAL_PLACES: Final = (
    Path("/var/lib/moorage"),
    Path("/var/lib/registry"),
    Path("/tmp/registry"),  # noqa: S108 - where old tutorials mount the volume of an image
    Path("/tmp/registry-dev"),  # noqa: S108
    Path("/srv/registry"),
    Path("/data"),
    Path("/data/registry"),
    Path("data"),
)
"""Where registries' data lie by the defaults of images, tutorials and Moorage."""


def look_at_room(folder: Path) -> Iterator[Finding]:
    """Free bytes and inodes of the file system that holds *folder*."""
    try:
        found = os.statvfs(folder)
    except OSError as error:
        yield skipped(f"the room on the disk of {folder} cannot be seen: {error.strerror}")
        return
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    yield _judge_bytes(folder, size, free, reserved=found.f_bfree * found.f_frsize - free)
    if found.f_files:
        yield from _judge_inodes(folder, found.f_files, found.f_favail)


def _judge_bytes(folder: Path, size: int, free: int, *, reserved: int) -> Finding:
    place, share = shlex.quote(str(folder)), free / size if size else 1.0
    said = f"{amount(free)} of {amount(size)} are free ({share:.0%})"
    remedies = (f"sudo du -xh --max-depth=2 {place} | sort -h | tail", "moorage garbage-collect --help")
    if share < _EMPTY and free < _PLENTY:
        kept = f" {amount(reserved)} more are kept for root alone." if reserved > 0 else ""
        return wrong(
            f"the disk is full: {said}",
            f"Pushes fail with 507, and so will everything else that writes to this disk.{kept}",
            *remedies,
            free_bytes=free,
            size_bytes=size,
        )
    if share < _LOW and free < _PLENTY:
        return warning(
            f"the disk is nearly full: {said}",
            "Once it is, pushes fail with 507.",
            *remedies,
            free_bytes=free,
            size_bytes=size,
        )
    return ok(said, free_bytes=free, size_bytes=size)


def _judge_inodes(folder: Path, count: int, free: int) -> Iterator[Finding]:
    share = free / count
    said = f"{free:,} of {count:,} inodes are free ({share:.0%})"
    meaning = (
        "Every blob, link and tag is a file or two. Without inodes pushes fail with 507 (no space left on device),"
        " although there is room."
    )
    remedy = f"df -i {shlex.quote(str(folder))}"
    if share < _EMPTY:
        yield wrong(f"the disk has no inodes left: {said}", meaning, remedy, free_inodes=free, inodes=count)
    elif share < _LOW:
        yield warning(f"the disk has few inodes left: {said}", meaning, remedy, free_inodes=free, inodes=count)


def look_for_another_tree(data: Path, places: Iterable[Path] = USUAL_PLACES) -> Iterator[Finding]:
    """A registry's tree with content, where *data* has none: the volume is mounted elsewhere, or too deep."""
    if repositories(data):
        return
    own = os.path.realpath(data)
    beside = (*places, *data.parents[:3], *_children(data), *_children(data.parent))
    seen = {own}
    for place in beside:
        real = os.path.realpath(place)
        if real in seen:
            continue
        seen.add(real)
        if names := repositories(Path(real)):
            shown = ", ".join(names[:3]) + (" and more" if len(names) > 3 else "")
            yield warning(
                f"{data} holds no repository, and {real} does ({shown})",
                "If that is the one meant, the server looks into the wrong folder, or a volume is mounted at the wrong"
                " place: clients get `manifest unknown` for what was pushed before.",
                f"moorage serve --data {shlex.quote(real)} ...",
                f"docker run -v VOLUME:{shlex.quote(os.path.abspath(data))} ...",
                path=real,
            )
            return


def repositories(data: Path) -> list[str]:
    """Some names below `docker/registry/v2/repositories` in *data*, at most four; none where there is no such tree."""
    return [path.name for path in _children(data / "docker" / "registry" / "v2" / "repositories", most=4)]


def amount(count: int) -> str:
    """*count* bytes with a unit."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{count} B"


def _children(folder: Path, most: int = 50) -> list[Path]:
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    found.append(Path(entry.path))
                    if len(found) == most:
                        break
    except OSError:
        pass
    return sorted(found)
