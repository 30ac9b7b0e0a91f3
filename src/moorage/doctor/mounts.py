"""Where a folder really lies: its mount, and whether what is written there outlives a container or a reboot."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moorage.durable import NETWORK_FILESYSTEMS

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
# What an engine stacks for the root of a container; whatever is written there goes when the container does.
_LAYERED: Final = frozenset({"overlay", "aufs", "fuse-overlayfs", "fuse.fuse-overlayfs"})
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_ANONYMOUS: Final = re.compile(r"/volumes/([0-9a-f]{64})/_data(?:/|$)")
_NAMED: Final = re.compile(r"/volumes/([^/]+)/_data(?:/|$)")
# What engines mount into every container, and what belongs to the kernel: no place for anybody's data.
_ENGINES_OWN: Final = ("/proc", "/sys", "/dev", "/run", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
_CONTAINER_MARKS: Final = ("/.dockerenv", "/run/.containerenv")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo (proc(5)): *root* is the folder of the file system *source* that is seen at *point*."""

    point: Path
    root: str
    kind: str
    source: str
    options: frozenset[str]

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written below it."""
        return "ro" in self.options

    @property
    def network(self) -> bool:
        """Whether its bytes live on another machine."""
        return self.kind in NETWORK_FILESYSTEMS

    @property
    def in_memory(self) -> bool:
        """Whether a reboot empties it."""
        return self.kind in _IN_MEMORY

    @property
    def anonymous_volume(self) -> str | None:
        """The name of a volume that an engine made because an image asked for one and nobody named it."""
        found = _ANONYMOUS.search(self.root)
        return found[1] if found else None

    @property
    def named_volume(self) -> str | None:
        """The name of an engine's volume that somebody named."""
        found = _NAMED.search(self.root)
        return found[1] if found and self.anonymous_volume is None else None

    @property
    def belongs_to_a_person(self) -> bool:
        """Whether it is a folder or volume that somebody put there, and not the engine's or the kernel's own."""
        place = str(self.point)
        if place == "/" or any(place == own or place.startswith(f"{own}/") for own in _ENGINES_OWN):
            return False
        return self.kind not in _LAYERED | _IN_MEMORY and os.path.isdir(self.point)

    def goes_with_the_container(self, *, container: bool) -> bool:
        """Whether it is the writable layer of a container: the engine's stack, or with its simplest driver a copy."""
        return self.point == Path("/") and (self.kind in _LAYERED or (container and self.root != "/"))


def read_mounts(path: Path = Path("/proc/self/mountinfo")) -> list[Mount]:
    """The mounts that this process sees, in their order; none where /proc is not to be read."""
    try:
        text = path.read_text("utf-8", "surrogateescape")
    except OSError:
        return []
    return parse_mounts(text)


def parse_mounts(text: str) -> list[Mount]:
    """The mounts of a mountinfo file's text; a line that is none is passed over."""
    found = []
    for line in text.splitlines():
        fields, separator, rest = line.partition(" - ")
        parts, tail = fields.split(" "), rest.split(" ")
        if not separator or len(parts) < 6 or len(tail) < 3:
            continue
        options = frozenset(parts[5].split(",")) | frozenset(tail[2].split(","))
        found.append(Mount(Path(_unescape(parts[4])), _unescape(parts[3]), tail[0], _unescape(tail[1]), options))
    return found


def mount_of(path: Path, mounts: Sequence[Mount]) -> Mount | None:
    """The mount that holds *path*, links followed: the deepest, and of several on one point the last."""
    place = Path(os.path.realpath(path))
    holding = [mount for mount in mounts if place.is_relative_to(mount.point)]
    return max(enumerate(holding), key=lambda pair: (len(pair[1].point.parts), pair[0]), default=(0, None))[1]


def in_container(mounts: Sequence[Mount] | None = None) -> bool:
    """Whether this is a container: an engine's mark is there, and the root is what engines make of one.

    The mark alone stays in images that were turned into whole machines.
    """
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return True
    if not any(os.path.exists(mark) for mark in _CONTAINER_MARKS):
        return False
    root = mount_of(Path("/"), read_mounts() if mounts is None else mounts)
    return root is None or root.kind in _LAYERED or root.root != "/"


def _unescape(field: str) -> str:
    """The kernel writes space, tab, newline and backslash as three octal digits."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)
