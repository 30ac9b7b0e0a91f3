"""Serving a volume that is not adopted yet: whoever asks for a repository waits for that one alone."""

from __future__ import annotations

import asyncio
import logging

from moorage.errors import Unavailable
from moorage.metadata import link_tree
from moorage.metadata.database import Reader
from moorage.oci.name import RepositoryName
from moorage.registry.adopt.changes import carry_out
from moorage.registry.adopt.contents import Contents
from moorage.registry.adopt.findings import Report
from moorage.registry.adopt.parts import MOST_CHANGES, batches
from moorage.registry.adopt.plan import Plan, Planner, Rows
from moorage.registry.adopt.volume import Volume
from moorage.storage.tree_facts import Known

_log = logging.getLogger("moorage.adopt")

# The names alone are read at some ten thousand a second: only of a volume with many more is anybody sent away.
_ATTEMPTS = 200
_WAIT_SECONDS = 0.05
_RETRY_SECONDS = 5


class Intake:
    """Sees to it that no request is answered from a half of what there is.

    *ready* is True once everything is adopted: then nobody needs to ask any more.
    """

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._running: dict[RepositoryName, asyncio.Task[None]] = {}
        self.ready = False

    async def require(self, repository: RepositoryName | None) -> None:
        """Return when the repository, or without one the list of all, is what it should be.

        Raises Unavailable, to be tried again, where the names of what is to be adopted take too long to read.
        """
        database = self._volume.database
        if not await self._is_listed():
            return
        if repository is not None and await link_tree.is_waiting(database, repository):
            await self._adopt(repository)
        elif not await link_tree.is_any_waiting(database):
            self.ready = True

    async def _is_listed(self) -> bool:
        """Whether the names of everything to adopt are known, which is waited for; False where there is nothing."""
        for _ in range(_ATTEMPTS):
            if (await link_tree.state(self._volume.database)).listed:
                return True
            if self._volume.tree.is_empty():
                return False
            await self._volume.clock.sleep(_WAIT_SECONDS)
        raise Unavailable("the registry is reading what its volume holds; try again soon", retry_after=_RETRY_SECONDS)

    async def _adopt(self, repository: RepositoryName) -> None:
        """Adopt one repository; many requests for it wait for the same work."""
        task = self._running.get(repository)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._adopt_now(repository))
            self._running[repository] = task
            task.add_done_callback(lambda _: self._running.pop(repository, None))
        await asyncio.shield(task)

    async def _adopt_now(self, repository: RepositoryName) -> None:
        report = Report()
        plan = await asyncio.to_thread(self._plan, repository, report)
        now = self._volume.clock.now()
        done: list[Plan] = []
        for batch in batches([plan], MOST_CHANGES):

            async def work(transaction: Reader, batch: list[Plan] = batch) -> list[Plan]:
                return await carry_out(transaction, batch, (), now)

            done = await self._volume.database.write(work)
        if done:
            _log.info("adopted %s, which was asked for: %d tags", repository, len(plan.tags))

    def _plan(self, repository: RepositoryName, report: Report) -> Plan:
        volume = self._volume
        planner = Planner(volume.tree, Contents(volume.tree, volume.manifest_bytes), report, 0)
        links = volume.tree.repository(repository, Known(), 0)
        return planner.plan(repository, links, Rows(), first=True)
