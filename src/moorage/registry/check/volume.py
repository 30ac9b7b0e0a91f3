"""A whole check: find, look again, repair."""

from __future__ import annotations

from collections.abc import Callable

from moorage.registry.check.blobs import Blobs
from moorage.registry.check.findings import DatabaseDamaged, Finding, TreeEmpty
from moorage.registry.check.integrity import Integrity
from moorage.registry.check.leftovers import Leftovers
from moorage.registry.check.links import Links
from moorage.registry.check.manifests import Manifests
from moorage.registry.check.part import Part, Subject, WriteLinks


class VolumeCheck:
    """Holds a registry's database, bytes and link files against each other.

    It may run beside a server: what looks wrong is looked at once more *patience* seconds later, and only what
    was wrong both times is told. *served* tells whether a server runs now. *fast* trusts that bytes are what they were.
    """

    def __init__(
        self, subject: Subject, *, served: Callable[[], bool], fast: bool = False, patience: float = 0
    ) -> None:
        self._subject = subject
        self._served = served
        self._patience = patience
        self._integrity = Integrity(subject, fast=fast)
        manifests, links = Manifests(subject), Links(subject, served=served)
        blobs = Blobs(subject, fast=fast)
        # The long one last, so that what was found before has had time to settle.
        self._parts: list[Part] = [manifests, links, Leftovers(subject, manifests, lambda: links.unknown), blobs]
        self._found: list[tuple[Part, Finding]] = []

    async def find(self) -> list[Finding]:
        """Everything that is wrong. Raises Unavailable where database or disk cannot be read at all."""
        self._found = []
        await self._look(self._integrity)
        if any(isinstance(finding, DatabaseDamaged) for _, finding in self._found):
            return self._findings()  # nothing else that it says can be trusted
        for part in self._parts:
            await self._look(part)
        await self._look_again()
        empty = [found for found in self._found if isinstance(found[1], TreeEmpty)]
        self._found = empty or self._found  # then everything else follows from it
        return self._findings()

    async def repair(self, write_links: WriteLinks | None) -> None:
        """Mend what can be of what was found, and mark it; the rest is left as it is.

        *write_links* is None beside a server. Otherwise the caller sees to it that none runs meanwhile. Nothing is
        mended on a database or a disk that cannot be trusted.
        """
        if any(isinstance(finding, DatabaseDamaged | TreeEmpty) for _, finding in self._found):
            return
        for part in [self._integrity, *self._parts]:
            mine = [finding for owner, finding in self._found if owner is part]
            if mine:
                await part.repair(mine, write_links)
        while write_links is not None and await write_links():
            pass

    async def _look(self, part: Part) -> None:
        self._found += [(part, finding) for finding in await part.find()]

    async def _look_again(self) -> None:
        if self._found and self._served():
            await self._subject.clock.sleep(self._patience)
        self._found = [(part, finding) for part, finding in self._found if await part.still(finding)]

    def _findings(self) -> list[Finding]:
        return [finding for _, finding in self._found]
