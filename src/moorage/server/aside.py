"""Connections that are served beside the registry's own."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from moorage.message import Face
from moorage.server.connection import Connection
from moorage.server.exchange import Exchange
from moorage.server.serving import Serving


class Aside(Connection):
    """Plain HTTP where TLS is spoken: one request, one answer, and the end."""

    def __init__(self, serving: Serving, face: Face, sock: socket.socket, peer: str) -> None:
        super().__init__(serving, face, sock, peer, secure=False)

    def _begin(self, exchange: Exchange) -> None:
        exchange.keep_alive = False
        super()._begin(exchange)


class Farewell(asyncio.Protocol):
    """A TLS connection that ends with its handshake, as one that validates by tls-alpn-01 does (RFC 8737, 3)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is done."""
        cast("asyncio.Transport", transport).close()
