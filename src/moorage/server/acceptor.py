"""Taking connections off a listening socket that all workers share.

Each worker takes one at a time, so the idle take more. A TLS port looks at the first byte before the handshake: a
client that speaks plain HTTP there is told so instead of seeing noise. While an ACME server may come to look at a
challenge (tls-alpn-01), the whole of the client's hello is looked at.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl

from moorage.message import Face
from moorage.server.aside import Aside, Farewell
from moorage.server.connection import Connection
from moorage.server.serving import Serving
from moorage.tls.contexts import Contexts
from moorage.tls.hello import LONGEST, Hello, read_hello

_log = logging.getLogger("moorage.server")

_TLS_HELLO = b"\x16"
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


class Acceptor:
    """Accepts on *listening* and gives what comes to *face*; *contexts* None is plain HTTP.

    Where TLS is spoken, *aside* answers what comes in the clear; None: such a connection is closed. No more than *most*
    connections are served at a time.
    """

    def __init__(
        self,
        serving: Serving,
        listening: socket.socket,
        face: Face,
        contexts: Contexts | None = None,
        aside: Face | None = None,
        most: int | None = None,
    ) -> None:
        self._serving = serving
        self._listening = listening
        self._face = face
        self._contexts = contexts
        self._aside = aside
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
        contexts = self._contexts
        try:
            if contexts is None:
                await self._loop.connect_accepted_socket(
                    lambda: Connection(serving, self._face, connection, peer, secure=False), connection
                )
                return
            first = await self._first_byte(connection)
            if first == _TLS_HELLO:
                challenge = await self._challenge(contexts, connection) if contexts.pending() else None
                await self._loop.connect_accepted_socket(
                    (lambda: Connection(serving, self._face, connection, peer, secure=True))
                    if challenge is None
                    else Farewell,
                    connection,
                    ssl=challenge or contexts.beginning(connection),
                    ssl_handshake_timeout=serving.limits.header_timeout,
                    ssl_shutdown_timeout=serving.limits.write_timeout,
                )
            elif first and (aside := self._aside):
                await self._loop.connect_accepted_socket(lambda: Aside(serving, aside, connection, peer), connection)
            else:
                connection.close()
        except (OSError, ssl.SSLError) as error:
            serving.log.refusal(peer, 0, f"no TLS handshake: {error}")
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise

    async def _first_byte(self, connection: socket.socket) -> bytes:
        """What the client says first, left where it is; nothing if it goes, or takes too long."""
        try:
            await asyncio.wait_for(self._readable(connection), self._serving.limits.header_timeout)
        except TimeoutError:
            return b""
        return connection.recv(1, socket.MSG_PEEK)

    async def _readable(self, connection: socket.socket) -> None:
        readable: asyncio.Future[None] = self._loop.create_future()
        descriptor = connection.fileno()
        self._loop.add_reader(descriptor, _settle, readable)
        try:
            await readable
        finally:
            self._loop.remove_reader(descriptor)

    async def _challenge(self, contexts: Contexts, connection: socket.socket) -> ssl.SSLContext | None:
        """What to show an ACME server that comes to look at a challenge; None for everybody else."""
        hello = await self._hello(connection)
        return contexts.challenge(hello.server_name) if hello is not None and hello.validates else None

    async def _hello(self, connection: socket.socket) -> Hello | None:
        """The client's hello, left where it is; None where it is none, is too long or does not come to its end.

        It may come in pieces. The kernel is told to call the socket readable only when there is more than has been seen
        (SO_RCVLOWAT, socket(7)), or nothing more will come.
        """
        seen = 0
        try:
            async with asyncio.timeout(self._serving.limits.header_timeout):
                while seen < LONGEST:
                    data = connection.recv(LONGEST, socket.MSG_PEEK)
                    hello = read_hello(data)
                    if hello is not None or len(data) <= seen:
                        return hello
                    seen = len(data)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, seen + 1)
                    await self._readable(connection)
        except TimeoutError:
            raise ConnectionAbortedError("the hello took too long to come") from None
        except ValueError:
            pass
        finally:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        return None


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
