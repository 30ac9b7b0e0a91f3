"""Getting an answer's bytes to the client, at the client's pace.

On a plain socket the kernel sends a file by itself (`sendfile`): no byte of it enters this process. Under TLS, and from
stores without a descriptor, pieces are read and written, one in memory at a time.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

from moorage.errors import MoorageError
from moorage.message import Part

# One sendfile call: about 0.3 ms of this loop's time on loopback.
_SENDFILE_BYTES = 1024 * 1024
# One piece under TLS, and how many bytes may wait in the transport: what a stalled reader costs. Measured: 256 KiB
# pieces cost 0.8-1.0 MiB per stalled reader, 16 KiB ones 0.1, at the same throughput within noise.
_PIECE_BYTES = 32 * 1024
_WAITING_BYTES = 64 * 1024


class Gone(MoorageError):
    """The client is gone, or the content is shorter than announced: the answer cannot be finished."""


class Sender:
    """The sending half of a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: Any, sock: socket.socket, *, plain: bool) -> None:
        self._loop = loop
        self._transport = transport
        self._socket = sock
        self._plain = plain
        self._waiter: asyncio.Future[None] | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._lost = False
        self.paused = False
        self.sent = 0
        transport.set_write_buffer_limits(high=_WAITING_BYTES)

    def pause(self) -> None:
        """The transport's buffer is full."""
        self.paused = True

    def resume(self) -> None:
        """The transport's buffer has room."""
        self.paused = False
        self._wake()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def lose(self) -> None:
        """The connection is gone."""
        self._lost = True
        self._callbacks.clear()
        self._wake()

    def when_resumed(self, callback: Callable[[], None]) -> None:
        """Call back once there is room."""
        self._callbacks.append(callback)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def pending(self) -> bool:
        """Whether the client has still to take something."""
        return self._waiter is not None or self._transport.get_write_buffer_size() > 0

    def progress(self) -> int:
        """A number that changes while the client takes what it is sent."""
        waiting: int = self._transport.get_write_buffer_size()
        return self.sent - waiting

    async def send(self, head: bytes, parts: tuple[bytes | Part, ...]) -> None:
        """Send *head* and *parts*. Raises Gone."""
        await self._write(head)
        for part in parts:
            if isinstance(part, bytes):
                await self._write(part)
                continue
            descriptor = part.content.fileno() if self._plain else None
            if descriptor is None:
                await self._copy(part)
            else:
                await self._sendfile(part, descriptor)

    async def _write(self, data: bytes) -> None:
        if self._lost:
            raise Gone("the client closed the connection")
        self._transport.write(data)
        self.sent += len(data)
        if self.paused:
            await self._wait()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._lost:
            raise Gone("the client closed the connection")

    async def _copy(self, part: Part) -> None:
        offset, end = part.offset, part.offset + part.length
        while offset < end:
            data = part.content.read(offset, min(_PIECE_BYTES, end - offset))
            if not data:
                raise Gone("the content is shorter than it should be")
            await self._write(data)
            offset += len(data)

    async def _sendfile(self, part: Part, descriptor: int) -> None:
        while self._transport.get_write_buffer_size():
            # uvloop writes at the end of its cycle; the file must not overtake the head.
            await asyncio.sleep(0 if not self.paused else 0.01)
            if self._lost:
                raise Gone("the client closed the connection")
        offset, end = part.offset, part.offset + part.length
        writable: _Writable | None = None
        try:
            while offset < end:
                try:
                    sent = os.sendfile(self._socket.fileno(), descriptor, offset, min(_SENDFILE_BYTES, end - offset))
                except BlockingIOError:
                    writable = writable or _Writable(self._loop, self._socket.fileno())
                    await self._wait_for(writable)
                    continue
                except OSError as error:
                    raise Gone(f"the client closed the connection: {error}") from error
                if not sent:
                    raise Gone("the content is shorter than it should be")
                offset += sent
                self.sent += sent
                if offset < end:
                    await asyncio.sleep(0)
        finally:
            if writable is not None:
                writable.close()

    async def _wait_for(self, writable: _Writable) -> None:
        self._waiter = self._loop.create_future()
        writable.call(self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            writable.stop()
        if self._lost:
            raise Gone("the client closed the connection")


class _Writable:
    """Tells when a socket that the transport owns can be written to.

    The loop lets nobody else watch its transports' descriptors, so a duplicate is watched.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
        self._loop = loop
        self._descriptor = os.dup(descriptor)

    def call(self, callback: Callable[[], None]) -> None:
        """Call back once the socket takes bytes again."""
        self._loop.add_writer(self._descriptor, callback)

    def stop(self) -> None:
        """Watch no more."""
        self._loop.remove_writer(self._descriptor)

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self._descriptor)
