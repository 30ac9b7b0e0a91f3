"""A layer of the image: what lies in it, and its tar."""

from __future__ import annotations

import io
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from image.sbom import Component

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "image"


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
