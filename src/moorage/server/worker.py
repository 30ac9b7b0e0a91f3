"""One worker process: an event loop, the connections it accepts, and its end."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import uvloop

from moorage.observe.access import AccessLog, NoAccessLog
from moorage.server import heap
from moorage.server.acceptor import Acceptor
from moorage.server.faces import Faces
from moorage.server.forwarded import Network
from moorage.server.heartbeat import keep_beating
from moorage.server.serving import Limits, Serving
from moorage.tls.contexts import Contexts

_log = logging.getLogger("moorage.server")

# A changed certificate is in force within a second.
_LOOK_SECONDS = 0.5
_FLUSH_SECONDS = 0.25
_TRIM_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, whether it speaks TLS, and which of `Faces` answers there."""

    socket: socket.socket
    secure: bool
    use: Literal["registry", "plain", "metrics"] = "registry"


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker serves.

    *open_faces* is called inside the worker, since nothing with a thread or a connection outlives a fork. *contexts*
    None: no listener speaks TLS. *log_descriptor* None keeps no access log.
    """

    listeners: Sequence[Listener]
    contexts: Contexts | None
    open_faces: Callable[[], Awaitable[Faces]]
    limits: Limits
    drain_seconds: float
    connections: int | None
    trusted: Sequence[Network]
    log_descriptor: int | None
    log_text: bool
    log_fields: dict[str, str]


def run(work: Work, beat: Callable[[], None] | None = None) -> None:
    """Serve until SIGTERM, then drain; *beat* is called each second from the first moment of serving on."""
    gc.freeze()
    heap.keep_large_buffers_off()
    uvloop.run(_serve(work, beat))


async def _serve(work: Work, beat: Callable[[], None] | None) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    # Ctrl-C reaches every process of the terminal; the parent turns it into SIGTERM, in its own order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    sys.unraisablehook = _unraisable
    faces = await work.open_faces()
    serving = Serving(work.limits, _access_log(work), work.trusted)
    if work.contexts is not None:
        # A worker that takes a dead one's place knows what the parent knew when it started.
        work.contexts.refresh()
    acceptors = [_acceptor(serving, faces, work, listener) for listener in work.listeners]
    for acceptor in acceptors:
        acceptor.start()
    chores = [asyncio.create_task(_flush(serving.log)), asyncio.create_task(_trim())]
    if work.contexts is not None:
        chores.append(asyncio.create_task(_watch(work.contexts)))
    if beat is not None:
        chores.append(asyncio.create_task(keep_beating(beat)))
    await stop.wait()
    for acceptor in acceptors:
        acceptor.stop()
    for listener in work.listeners:
        listener.socket.close()
    await serving.drain(work.drain_seconds)
    for chore in chores:
        chore.cancel()
    await faces.close()


def _acceptor(serving: Serving, faces: Faces, work: Work, listener: Listener) -> Acceptor:
    contexts = work.contexts if listener.secure else None
    # Figures are wanted most when there are too many connections.
    most = None if listener.use == "metrics" else work.connections
    return Acceptor(serving, listener.socket, getattr(faces, listener.use), contexts, faces.aside, most)


def _unraisable(failure: Any) -> None:
    """A server name beyond ASCII ends its handshake in `ssl`, which would print a traceback for each."""
    if not isinstance(failure.exc_value, UnicodeDecodeError) or not isinstance(failure.object, bytes):
        sys.__unraisablehook__(failure)


def _access_log(work: Work) -> AccessLog:
    if work.log_descriptor is None:
        return NoAccessLog()
    return AccessLog(work.log_descriptor, time.monotonic, text=work.log_text, fields=work.log_fields)


async def _watch(contexts: Contexts) -> None:
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            contexts.refresh()
        except Exception:  # noqa: BLE001  (whatever is wrong with a disk, the connections go on)
            _log.exception("certificates could not be looked at; those before stay in force")


async def _flush(log: AccessLog) -> None:
    while True:
        await asyncio.sleep(_FLUSH_SECONDS)
        log.flush()


async def _trim() -> None:
    while True:
        await asyncio.sleep(_TRIM_SECONDS)
        heap.trim()
