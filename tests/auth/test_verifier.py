from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from moorage.auth import passwords
from moorage.auth.verifier import NICENESS, PasswordVerifier
from moorage.errors import TooManyRequests

STORED = passwords.hash_bcrypt("right", 4)
OTHER = passwords.hash_bcrypt("right", 4)


class Gate:
    """A real check that waits until it is let through, and notes the order of passwords."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.order: list[str] = []

    def verify(self, stored: str, password: str) -> bool:
        assert self.open.wait(30)
        self.order.append(password)
        return passwords.verify(stored, password)


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as *condition* holds."""
    while not condition():  # noqa: ASYNC110  what is waited for happens in a thread, or is a plain number
        await asyncio.sleep(0.001)


def ask(
    verifier: PasswordVerifier, password: str, *, stored: str = STORED, user: str = "alice", peer: str = "192.0.2.1"
) -> asyncio.Task[bool]:
    """Start a request with that password."""
    return asyncio.ensure_future(verifier.check(stored, password, user=user, peer=peer))


def test_a_right_password_is_known_afterwards_for_that_hash_only() -> None:
    """Known is what was right, together with the very hash that it was right for."""
    verifier = PasswordVerifier()

    assert not verifier.knows(STORED, "right")
    assert asyncio.run(verifier.check(STORED, "right", user="alice", peer="192.0.2.1"))
    assert verifier.knows(STORED, "right")
    assert not verifier.knows(OTHER, "right")
    assert not verifier.knows(STORED, "wrong")


def test_a_wrong_password_costs_a_check_each_time() -> None:
    """Asking again for the same wrong password is a full check again, and it is never known."""
    verifier = PasswordVerifier()

    async def guess() -> list[bool]:
        return [await ask(verifier, "wrong") for _ in range(3)]

    assert asyncio.run(guess()) == [False] * 3
    assert verifier.started == 3
    assert not verifier.knows(STORED, "wrong")


def test_the_oldest_known_password_is_forgotten() -> None:
    """No more than the given number is remembered; using one keeps it."""
    verifier = PasswordVerifier(remembered=2)
    hashes = [passwords.hash_bcrypt("right", 4) for _ in range(3)]

    async def log_in() -> None:
        for number, stored in enumerate(hashes):
            await ask(verifier, "right", stored=stored)
            assert number < 1 or verifier.knows(hashes[0], "right")

    asyncio.run(log_in())

    assert [verifier.knows(stored, "right") for stored in hashes] == [True, False, True]


def test_equal_checks_at_the_same_time_are_one() -> None:
    """Ten connections of one client that has just started cost one check, and all get its answer."""
    verifier = PasswordVerifier()

    async def burst() -> list[bool]:
        return await asyncio.gather(*(ask(verifier, "right") for _ in range(10)))

    assert asyncio.run(burst()) == [True] * 10
    assert verifier.started == 1


def test_equal_passwords_of_two_users_are_two_checks() -> None:
    """Unknown users share a decoy hash; if they shared a check too, two of them would be faster than two known ones."""
    verifier = PasswordVerifier()

    async def burst() -> None:
        await asyncio.gather(ask(verifier, "wrong", user="alice"), ask(verifier, "wrong", user="bob"))

    asyncio.run(burst())

    assert verifier.started == 2


@pytest.mark.parametrize(("user", "peer"), [("bob", "192.0.2.1"), ("alice", "192.0.2.2"), ("bob", "192.0.2.2")])
def test_guesses_of_others_do_not_starve_a_first_login(user: str, peer: str) -> None:
    """A first login goes before all but two guesses that were there already: one that runs and one that was next."""
    gate = Gate()
    verifier = PasswordVerifier(threads=1, verify=gate.verify)

    async def flood() -> bool:
        guesses = [ask(verifier, f"guess {number}") for number in range(40)]
        await until(lambda: verifier.waiting == 39)
        login = ask(verifier, "right", user=user, peer=peer)
        await until(lambda: verifier.waiting == 40)
        gate.open.set()
        await asyncio.gather(*guesses)
        return await login

    assert asyncio.run(flood())
    assert gate.order.index("right") <= 2


def test_too_many_waiting_checks_are_refused() -> None:
    """Where the queue is full, the client that fills it is refused and another one still gets in."""
    gate = Gate()
    verifier = PasswordVerifier(threads=1, waiting=4, refusal_delay=0, verify=gate.verify)

    async def flood() -> tuple[list[bool | BaseException], bool]:
        guesses = [ask(verifier, f"guess {number}") for number in range(10)]
        await until(lambda: verifier.waiting == 4)
        login = ask(verifier, "right", user="bob", peer="192.0.2.2")
        await asyncio.sleep(0)
        gate.open.set()
        return await asyncio.gather(*guesses, return_exceptions=True), await login

    answers, logged_in = asyncio.run(flood())

    assert logged_in
    assert sum(isinstance(answer, TooManyRequests) for answer in answers) == 6
    assert [answer for answer in answers if not isinstance(answer, TooManyRequests)] == [False] * 4
    assert verifier.started == 5


