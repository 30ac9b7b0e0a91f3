"""One worker process: an event loop, the connections it accepts, and its end."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import uvloop

from moorage.message import Face
from moorage.observe.access import AccessLog, NoAccessLog
from moorage.server import heap
from moorage.server.acceptor import Acceptor
from moorage.server.forwarded import Network
from moorage.server.serving import Limits, Serving
from moorage.tls.files import CertificateFiles

_log = logging.getLogger("moorage.server")

# A changed certificate is in force within a second.
_LOOK_SECONDS = 0.5
_FLUSH_SECONDS = 0.25
_TRIM_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, and whether it speaks TLS."""

    socket: socket.socket
    secure: bool


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker serves.

    *open_face* is called inside the worker, since nothing with a thread or a connection outlives a fork; it returns the
    face and what closes it. *log_descriptor* None keeps no access log.
    """

    listeners: Sequence[Listener]
    certificates: CertificateFiles | None
    open_face: Callable[[], Awaitable[tuple[Face, Callable[[], Awaitable[None]]]]]
    limits: Limits
    drain_seconds: float
    connections: int | None
    trusted: Sequence[Network]
    log_descriptor: int | None
    log_text: bool
    log_fields: dict[str, str]


def run(work: Work) -> None:
    """Serve until SIGTERM, then drain."""
    gc.freeze()
    heap.keep_large_buffers_off()
    uvloop.run(_serve(work))


async def _serve(work: Work) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    # Ctrl-C reaches every process of the terminal; the parent turns it into SIGTERM, in its own order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    face, close = await work.open_face()
    serving = Serving(face, work.limits, _access_log(work), work.trusted)
    certificates = work.certificates
    acceptors = [
        Acceptor(
            serving,
            listener.socket,
            (lambda: certificates.context) if listener.secure and certificates is not None else None,
            work.connections,
        )
        for listener in work.listeners
    ]
    for acceptor in acceptors:
        acceptor.start()
    chores = [asyncio.create_task(_flush(serving.log)), asyncio.create_task(_trim())]
    if certificates is not None:
        chores.append(asyncio.create_task(_watch(certificates)))
    await stop.wait()
    for acceptor in acceptors:
        acceptor.stop()
    for listener in work.listeners:
        listener.socket.close()
    await serving.drain(work.drain_seconds)
    for chore in chores:
        chore.cancel()
    await close()


def _access_log(work: Work) -> AccessLog:
    if work.log_descriptor is None:
        return NoAccessLog()
    return AccessLog(work.log_descriptor, time.monotonic, text=work.log_text, fields=work.log_fields)


async def _watch(certificates: CertificateFiles) -> None:
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        certificates.refresh()


async def _flush(log: AccessLog) -> None:
    while True:
        await asyncio.sleep(_FLUSH_SECONDS)
        log.flush()


async def _trim() -> None:
    while True:
        await asyncio.sleep(_TRIM_SECONDS)
        heap.trim()
