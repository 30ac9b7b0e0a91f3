"""The parent: forks the workers and the background process, forwards the end, replaces what dies."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping

from moorage.server.watch import Watch

_log = logging.getLogger("moorage.server")

_WATCHED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_PR_SET_PDEATHSIG = 1
# A child that lives shorter than this has a reason to die that a new one would have too (arbitrary).
_SHORT_LIFE_SECONDS = 2
_MOST_SHORT_LIVES = 5
_GRACE_SECONDS = 10


class Supervisor:
    """Keeps one process for each entry of *roles*: a name, and what its process runs.

    Ends on SIGTERM or SIGINT: the roles end in the order given, all of the same first word together ("worker 0",
    "worker 1", then "jobs"), each group within *patience* seconds, then by force. *before_stop* lets go of what this
    process holds open for them, such as listening sockets. *watch* is told what happens, and looks from time to time.
    Raises nothing; `run` returns the exit code.
    """

    def __init__(
        self,
        roles: Mapping[str, Callable[[], None]],
        patience: float,
        *,
        before_stop: Callable[[], None],
        watch: Watch | None = None,
    ) -> None:
        self._roles = roles
        self._patience = patience
        self._before_stop = before_stop
        self._watch = watch
        self._running: dict[int, tuple[str, float]] = {}
        self._short_lives = 0

    def run(self) -> int:
        """Start everything and watch over it; 0 after a stop that was asked for, 1 when the children keep dying."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        for role in self._roles:
            self._start(role)
        while True:
            received = self._next_signal()
            if received is None:
                continue
            if received in {signal.SIGTERM, signal.SIGINT}:
                self._stop()
                return 0
            if received == signal.SIGHUP and self._watch is not None:
                self._watch.reload()
            self._replace_the_dead()
            if self._short_lives >= _MOST_SHORT_LIVES:
                _log.error("the processes keep dying; the lines above say why")
                self._stop()
                return 1

    def _next_signal(self, most: float | None = None) -> int | None:
        """The next signal; None once *most* seconds have passed, or the watch wants to look again."""
        wait = None if self._watch is None else self._watch.look()
        seconds = min((value for value in (wait, most) if value is not None), default=None)
        if seconds is None:
            return signal.sigwait(_WATCHED)
        received = signal.sigtimedwait(_WATCHED, seconds)
        return None if received is None else received.si_signo

    def _start(self, role: str) -> None:
        if self._watch is not None:
            self._watch.begins(role)
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            self._be(role, parent)
        self._running[child] = (role, time.monotonic())

    def _be(self, role: str, parent: int) -> None:
        """Run the role in this new process; never returns."""
        code = 1
        try:
            # An orphan would go on answering without a lock on the data folder.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
            self._roles[role]()
            code = 0
        except BaseException:  # noqa: BLE001  (nothing may return into the parent's code)
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> list[tuple[str, float, int]]:
        """The roles whose processes have ended, how long they lived in seconds, and their wait status."""
        ended = []
        while self._running:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                break
            if child in self._running:
                role, started = self._running.pop(child)
                ended.append((role, time.monotonic() - started, status))
        return ended

    def _replace_the_dead(self) -> None:
        for role, lived, status in self._reap():
            self._short_lives = self._short_lives + 1 if lived < _SHORT_LIFE_SECONDS else 0
            _log.error("%s ended (%s) and is started again", role, _how(status))
            if self._short_lives < _MOST_SHORT_LIVES:
                self._start(role)

    def _stop(self) -> None:
        if self._watch is not None:
            self._watch.stop()
        self._before_stop()
        groups = list(dict.fromkeys(role.split()[0] for role in self._roles))
        for group in groups:
            self._signal(group, signal.SIGTERM)
            if not self._wait(group, self._patience + _GRACE_SECONDS):
                _log.warning("%s did not end in time and is ended by force", group)
                self._signal(group, signal.SIGKILL)
                self._wait(group, _GRACE_SECONDS)

    def _members(self, group: str) -> list[int]:
        return [child for child, (role, _) in self._running.items() if role.split()[0] == group]

    def _signal(self, group: str, number: signal.Signals) -> None:
        for child in self._members(group):
            os.kill(child, number)

    def _wait(self, group: str, seconds: float) -> bool:
        """Whether the group ended in time; a second signal from the terminal ends the waiting."""
        deadline = time.monotonic() + seconds
        while True:
            self._reap()
            left = deadline - time.monotonic()
            if not self._members(group):
                return True
            if left <= 0:
                return False
            if self._next_signal(left) == signal.SIGINT:
                return False


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"
