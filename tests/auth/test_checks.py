from __future__ import annotations

import asyncio
from collections.abc import Iterator

from moorage.auth.checks import Checks, Outcome


def test_a_request_cancelled_in_the_moment_of_the_answer_stops_nobody() -> None:
    """A client that goes away when the answer is there, but not yet passed on, takes nobody along."""

    async def scene() -> list[Outcome]:
        loop = asyncio.get_running_loop()
        started: list[asyncio.Future[bool]] = []

        def start(stored: str, password: str) -> asyncio.Future[bool]:
            started.append(loop.create_future())
            return started[-1]

        def ask(password: str) -> asyncio.Task[Outcome]:
            digest = password.encode()
            return asyncio.ensure_future(checks.outcome("", password, user="alice", peer="192.0.2.1", digest=digest))

        checks = Checks(loop, start, threads=1, waiting=10, waiting_each=10)
        leaving, staying, queued = ask("one"), ask("one"), ask("two")
        await asyncio.sleep(0)
        started[0].set_result(True)
        leaving.cancel()
        first = await asyncio.wait_for(staying, 30)
        started[1].set_result(False)
        return [first, await asyncio.wait_for(queued, 30)]

    assert asyncio.run(scene()) == [True, False]


def test_without_a_thread_a_check_is_refused() -> None:
    """Where no thread can be started, whoever asks is refused and the next one is tried again."""

    async def scene() -> list[Outcome]:
        loop = asyncio.get_running_loop()
        answers: Iterator[RuntimeError | bool] = iter([RuntimeError("can't start new thread"), True])

        def start(stored: str, password: str) -> asyncio.Future[bool]:
            answer = next(answers)
            if isinstance(answer, RuntimeError):
                raise answer
            future: asyncio.Future[bool] = loop.create_future()
            future.set_result(answer)
            return future

        checks = Checks(loop, start, threads=1, waiting=10, waiting_each=10)
        return [
            await asyncio.wait_for(checks.outcome("", "one", user="alice", peer="192.0.2.1", digest=b"one"), 30)
            for _ in range(2)
        ]

    assert asyncio.run(scene()) == [None, True]
