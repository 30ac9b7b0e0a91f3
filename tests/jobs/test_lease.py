from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from moorage.clock import SystemClock
from moorage.jobs.lease import LEASE_SECONDS, Leased
from moorage.metadata.database import Database
from moorage.metadata.migrate import bring_up_to_date
from moorage.metadata.open import open_database

SECOND = 1_000_000


class HandClock:
    """A clock that stands until a test moves it."""

    def __init__(self) -> None:
        self.time = 1_000_000 * SECOND

    def now(self) -> int:
        """Microseconds."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Return at once, later."""
        self.time += int(seconds * SECOND)


Scenario = Callable[[Database, HandClock], Awaitable[list[bool]]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Scenario], list[bool]]:
    """Runs a scenario on an empty database."""

    async def main(scenario: Scenario) -> list[bool]:
        await bring_up_to_date(None, tmp_path)
        database = open_database(None, tmp_path)
        try:
            return await scenario(database, HandClock())
        finally:
            await database.close()

    return lambda scenario: asyncio.run(main(scenario))


def chore(database: Database, clock: HandClock, holder: str) -> Leased:
    """A chore that does nothing, in the process called *holder*."""

    async def nothing() -> bool:
        return False

    return Leased("links", nothing, interval=0.5, database=database, clock=clock, holder=holder)


def test_holder_keeps_the_lease_while_it_runs(run: Callable[[Scenario], list[bool]]) -> None:
    """A holder that asks again and again never loses the lease, and nobody else gets it meanwhile."""

    async def scenario(database: Database, clock: HandClock) -> list[bool]:
        mine, other = chore(database, clock, "mine"), chore(database, clock, "other")
        answers = []
        for _ in range(5):
            answers += [await mine.take(), not await other.take()]
            clock.time += (LEASE_SECONDS - 1) * SECOND // 2
        return answers

    assert all(run(scenario))


def test_lease_of_a_holder_that_is_gone_passes_on(run: Callable[[Scenario], list[bool]]) -> None:
    """Without being extended the lease ends after its time, and the old holder learns of it when it comes back."""

    async def scenario(database: Database, clock: HandClock) -> list[bool]:
        gone, other = chore(database, clock, "gone"), chore(database, clock, "other")
        answers = [await gone.take()]
        clock.time += (LEASE_SECONDS + 1) * SECOND
        return [*answers, await other.take(), await gone.take()]

    assert run(scenario) == [True, True, False]


def test_lease_that_is_given_up_is_free_at_once(run: Callable[[Scenario], list[bool]]) -> None:
    """Another process takes over without waiting, and the one that gave up does not believe it still holds it."""

    async def scenario(database: Database, clock: HandClock) -> list[bool]:
        first, second = chore(database, clock, "first"), chore(database, clock, "second")
        answers = [await first.take()]
        await first.give_up()
        return [*answers, await second.take(), await first.take()]

    assert run(scenario) == [True, True, False]


def test_clock_that_is_set_back_does_not_keep_the_lease(run: Callable[[Scenario], list[bool]]) -> None:
    """Where the clock goes back, the holder asks the database again instead of believing what it remembers."""

    async def scenario(database: Database, clock: HandClock) -> list[bool]:
        mine, other = chore(database, clock, "mine"), chore(database, clock, "other")
        answers = [await mine.take()]
        clock.time += (LEASE_SECONDS + 1) * SECOND
        answers.append(await other.take())
        clock.time -= 2 * LEASE_SECONDS * SECOND
        return [*answers, await mine.take()]

    assert run(scenario) == [True, True, False]


def test_a_long_chore_keeps_its_lease(run: Callable[[Scenario], list[bool]]) -> None:
    """Work of many minutes is not taken over by another process meanwhile, and its answer is what it returns."""

    async def scenario(database: Database, clock: HandClock) -> list[bool]:
        mine, other = chore(database, clock, "mine"), chore(database, clock, "other")
        answers = [await mine.take()]

        async def work() -> bool:
            end = clock.now() + 20 * LEASE_SECONDS * SECOND
            while clock.now() < end:
                await asyncio.sleep(0)
                answers.append(not await other.take())
            return True

        answers.append(await mine.hold(work))
        return answers

    assert all(run(scenario))


def test_a_chore_whose_lease_is_lost_is_broken_off(run: Callable[[Scenario], list[bool]]) -> None:
    """After a suspended machine wakes up, another process has the work, and two would do it at once."""

    async def scenario(database: Database, clock: HandClock) -> list[bool]:
        mine, other = chore(database, clock, "mine"), chore(database, clock, "other")
        answers = [await mine.take()]

        async def work() -> bool:
            clock.time += (LEASE_SECONDS + 1) * SECOND
            answers.append(await other.take())
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                answers.append(True)
                raise
            return True

        answers.append(not await mine.hold(work))
        return answers

    assert run(scenario) == [True, True, True, True]


def test_a_chore_that_is_held_ends_with_its_server(run: Callable[[Scenario], list[bool]]) -> None:
    """Who cancels the loop cancels the work in it, and waits until it has cleaned up."""

    async def scenario(database: Database, clock: HandClock) -> list[bool]:
        answers: list[bool] = []
        begun = asyncio.Event()

        async def work() -> bool:
            begun.set()
            try:
                return await asyncio.Event().wait()
            finally:
                answers.append(True)

        patient = Leased("x", work, interval=1, database=database, clock=SystemClock(), holder="mine")
        task = asyncio.create_task(patient.run())
        await begun.wait()
        task.cancel()
        await asyncio.wait((task,))
        return [*answers, task.cancelled()]

    assert run(scenario) == [True, True]


def test_an_idle_chore_takes_no_lease(run: Callable[[Scenario], list[bool]]) -> None:
    """While there is nothing to do another may have it at once, and so it may after each piece of work."""

    async def scenario(database: Database, clock: HandClock) -> list[bool]:
        other = chore(database, clock, "other")
        answers: list[bool] = []
        idle = iter([True, False, True])
        end = asyncio.Event()

        async def free() -> bool:
            taken = await other.take()
            await other.give_up()
            return taken

        def looks() -> bool:
            found = next(idle, None)
            if found is None:
                end.set()
                raise asyncio.CancelledError
            return found

        async def work() -> bool:
            answers.append(not await free())
            return False

        once = Leased("links", work, interval=1, database=database, clock=clock, holder="mine", idle=looks)
        task = asyncio.create_task(once.run())
        await end.wait()
        await asyncio.wait((task,))
        return [*answers, await free()]

    assert run(scenario) == [True, True]
