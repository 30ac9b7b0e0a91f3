"""The process beside the workers that does the background work, at a lower priority."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Sequence

from moorage.app import Application
from moorage.errors import RegistryError
from moorage.jobs.lease import Chore
from moorage.server.worker import Listener
from moorage.settings.model import Settings

_log = logging.getLogger("moorage.jobs")

_NICENESS = 5


def run(settings: Settings, listeners: Sequence[Listener]) -> None:
    """Work until SIGTERM, then write the last links; *listeners* are the workers', and only closed here."""
    for listener in listeners:
        listener.socket.close()
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    asyncio.run(_work(settings))


async def _work(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    application = Application(settings)
    chores = application.chores()
    tasks = [asyncio.create_task(chore.run()) for chore in chores]
    waiting = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await _finish(application, chores)
    await application.database.close()
    for result in results:
        if isinstance(result, Exception) and waiting not in done:
            raise result


async def _finish(application: Application, chores: list[Chore]) -> None:
    """Leave the link tree complete: whoever starts registry:2 on it next finds everything."""
    links = application.links()
    try:
        while await links.work_off():
            pass
        for chore in chores:
            await chore.give_up()
    except RegistryError as error:
        _log.warning("the link tree is not up to date: %s; it will be after the next start", error)
