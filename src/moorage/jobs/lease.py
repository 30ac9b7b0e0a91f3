"""Running a chore in one process among all workers and replicas."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

from moorage.clock import Clock
from moorage.errors import RegistryError
from moorage.metadata import leases
from moorage.metadata.database import Database

_log = logging.getLogger("moorage.jobs")

# How long the work rests when its holder died without letting go.
LEASE_SECONDS = 30


def holder_name() -> str:
    """A name for this process that no other has."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Chore(Protocol):
    """Background work."""

    async def run(self) -> None:
        """Go on until cancelled."""
        ...

    async def give_up(self) -> None:
        """Let another process have the work at once."""
        ...


class Leased:
    """A chore that runs every *interval* seconds while this process holds the lease called *name*.

    The chore gets nothing and returns whether there is more to do at once. It may take longer than a lease lasts. A
    failure is logged, and the chore tried again after the interval: the registry serves without it meanwhile.

    With *idle*, that is asked first, and while it says True no lease is taken; nor is one kept between two runs, so
    that a command can do the same work without waiting for it to end.
    """

    def __init__(
        self,
        name: str,
        chore: Callable[[], Awaitable[bool]],
        *,
        interval: float,
        database: Database,
        clock: Clock,
        holder: str,
        idle: Callable[[], bool] | None = None,
    ) -> None:
        self._idle = idle
        self._name = name
        self._chore = chore
        self._interval = interval
        self._database = database
        self._clock = clock
        self._holder = holder
        self._taken = self._renew = self._until = 0

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            more = False
            try:
                if not (self._idle and self._idle()) and await self.take():
                    more = await self.hold(self._chore)
                    if self._idle:
                        await self.give_up()
            except RegistryError as error:
                _log.warning("%s has to wait: %s", self._name, error)
            except Exception:  # noqa: BLE001  (a chore may fail; the registry goes on)
                _log.exception("%s failed and is tried again", self._name)
            if not more:
                await self._clock.sleep(self._interval)

    async def hold(self, chore: Callable[[], Awaitable[bool]]) -> bool:
        """What *chore* returns, with the lease, which was taken, extended meanwhile; cancels it when that is lost."""
        task = asyncio.ensure_future(chore())
        try:
            while not task.done():
                pause = asyncio.ensure_future(self._clock.sleep(LEASE_SECONDS / 4))
                try:
                    await asyncio.wait((task, pause), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    pause.cancel()
                if not task.done() and not await self._extended():
                    _log.warning("%s is broken off: another process has taken it over", self._name)
                    return False
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))
                # What it says now is of no use to anybody.
                if not task.cancelled():
                    task.exception()

    async def _extended(self) -> bool:
        try:
            return await self.take()
        except RegistryError as error:
            _log.warning("%s cannot extend its lease now: %s", self._name, error)
            return self._clock.now() < self._until

    async def take(self) -> bool:
        """Hold the lease: take it, or extend it once half of its time is gone; False while another process holds it.

        A commit for each run would keep an idle registry's disk busy.
        """
        now = self._clock.now()
        if self._taken <= now < self._renew:
            return True
        until = now + LEASE_SECONDS * 1_000_000
        held = await self._database.write(
            lambda transaction: leases.take(transaction, self._name, self._holder, now=now, until=until), durable=False
        )
        self._taken, self._renew, self._until = (now, now + LEASE_SECONDS * 500_000, until) if held else (0, 0, 0)
        return held

    async def give_up(self) -> None:
        """Let another process have it at once."""
        self._taken = self._renew = self._until = 0
        await self._database.write(
            lambda transaction: leases.give_up(transaction, self._name, self._holder), durable=False
        )
