"""The password checks of one event loop: who waits for which, and which is next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from moorage.auth.fairness import FairQueue, share_of

Outcome = bool | None
"""Right, wrong, or refused."""


@dataclass(eq=False, slots=True)
class _Check:
    """One check, and everyone who waits for it."""

    user: str
    share: str
    digest: bytes
    stored: str
    password: str
    waiters: set[asyncio.Future[Outcome]]

    @property
    def key(self) -> tuple[str, bytes]:
        """What makes two checks one. With the user in it two unknown users, who share a decoy, take two as known do."""
        return self.user, self.digest


class Checks:
    """At most *threads* checks run, the others wait in a fair queue; equal ones are one.

    *start* starts a check of a stored hash and a password, and returns its future. Everything here runs on the loop and
    nothing in a thread, so nothing is locked: a thread of low priority that holds a lock would stop the loop.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        start: Callable[[str, str], asyncio.Future[bool]],
        *,
        threads: int,
        waiting: int,
        waiting_each: int,
    ) -> None:
        self._loop = loop
        self._start = start
        self._free = threads
        self._queue: FairQueue[_Check] = FairQueue(waiting, waiting_each)
        self._checks: dict[tuple[str, bytes], _Check] = {}

    @property
    def waiting(self) -> int:
        """How many checks wait for a thread."""
        return len(self._queue)

    async def outcome(self, stored: str, password: str, *, user: str, peer: str, digest: bytes) -> Outcome:
        """Wait for the check of *password* against *stored*, which *digest* stands for; None if it is refused.

        May be cancelled: a check that nobody waits for any more leaves the queue.
        """
        waiter: asyncio.Future[Outcome] = self._loop.create_future()
        check = self._checks.get((user, digest))
        if check is not None:
            check.waiters.add(waiter)
        else:
            check = _Check(user, share_of(peer), digest, stored, password, {waiter})
            if not self._enqueue(check):
                return None
        try:
            return await waiter
        finally:
            check.waiters.discard(waiter)
            if not check.waiters and self._queue.remove(check.share, user, check):
                del self._checks[check.key]

    def _enqueue(self, check: _Check) -> bool:
        dropped = self._queue.push(check.share, check.user, check)
        if dropped is check:
            return False
        self._checks[check.key] = check
        if dropped is not None:
            self._conclude(dropped, None)
        self._start_next()
        return True

    def _start_next(self) -> None:
        while self._free and self._queue:
            check = self._queue.pop()
            try:
                future = self._start(check.stored, check.password)
            except RuntimeError:  # no thread to be had: out of them, or the interpreter is on its way out
                self._conclude(check, None)
                continue
            self._free -= 1
            future.add_done_callback(partial(self._finished, check))

    def _finished(self, check: _Check, future: asyncio.Future[bool]) -> None:
        self._free += 1
        error = future.exception()
        if error is None:
            self._conclude(check, future.result())
        else:
            self._conclude(check, error)
        self._start_next()

    def _conclude(self, check: _Check, outcome: Outcome | BaseException) -> None:
        del self._checks[check.key]
        for waiter in check.waiters:
            if waiter.done():
                continue
            if isinstance(outcome, BaseException):
                waiter.set_exception(outcome)
            else:
                waiter.set_result(outcome)
