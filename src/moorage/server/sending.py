"""Getting an answer's bytes to the client, at the client's pace.

On a plain socket the kernel sends a file by itself (`sendfile`): no byte of it enters this process. Under TLS, and from
stores without a descriptor, pieces are read and written, one in memory at a time.
"""

from __future__ import annotations

import array
import asyncio
import errno
import fcntl
import os
import select
import socket
import termios
from collections.abc import Callable
from typing import Any

from moorage.errors import MoorageError
from moorage.message import Part

# One sendfile call: about 0.3 ms of this loop's time on loopback.
_SENDFILE_BYTES = 1024 * 1024
# One piece under TLS, and how many bytes may wait in the transport: what a stalled reader costs. Measured, per stalled
# reader: 0.8-1.0 MiB with pieces of 256 KiB, 0.22 with these, 0.12 when each waits for a writable socket; all at the
# same throughput within noise.
_PIECE_BYTES = 32 * 1024
_WAITING_BYTES = 64 * 1024
# How much is given to TLS before other connections get their turn.
_TURN_BYTES = 8 * _PIECE_BYTES


class Gone(MoorageError):
    """The client is gone, or the content is shorter than announced: the answer cannot be finished."""


class ClosedTransport:
    """What stands for a transport that is gone; it takes everything and does nothing.

    The loop's own TLS transport and the connection hold each other. Letting go of it frees its buffers at once and not
    when the garbage collector comes round to it.
    """

    def is_closing(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int) -> None:
        """Nothing."""

    def write(self, data: bytes) -> None:
        """Nothing."""

    def write_eof(self) -> None:
        """Nothing."""

    def pause_reading(self) -> None:
        """Nothing."""

    def resume_reading(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""

    def abort(self) -> None:
        """Nothing."""


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
        self._transport = ClosedTransport()
        self._callbacks.clear()
        self._wake()

    def when_resumed(self, callback: Callable[[], None]) -> None:
        """Call back once there is room."""
        self._callbacks.append(callback)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def pending(self) -> bool:
        """Whether something waits in this process for the client to take it."""
        return self.paused or self._waiter is not None or self._transport.get_write_buffer_size() > 0

    def delivered(self) -> bool:
        """Whether the client has everything that was ever sent."""
        return not self.pending() and not self._queued()

    def progress(self) -> int:
        """A number that changes while the client takes what it is sent.

        The kernel holds megabytes, and calls a socket writable again when a third of that is free. A client may need
        minutes for so much and is no stalled one: what it has not acknowledged yet counts too (tcp(7), SIOCOUTQ).
        """
        waiting: int = self._transport.get_write_buffer_size()
        return self.sent - waiting - self._queued()

    def _queued(self) -> int:
        """How many bytes the kernel holds that the client has not acknowledged."""
        queued = array.array("i", [0])
        try:
            fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, queued)
        except (OSError, ValueError):
            return 0
        return queued[0]

    async def send(self, head: bytes, parts: tuple[bytes | Part, ...]) -> None:
        """Send *head* and *parts*. Raises Gone."""
        if self._plain and any(isinstance(part, Part) and part.content.fileno() is not None for part in parts):
            await self._send_past_transport(head, parts)
            return
        await self._write(head)
        for part in parts:
            await (self._write(part) if isinstance(part, bytes) else self._copy(part))

    async def _write(self, data: bytes) -> None:
        if self._lost or self._transport.is_closing():
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
        """Read and write piece by piece, each once the socket can take it: what waits above it costs memory."""
        offset, end = part.offset, part.offset + part.length
        writable = _Writable(self._loop, self._socket)
        try:
            while offset < end:
                if not writable.now():
                    await self._wait_for(writable)
                data = part.content.read(offset, min(_PIECE_BYTES, end - offset))
                if not data:
                    raise Gone("the content is shorter than it should be")
                await self._write(data)
                offset += len(data)
                if not (offset - part.offset) % _TURN_BYTES:
                    # Others have their turn. And a client may be gone: until the loop comes round and says so, TLS
                    # takes any number of bytes and drops them.
                    await asyncio.sleep(0)
        finally:
            writable.close()

    async def _send_past_transport(self, head: bytes, parts: tuple[bytes | Part, ...]) -> None:
        """Give everything to the socket itself, once the transport has nothing left that comes before it."""
        await self._flush()
        writable = _Writable(self._loop, self._socket)
        last = parts[-1]
        try:
            await self._push(head, writable, more=True)
            for part in parts:
                if isinstance(part, bytes):
                    await self._push(part, writable, more=part is not last)
                elif (descriptor := part.content.fileno()) is not None:
                    await self._sendfile(part, descriptor, writable)
                else:
                    await self._copy(part)
                    await self._flush()
        except OSError as error:
            if error.errno == errno.EIO:  # the file's, not the socket's
                raise
            raise Gone(f"the client closed the connection: {error}") from error
        finally:
            writable.close()

    async def _flush(self) -> None:
        """Wait until the transport holds nothing."""
        if not self._transport.get_write_buffer_size():
            return
        self._transport.set_write_buffer_limits(high=0)
        try:
            while self.paused:
                await self._wait()
        finally:
            if not self._transport.is_closing():
                self._transport.set_write_buffer_limits(high=_WAITING_BYTES)

    async def _push(self, data: bytes, writable: _Writable, *, more: bool) -> None:
        """Send *data*; *more* lets the kernel wait for what follows at once, and fill its packets."""
        rest = memoryview(data)
        while rest:
            try:
                sent = self._socket.send(rest, socket.MSG_MORE if more else 0)
            except BlockingIOError:
                await self._wait_for(writable)
                continue
            rest = rest[sent:]
            self.sent += sent

    async def _sendfile(self, part: Part, descriptor: int, writable: _Writable) -> None:
        offset, end = part.offset, part.offset + part.length
        while offset < end:
            try:
                sent = os.sendfile(self._socket.fileno(), descriptor, offset, min(_SENDFILE_BYTES, end - offset))
            except BlockingIOError:
                await self._wait_for(writable)
                continue
            if not sent:
                raise Gone("the content is shorter than it should be")
            offset += sent
            self.sent += sent
            if offset < end:
                await asyncio.sleep(0)

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

    The loop lets nobody else watch its transports' descriptors, so a duplicate is watched, made when it is needed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self._loop = loop
        self._socket = sock
        self._descriptor = -1
        self._poll = select.poll()

    def now(self) -> bool:
        """Whether the socket takes bytes; also if it has an error to tell, or is closed."""
        descriptor = self._socket.fileno()
        if descriptor < 0:
            return True
        self._poll.register(descriptor, select.POLLOUT)
        return bool(self._poll.poll(0))

    def call(self, callback: Callable[[], None]) -> None:
        """Call back once the socket takes bytes again. Raises OSError when it is closed."""
        if self._descriptor < 0:
            self._descriptor = os.dup(self._socket.fileno())
        self._loop.add_writer(self._descriptor, callback)

    def stop(self) -> None:
        """Watch no more."""
        if self._descriptor >= 0:
            self._loop.remove_writer(self._descriptor)

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
