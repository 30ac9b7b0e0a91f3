"""Running a handler without a task, until it waits for something.

A task, its queue and the cycle around it are two thirds of a small request. A coroutine that never suspends needs none
of them: it is driven to its end by one `send`. One that does suspend is handed to a task, which goes on where it is.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Rest(Generic[T]):
    """What is left of a coroutine that waits for *awaited*."""

    __slots__ = ("_awaited", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, T], awaited: Any) -> None:
        self._coroutine = coroutine
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, T]:
        """Yield to the task what the coroutine yielded, and so on to its end."""
        awaited = self._awaited
        try:
            while True:
                try:
                    value = yield awaited
                except BaseException as error:  # noqa: BLE001  (the coroutine decides what it means)
                    awaited = self._coroutine.throw(error)
                else:
                    awaited = self._coroutine.send(value)
        except StopIteration as done:
            result: T = done.value
            return result
