"""Checking passwords beside the event loop, each right one only once."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Final

from moorage.auth import passwords
from moorage.auth.checks import Checks
from moorage.errors import TooManyRequests

THREADS: Final = 2
"""Checks at a time: two, so that one costly hash does not hold up everybody (arbitrary)."""

NICENESS: Final = 10
"""Added to the threads' own. Measured on two busy cores: without it two checking threads left the event loop less than
a third of its throughput; with 19 it kept all of it, but a first login got no CPU at all for seconds."""

REMEMBERED: Final = 8192
"""Passwords that were right, about 150 bytes each (arbitrary)."""

WAITING: Final = 512
"""Checks that wait (arbitrary). A client that waits cannot send its next guess, so waiting is cheaper than refusing."""

WAITING_EACH: Final = 64
"""Of these, checks of one user from one address (arbitrary)."""

REFUSAL_DELAY: Final = 1.0
"""Seconds before "too many requests": a client that is refused at once asks again at once (arbitrary)."""


class PasswordVerifier:
    """Answers whether a password fits a stored hash.

    `knows` is true at once for a password that was right before *with this very hash*: who looks the hash up for each
    request locks a changed or removed user out at once. What is kept is a digest under a random key, never a password.
    `check` does a full check in a thread, for a wrong password each time; equal ones at the same time are one.

    One per process, for its event loop. Threads start with the first check, so a verifier may be made before a fork;
    each process and each loop has its own queue.
    """

    def __init__(
        self,
        *,
        threads: int = THREADS,
        remembered: int = REMEMBERED,
        waiting: int = WAITING,
        waiting_each: int = WAITING_EACH,
        refusal_delay: float = REFUSAL_DELAY,
        verify: Callable[[str, str], bool] = passwords.verify,
    ) -> None:
        """*verify* takes the stored hash and the password, and runs in a thread."""
        self.started = 0
        self._threads = threads
        self._remembered = remembered
        self._limits = {"threads": threads, "waiting": waiting, "waiting_each": waiting_each}
        self._refusal_delay = refusal_delay
        self._verify = verify
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._executor: ThreadPoolExecutor | None = None
        self._checks: Checks | None = None
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None

    @property
    def waiting(self) -> int:
        """How many checks wait for a thread."""
        return self._checks.waiting if self._checks is not None else 0

    def knows(self, stored: str, password: str) -> bool:
        """Whether *password* was right for *stored* before; takes microseconds."""
        try:
            self._right.move_to_end(self._digest(stored, password))
        except KeyError:
            return False
        return True

    async def check(self, stored: str, password: str, *, user: str, peer: str) -> bool:
        """Whether *password* is right for *stored*, by a full check in a thread.

        *user* and *peer*, an address without a port, say whose turn it takes. Raises TooManyRequests, after a while,
        where too many checks wait. May be cancelled at any time.
        """
        digest = self._digest(stored, password)
        outcome = await self._at_home().outcome(stored, password, user=user, peer=peer, digest=digest)
        if outcome is None:
            await asyncio.sleep(self._refusal_delay)
            raise TooManyRequests("too many passwords are waiting to be checked")
        if outcome:
            self._right[digest] = None
            if len(self._right) > self._remembered:
                self._right.popitem(last=False)
        return outcome

    def _digest(self, stored: str, password: str) -> bytes:
        # No stored hash has a NUL, so what is hashed can be cut in one place only.
        text = f"{stored}\0{password}".encode("utf-8", "surrogatepass")
        return blake2b(text, key=self._key, digest_size=16).digest()

    def _at_home(self) -> Checks:
        """The checks of the running loop in this process; threads and loops do not come through a fork."""
        home = (os.getpid(), asyncio.get_running_loop())
        if self._checks is None or self._home != home:
            if self._home is not None and self._home[0] != home[0]:
                self._executor = None
            self._home = home
            self._checks = Checks(home[1], self._start, **self._limits)
        return self._checks

    def _start(self, stored: str, password: str) -> asyncio.Future[bool]:
        if self._executor is None:
            # Its threads are joined at exit, and have to be: one that is ended inside bcrypt aborts the process.
            self._executor = ThreadPoolExecutor(self._threads, "passwords", initializer=_give_way)
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._verify, stored, password)
        self.started += 1
        return future


def _give_way() -> None:
    """Let the event loop, and everything else, go first; only Linux knows the niceness of a thread."""
    if sys.platform == "linux":
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
        except OSError:
            pass
