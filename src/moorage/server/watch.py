"""What the parent sees of its workers, and tells the service manager."""

from __future__ import annotations

import logging
import time

from moorage.server.heartbeat import Heartbeats
from moorage.server.notify import Notifier

_log = logging.getLogger("moorage.server")

_STARTING_SECONDS = 0.1
_SILENT_SECONDS = 1.0


class Watch:
    """Tells *notifier* when all workers serve, and that they go on to, by *beats*.

    The place of "worker 3" there is 3. *serving* is the line for people once all serve.
    """

    def __init__(self, notifier: Notifier, beats: Heartbeats, serving: str) -> None:
        self._notifier = notifier
        self._beats = beats
        self._serving = serving
        self._period = None if notifier.watchdog is None else notifier.watchdog / 2
        self._started = False
        self._stopping = False
        self._told = 0.0
        self._silent = False

    def begins(self, role: str) -> None:
        """A process for *role* is about to be made."""
        group, _, number = role.partition(" ")
        if group == "worker":
            self._beats.forget(int(number))

    def look(self) -> float | None:
        """Tell what there is to tell; in how many seconds to look again, None for never."""
        if not self._started and not self._stopping:
            if not self._beats.oldest:
                return _STARTING_SECONDS
            self._started = True
            self._told = time.monotonic()
            self._notifier.ready(self._serving)
        if self._period is None:
            return None
        return self._feed(self._period)

    def reload(self) -> None:
        """SIGHUP: there is nothing to do, since files are looked at all the time, and whoever asked is told so."""
        _log.info("certificates and password files are looked at all the time; other settings count from a start on")
        if self._started:
            self._notifier.reloading()
            self._notifier.ready(self._serving)

    def stop(self) -> None:
        """The end has begun; the watchdog now waits for the parent alone."""
        self._stopping = True
        self._notifier.stopping("finishing the requests that are under way")

    def _feed(self, period: float) -> float:
        now = time.monotonic()
        left = self._told + period - now
        if left > 0:
            return left
        if not self._stopping and now - self._beats.oldest > period:
            if not self._silent and self._beats.oldest:
                _log.error("a worker's event loop has not turned for %.0f s; the watchdog is not told to wait", period)
            self._silent = True
            return _SILENT_SECONDS
        self._silent = False
        self._told = now
        self._notifier.alive()
        return period
