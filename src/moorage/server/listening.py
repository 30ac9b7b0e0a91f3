"""Listening sockets, made before the workers are, and the sentences for when they cannot be."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass
from typing import Any

from moorage.errors import RefusedForNow, StartRefused
from moorage.settings.listen import Address, TcpAddress, UnixAddress

BACKLOG = 4096
"""Connections that may wait to be accepted; the kernel allows fewer where net.core.somaxconn says so."""
# These may pass without anybody's doing: a network that is still coming up, somebody who lets go of a port.
_PASSING = {errno.EADDRINUSE, errno.EADDRNOTAVAIL}


@dataclass(frozen=True, slots=True)
class Binding:
    """What one socket is bound to: *where* as bind(2) has it in *family*; *dual* takes IPv4 on an IPv6 socket too."""

    family: int
    where: Any
    dual: bool = False

    def is_of(self, listening: socket.socket, *, strict: bool = True) -> bool:
        """Whether *listening* is bound to this; not *strict* lets a socket take IPv4 that need not."""
        if listening.family != self.family:
            return False
        bound = listening.getsockname()
        if self.family == socket.AF_UNIX:
            return bool(bound == self.where)
        if bound[:2] != self.where[:2] or bound[3:] != self.where[3:]:
            return False
        if self.family != socket.AF_INET6 or not (strict or self.dual):
            return True
        return bool(listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)) != self.dual


def bindings(address: Address) -> list[Binding]:
    """What the sockets for *address* are bound to. Raises RefusedForNow for a name that leads nowhere."""
    if isinstance(address, UnixAddress):
        return [Binding(socket.AF_UNIX, address.path)]
    if not address.host:
        if _has_ipv6():
            # One socket for both.
            return [Binding(socket.AF_INET6, ("::", address.port, 0, 0), dual=True)]
        return [Binding(socket.AF_INET, ("0.0.0.0", address.port))]  # noqa: S104  (asked for by name)
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise RefusedForNow(f"cannot listen on {address}: the host name is not known ({error.strerror})") from None
    return [Binding(family, where) for family, where in dict.fromkeys((row[0], row[4]) for row in found)]


def listen(address: Address, option: str = "--listen") -> list[socket.socket]:
    """Sockets that listen at *address*, which *option* has named. Raises StartRefused with what to do."""
    return [listen_at(binding, address, option) for binding in bindings(address)]


def listen_at(binding: Binding, address: Address, option: str = "--listen") -> socket.socket:
    """A socket for *binding*, one of those of *address*, which *option* has named. Raises StartRefused."""
    if isinstance(address, UnixAddress):
        return _listen_unix(address.path)
    return _listen_tcp(binding, address, option)


def _has_ipv6() -> bool:
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            socket.socket(socket.AF_INET6).close()
            return True
    return False


def _listen_tcp(binding: Binding, address: TcpAddress, option: str) -> socket.socket:
    made = socket.socket(binding.family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if binding.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if binding.dual else 1)
        made.bind(binding.where)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        kind = RefusedForNow if error.errno in _PASSING else StartRefused
        raise kind(_why(error, address, option)) from None
    made.setblocking(False)
    return made


def _why(error: OSError, address: TcpAddress, option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {address.port} is in use on {address.host or 'this machine'}: stop what listens there"
            f" (ss -ltnp 'sport = :{address.port}' shows it), or choose another with {option}"
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return (
            f"this user may not listen on port {address.port}: ports below 1024 need root or the right to bind them"
            " (setcap cap_net_bind_service=+ep on the Python binary, or AmbientCapabilities in a systemd unit),"
            f" or choose another with {option}"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {address}: this machine does not have that address (ip address shows which it has)"
    return f"cannot listen on {address}: {error.strerror}"


def _listen_unix(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(path).st_mode) and not _answers(path):
                os.unlink(path)
        made.bind(path)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise StartRefused(f"cannot listen on unix:{path}: {error.strerror}") from None
    made.setblocking(False)
    return made


def _answers(path: str) -> bool:
    """Whether somebody still listens on the socket file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == 0
