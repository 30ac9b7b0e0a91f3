"""A thread for calls that block, which no exit of the process waits for."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

Result = TypeVar("Result")

_Queue = SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]


class BackgroundThread:
    """Runs one call after the other in a thread of its own, which begins with the first call.

    An executor's threads are waited for when the process ends, and an authority, a name server or a hook may keep a
    call for minutes. This one is left where it is then; so what it does must be safe to be killed in.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: _Queue = SimpleQueue()
        self._lock = threading.Lock()
        self._begun = False

    async def run(self, call: Callable[..., Result], *arguments: object) -> Result:
        """What *call* returns or raises. Cancelled, a call that has begun goes on, and its end is not heard of."""
        with self._lock:
            if not self._begun:
                self._begun = True
                threading.Thread(target=_work, args=(self._queue,), name=self._name, daemon=True).start()
                weakref.finalize(self, self._queue.put, None)
        future: Future[Result] = Future()
        self._queue.put((future, partial(call, *arguments)))
        return await asyncio.wrap_future(future)


def _work(queue: _Queue) -> None:
    while (work := queue.get()) is not None:
        _do(*work)
        # Nothing of the last call is kept while there is no next one.
        del work


def _do(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
        future.set_exception(error)
    else:
        future.set_result(result)
