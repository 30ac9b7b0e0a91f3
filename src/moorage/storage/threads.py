"""Threads for calls that wait for the disk."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class _Task(NamedTuple):
    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Threads:
    """At most *most* threads called *name*, each started when it is first needed.

    A call costs 20 us here; by `concurrent.futures`, whose results asyncio wraps, it costs 60, and a push of a small
    blob is little more than such calls.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._tasks: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._started = 0
        self._busy = 0

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Call *work* in a thread; the future is the running loop's. Raises RuntimeError where no thread can start.

        Cancelling the future does not keep *work* from being called.
        """
        loop = asyncio.get_running_loop()
        if self._busy >= self._started < self._most:
            self._start()
        future: asyncio.Future[T] = loop.create_future()
        self._busy += 1
        self._tasks.put(_Task(work, loop, future))
        return future

    def _start(self) -> None:
        try:
            threading.Thread(target=self._run, name=f"{self._name}-{self._started}", daemon=True).start()
        except RuntimeError:
            if not self._started:
                raise
        else:
            self._started += 1

    def _run(self) -> None:
        while True:
            task = self._tasks.get()
            error: BaseException | None = None
            result: Any = None
            try:
                result = task.work()
            except BaseException as raised:  # noqa: BLE001 - it belongs to whoever waits
                error = raised
            # The loop is closed where this fails: nobody waits any more.
            with suppress(RuntimeError):
                task.loop.call_soon_threadsafe(self._settle, task.future, result, error)
            del task, result, error

    def _settle(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._busy -= 1
        if future.done():  # whoever waited was cancelled
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
