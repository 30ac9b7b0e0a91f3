"""What the parts of a check are given, and what they have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from moorage.clock import Clock
from moorage.metadata.database import Database
from moorage.registry.check.findings import Finding
from moorage.registry.validation import Validation
from moorage.storage.blobs import BlobStore
from moorage.storage.links import ClassicLinks

WriteLinks = Callable[[], Awaitable[bool]]
"""Writes what a batch of the outbox asks for, and says whether there may be more."""


class Progress(Protocol):
    """Whoever watches; called from any thread."""

    def step(self, name: str, total: int, *, size: bool = False) -> None:
        """A new part of the work begins, of *total* things, or bytes where *size*."""
        ...

    def advance(self, done: int = 1) -> None:
        """So much more of it is done."""
        ...


class NoProgress:
    """Nobody watches."""

    def step(self, name: str, total: int, *, size: bool = False) -> None:
        """Nothing."""

    def advance(self, done: int = 1) -> None:
        """Nothing."""


@dataclass(slots=True)
class Counts:
    """What was looked at; *read* is in bytes."""

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    blobs: int = 0
    read: int = 0
    links: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked, and by which rules."""

    database: Database
    store: BlobStore
    links: ClassicLinks
    validation: Validation
    clock: Clock
    progress: Progress
    counts: Counts


class Part(Protocol):
    """One part of a check."""

    async def find(self) -> list[Finding]:
        """Whatever looks wrong, some of it perhaps only because it was changed while it was looked at."""
        ...

    async def still(self, finding: Finding) -> bool:
        """Whether it looks wrong now too; it may be narrowed to what does."""
        ...

    async def repair(self, findings: Sequence[Finding], write_links: WriteLinks | None) -> None:
        """Mend of its own findings what can be, and mark it.

        *write_links* is None beside a server. Otherwise none runs, and none can start.
        """
        ...
