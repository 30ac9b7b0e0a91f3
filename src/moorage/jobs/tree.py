"""Keeping the classic link tree: our own changes are written into it, and what others wrote there is taken over.

One process does both, one after the other, so that neither sees the other's halves. The tree is compared with the
database once after each start, since another registry may have run on it meanwhile, and whenever somebody asks for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from moorage.clock import Clock
from moorage.errors import RegistryError
from moorage.jobs.outbox import LinkWriter
from moorage.metadata import link_tree
from moorage.metadata.database import Database
from moorage.registry.adopt.findings import Fault, Report, changes
from moorage.registry.adopt.volume import Comparison

_log = logging.getLogger("moorage.adopt")

_TELL_SECONDS: Final = 5.0
# How long a comparison rests that could not be done, in microseconds.
_REST: Final = 60_000_000


class TreeKeeper:
    """The chore of whoever holds the tree's lease; *compare* makes a comparison, thorough where somebody asked."""

    def __init__(
        self, database: Database, links: LinkWriter, clock: Clock, compare: Callable[[bool], Comparison]
    ) -> None:
        self._database = database
        self._links = links
        self._clock = clock
        self._compare = compare
        self._comparison: Comparison | None = None
        self._steps: AsyncIterator[None] | None = None
        self._compared = False
        self._not_before = 0
        self._told = self._begun = 0.0

    async def work(self) -> bool:
        """Write a batch of links, then compare for half a second; True when there may be more of either."""
        more = await self._links.work_off()
        return await self._step() or more

    async def _step(self) -> bool:
        if self._steps is None:
            if not await self._is_due():
                return False
            self._begin()
        assert self._steps is not None
        assert self._comparison is not None
        try:
            await anext(self._steps)
        except StopAsyncIteration:
            self._end(self._comparison.report)
            return False
        except RegistryError:
            self._give_up()
            raise
        self._tell_progress()
        return True

    async def _is_due(self) -> bool:
        if self._clock.now() < self._not_before:
            return False
        if not self._compared:
            return True
        state = await link_tree.state(self._database)
        return state.wanted_at > state.compared_at

    def _begin(self) -> None:
        self._comparison = self._compare(self._compared)
        self._steps = self._comparison.steps()
        self._begun = self._told = time.monotonic()

    def _end(self, report: Report) -> None:
        self._steps = self._comparison = None
        if report.counts[Fault.TREE_EMPTY]:
            self._not_before = self._clock.now() + _REST
            _log.error(
                "the database has images, and the link tree has not one repository: is the disk mounted? Nothing is"
                " taken over from it"
            )
            return
        self._compared = True
        seconds = time.monotonic() - self._begun
        if report.changes or report.rewritten:
            _log.info("the volume is adopted: %s, in %.1f s", changes(report), seconds)
        if report.broken:
            _log.warning(
                "%d things in the volume could not be taken over as they are; moorage adopt --dry-run tells of each",
                report.broken,
            )

    def _give_up(self) -> None:
        self._steps = self._comparison = None
        self._not_before = self._clock.now() + _REST

    def _tell_progress(self) -> None:
        comparison, now = self._comparison, time.monotonic()
        if comparison is None or now - self._told < _TELL_SECONDS:
            return
        self._told = now
        rate = comparison.report.links / (now - self._begun)
        _log.info(
            "adopting the volume: %d of %d repositories, %d links a second", comparison.done, comparison.total, rate
        )
