"""Taking connections off a listening socket that all workers share.

Each worker takes one at a time, so the idle take more. A TLS port looks at the first byte before the handshake: a
client that speaks plain HTTP there is told so instead of seeing noise.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable

from moorage.server.connection import Connection
from moorage.server.serving import Serving

_log = logging.getLogger("moorage.server")

_TLS_HELLO = 0x16
_OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# What was wrong with the network of the new connection: there may be another one behind it (accept(2)).
_UNLUCKY = {
    errno.ECONNABORTED,
    errno.EINTR,
    errno.EPERM,
    errno.EPROTO,
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENONET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
}
_PLAIN_ON_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This port speaks TLS: use https://\n"
)


class Acceptor:
    """Accepts on *listening*; *context* gives the TLS context for a new connection, None for plain HTTP."""

    def __init__(
        self,
        serving: Serving,
        listening: socket.socket,
        context: Callable[[], ssl.SSLContext] | None,
        most: int | None = None,
    ) -> None:
        self._serving = serving
        self._listening = listening
        self._context = context
        self._most = most
        self._loop = serving.loop
        self._stopped = False

    def start(self) -> None:
        """Begin, or begin again."""
        if not self._stopped:
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def stop(self) -> None:
        """Take no more connections than the kernel has taken already."""
        self._stopped = True
        self._loop.remove_reader(self._listening.fileno())
        while self._accept():
            pass

    def _rest(self) -> None:
        self._loop.remove_reader(self._listening.fileno())
        self._loop.call_later(0.5, self.start)

    def _accept(self) -> bool:
        """Take one connection; False if there is none, or none may be taken now."""
        if self._most is not None and len(self._serving.connections) >= self._most:
            self._rest()
            return False
        try:
            connection, address = self._listening.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _UNLUCKY:
                return True
            if error.errno not in _OUT_OF_FILES:
                raise
            _log.error("no more connections can be taken now: %s (see ulimit -n)", error.strerror)
            self._rest()
            return False
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = address[0] if connection.family != socket.AF_UNIX else "unix"
        task = self._loop.create_task(self._connect(connection, peer))
        self._serving.arriving.add(task)
        task.add_done_callback(self._serving.arriving.discard)
        return True

    async def _connect(self, connection: socket.socket, peer: str) -> None:
        serving = self._serving
        secure = self._context is not None
        try:
            if self._context is None:
                await self._loop.connect_accepted_socket(
                    lambda: Connection(serving, connection, peer, secure=secure), connection
                )
                return
            if not await self._says_hello(connection):
                connection.close()
                return
            await self._loop.connect_accepted_socket(
                lambda: Connection(serving, connection, peer, secure=secure),
                connection,
                ssl=self._context(),
                ssl_handshake_timeout=serving.limits.header_timeout,
                ssl_shutdown_timeout=serving.limits.write_timeout,
            )
        except (OSError, ssl.SSLError) as error:
            serving.log.refusal(peer, 0, f"no TLS handshake: {error}")
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise

    async def _says_hello(self, connection: socket.socket) -> bool:
        """Whether the client begins a TLS handshake; one that speaks HTTP is told where it is."""
        readable: asyncio.Future[None] = self._loop.create_future()
        descriptor = connection.fileno()
        self._loop.add_reader(descriptor, _settle, readable)
        try:
            await asyncio.wait_for(readable, self._serving.limits.header_timeout)
        except TimeoutError:
            return False
        finally:
            self._loop.remove_reader(descriptor)
        first = connection.recv(1, socket.MSG_PEEK)
        if first and first[0] != _TLS_HELLO:
            connection.recv(65536)
            connection.send(_PLAIN_ON_TLS)
            connection.shutdown(socket.SHUT_WR)
            return False
        return bool(first)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
