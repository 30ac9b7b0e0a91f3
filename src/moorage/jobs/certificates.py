"""The chores of certificates: renewing our own, by one process of all, and looking at the one in files."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from moorage.clock import Clock
from moorage.jobs.lease import Leased
from moorage.metadata.database import Database
from moorage.tls.keeper import Keeper
from moorage.tls.watch import Watch

_log = logging.getLogger("moorage.jobs")

LEASE: Final = "certificates"
"""The name of the lease under which certificates are got, by a server or a command."""

_LOOK_SECONDS: Final = 15.0
"""Between two looks at states on the disk; the shortest wait after a failure is a minute."""
_WATCH_SECONDS: Final = 600.0


class Keepers:
    """What several keepers of one store have to do."""

    def __init__(self, keepers: list[Keeper]) -> None:
        self._keepers = keepers

    def idle(self) -> bool:
        """Whether none of them has anything to do."""
        return all(keeper.idle() for keeper in self._keepers)

    async def work(self) -> bool:
        """Do what is due; whether there is more at once, which there never is."""
        for keeper in self._keepers:
            await keeper.work()
        return False


def keeping(keepers: list[Keeper], database: Database, clock: Clock, holder: str) -> Leased:
    """The chore that keeps all certificates of *keepers*, with the lease, which is free while nothing is due."""
    several = Keepers(keepers)
    return Leased(
        LEASE,
        several.work,
        interval=_LOOK_SECONDS,
        database=database,
        clock=clock,
        holder=holder,
        idle=several.idle,
    )


class Watching:
    """The chore that looks at the pair in files. Every machine has its own, so it needs no lease."""

    def __init__(self, watch: Watch, clock: Clock) -> None:
        self._watch = watch
        self._clock = clock

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self._watch.look)
            except OSError as error:
                _log.warning("what is known about the certificate cannot be written down: %s", error)
            await self._clock.sleep(_WATCH_SECONDS)

    async def give_up(self) -> None:
        """Nothing is held."""