def test_a_cancelled_request_leaves_the_queue() -> None:
    """A client that goes away takes its waiting check along, and everybody else is served."""
    gate = Gate()
    verifier = PasswordVerifier(threads=1, verify=gate.verify)

    async def come_and_go() -> bool:
        running = ask(verifier, "running")
        await until(lambda: verifier.started == 1)
        waiting = [ask(verifier, f"gone {number}") for number in range(5)]
        login = ask(verifier, "right")
        await until(lambda: verifier.waiting == 6)
        for task in (running, *waiting):
            task.cancel()
        await asyncio.gather(running, *waiting, return_exceptions=True)
        assert verifier.waiting == 1
        gate.open.set()
        return await login

    assert asyncio.run(come_and_go())
    assert gate.order == ["running", "right"]


def test_a_cancelled_request_does_not_take_others_along() -> None:
    """Of several that wait for one check each may go away alone, before it runs and while it runs."""
    gate = Gate()
    verifier = PasswordVerifier(threads=1, verify=gate.verify)

    async def share() -> list[bool]:
        running = [ask(verifier, "right") for _ in range(3)]
        queued = [ask(verifier, "wrong") for _ in range(3)]
        await until(lambda: verifier.waiting == 1)
        running[0].cancel()
        queued[0].cancel()
        await asyncio.gather(running[0], queued[0], return_exceptions=True)
        gate.open.set()
        return await asyncio.gather(*running[1:], *queued[1:])

    assert asyncio.run(share()) == [True, True, False, False]
    assert verifier.started == 2


def test_cancelling_everything_wedges_nothing() -> None:
    """After every waiting and running request was cancelled, the next one is served."""
    gate = Gate()
    verifier = PasswordVerifier(threads=2, verify=gate.verify)

    async def storm() -> bool:
        for _ in range(3):
            tasks = [ask(verifier, f"guess {number}", user=f"user {number % 3}") for number in range(20)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert verifier.waiting == 0
        gate.open.set()
        return await ask(verifier, "right")

    assert asyncio.run(storm())


def test_an_error_of_a_check_reaches_who_waits_and_nobody_else() -> None:
    """A check that breaks, as for lack of memory, fails its own requests; its thread goes on."""

    def verify(stored: str, password: str) -> bool:
        if password == "break":
            raise MemoryError
        return passwords.verify(stored, password)

    verifier = PasswordVerifier(threads=1, verify=verify)

    async def both() -> tuple[bool | BaseException, bool | BaseException]:
        return await asyncio.gather(ask(verifier, "break"), ask(verifier, "right"), return_exceptions=True)

    broken, right = asyncio.run(both())

    assert isinstance(broken, MemoryError)
    assert right is True


def test_each_event_loop_is_served() -> None:
    """A loop that ends in mid-check leaves nothing behind that the next loop would wait for."""
    gate = Gate()
    verifier = PasswordVerifier(threads=1, verify=gate.verify)

    async def leave() -> None:
        tasks = [ask(verifier, f"guess {number}") for number in range(3)]
        await until(lambda: verifier.started == 1)
        for task in tasks:
            task.cancel()

    asyncio.run(leave())
    gate.open.set()

    assert asyncio.run(verifier.check(STORED, "right", user="alice", peer="192.0.2.1"))


def test_checks_give_way() -> None:
    """A checking thread has a lower priority than the thread of the event loop, which keeps its own."""
    seen: list[int] = []

    def verify(stored: str, password: str) -> bool:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return True

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    asyncio.run(PasswordVerifier(verify=verify).check(STORED, "right", user="alice", peer="192.0.2.1"))

    assert seen == [min(before + NICENESS, 19)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


FORK = """
import asyncio, os
from moorage.auth import passwords
from moorage.auth.verifier import PasswordVerifier

stored = passwords.hash_bcrypt("right", 4)
verifier = PasswordVerifier(threads=1)

async def both():
    return [await verifier.check(stored, word, user="alice", peer="192.0.2.1") for word in ("wrong", "right")]

if {before}:
    assert asyncio.run(both()) == [False, True]
if os.fork():
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
assert asyncio.run(both()) == [False, True]
"""

LEAVE = """
import asyncio
from moorage.auth import passwords
from moorage.auth.verifier import PasswordVerifier

async def leave():
    task = asyncio.ensure_future(verifier.check(passwords.decoy_bcrypt(9), "wrong", user="alice", peer="192.0.2.1"))
    while not verifier.started:
        await asyncio.sleep(0)
    task.cancel()

verifier = PasswordVerifier()
asyncio.run(leave())
"""


@pytest.mark.parametrize("before", [False, True])
def test_a_forked_worker_has_threads_of_its_own(before: bool) -> None:  # noqa: FBT001
    """A verifier works in parent and child alike, whether or not it was used before the fork."""
    script = FORK.format(before=before)

    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], timeout=60, check=False)

    assert done.returncode == 0


def test_a_process_may_end_in_mid_check() -> None:
    """The check is waited for: an interpreter that ends a thread inside bcrypt aborts with a core dump."""
    done = subprocess.run([sys.executable, "-c", LEAVE], timeout=60, check=False, capture_output=True)

    assert (done.returncode, done.stderr) == (0, b"")
