"""A request's body, handed on as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from moorage.errors import ClientGone, TooLarge

# What may wait in memory while the handler is busy with something else (arbitrary, but bounded).
_PENDING_BYTES = 64 * 1024


class Source(Protocol):
    """The connection, as its bodies see it."""

    def hold(self) -> None:
        """Read no more for now."""
        ...

    def want(self) -> None:
        """Read on; tell a client that waits for it to continue (RFC 9110, 10.1.1)."""
        ...


class RequestBody:
    """Implements `moorage.message.Body` over a connection that feeds it."""

    __slots__ = ("_discard", "_error", "_length", "_pending", "_sink", "_source", "_waiter", "complete", "received")

    def __init__(self, source: Source, length: int | None) -> None:
        self._source = source
        self._length = length
        self._pending: bytearray | None = None
        self._sink: Callable[[memoryview], None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._discard = False
        self.received = 0
        self.complete = length == 0

    @property
    def length(self) -> int | None:
        """See `Body.length`."""
        return self._length

    @property
    def waiting(self) -> bool:
        """Whether a handler waits for more bytes from the client."""
        return self._waiter is not None

    @property
    def remaining(self) -> int | None:
        """Bytes that the client has still to send, None when that is not known."""
        if self.complete:
            return 0
        return None if self._length is None else self._length - self.received

    async def receive(self, sink: Callable[[memoryview], None]) -> int:
        """See `Body.receive`."""
        if self._pending:
            sink(memoryview(self._pending))
            self._pending = None
        if not self.complete and self._error is None:
            self._sink = sink
            self._waiter = asyncio.get_running_loop().create_future()
            self._source.want()
            try:
                await self._waiter
            finally:
                self._waiter = self._sink = None
        if self._error is not None:
            raise self._error
        return self.received

    async def read(self, limit: int) -> bytes:
        """See `Body.read`."""
        if self._length is not None and self._length > limit:
            raise TooLarge(f"the body has more than {limit} bytes")
        collected = bytearray()

        def collect(data: memoryview) -> None:
            if len(collected) + len(data) > limit:
                raise TooLarge(f"the body has more than {limit} bytes")
            collected.extend(data)

        await self.receive(collect)
        return bytes(collected)

    def feed(self, data: memoryview) -> None:
        """Take bytes from the connection."""
        self.received += len(data)
        if self._discard:
            return
        if self._sink is not None:
            try:
                self._sink(data)
            except Exception as error:  # noqa: BLE001  (raised again where the body is awaited)
                self._fail(error)
                # Until there is an answer: nothing is gained by taking the rest as fast as the client can send it.
                self._source.hold()
            return
        if self._pending is None:
            self._pending = bytearray()
        self._pending += data
        if len(self._pending) > _PENDING_BYTES:
            self._source.hold()

    def finish(self) -> None:
        """The last byte has come."""
        self.complete = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def abandon(self) -> None:
        """Nobody will take the rest: the response is on its way."""
        self._discard = True
        self._pending = None

    def lose(self, why: str) -> None:
        """The client will send no more."""
        if not self.complete:
            self._fail(ClientGone(why))

    def spoil(self, error: Exception) -> None:
        """What follows cannot be understood; *error* is raised where the body is received."""
        if not self.complete:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._sink = None
        self.abandon()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Nowhere:
    """Where nothing comes from."""

    def hold(self) -> None:
        """Nothing."""

    def want(self) -> None:
        """Nothing."""


EMPTY = RequestBody(_Nowhere(), 0)
"""The body of every request that has none: complete from the beginning, it never changes."""
