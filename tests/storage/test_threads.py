from __future__ import annotations

import asyncio
import threading

import pytest

from moorage.storage.threads import Threads


def test_result_and_error_come_back() -> None:
    """What a call returns is returned to whoever waits, and what it raises is raised there."""
    threads = Threads(2, "test")

    async def scenario() -> str:
        with pytest.raises(ZeroDivisionError):
            await threads.submit(lambda: 1 // 0)
        return await threads.submit(lambda: threading.current_thread().name)

    assert asyncio.run(scenario()).startswith("test-")


def test_calls_run_side_by_side_up_to_the_bound() -> None:
    """As many calls run at once as there may be threads; the next one waits for one of them."""
    threads = Threads(3, "test")
    together = threading.Barrier(4)
    begun = threading.Semaphore(0)

    def work() -> None:
        begun.release()
        together.wait()

    async def scenario() -> int:
        calls = [threads.submit(work) for _ in range(3)]
        fourth = threads.submit(begun.release)
        for _ in range(3):
            await asyncio.to_thread(begun.acquire)
        waiting = int(begun.acquire(blocking=False))
        await asyncio.to_thread(together.wait)
        await asyncio.gather(*calls, fourth)
        return waiting

    assert asyncio.run(scenario()) == 0


def test_cancelled_call_still_runs() -> None:
    """Work goes on to its end when its caller is cancelled, and the thread takes the next call."""
    threads = Threads(1, "test")
    go, done = threading.Event(), threading.Event()

    def work() -> None:
        go.wait()
        done.set()

    async def scenario() -> int:
        call = threads.submit(work)
        call.cancel()
        go.set()
        return await threads.submit(lambda: 42)

    assert asyncio.run(scenario()) == 42
    assert done.is_set()


def test_threads_outlive_a_loop() -> None:
    """A loop that was closed while its call ran does no harm to the next one."""
    threads = Threads(1, "test")
    go = threading.Event()

    async def leave() -> None:
        threads.submit(go.wait)

    async def stay() -> int:
        return await threads.submit(lambda: 7)

    asyncio.run(leave())
    go.set()

    assert asyncio.run(stay()) == 7
