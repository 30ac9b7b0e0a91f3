"""Listening sockets, made before the workers are, and the sentences for when they cannot be."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

from moorage.errors import StartRefused
from moorage.settings.listen import Address, TcpAddress, UnixAddress

_BACKLOG = 4096


def listen(address: Address, option: str = "--listen") -> list[socket.socket]:
    """Sockets that listen at *address*, which *option* has named. Raises StartRefused with what to do."""
    if isinstance(address, UnixAddress):
        return [_listen_unix(address.path)]
    if not address.host:
        return _listen_everywhere(address.port, option)
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise StartRefused(f"cannot listen on {address}: the host name is not known ({error.strerror})") from None
    places = dict.fromkeys((row[0], row[4]) for row in found)
    return [_listen_tcp(family, where, address, option) for family, where in places]


def _listen_everywhere(port: int, option: str) -> list[socket.socket]:
    """One socket for IPv6 and IPv4 where the machine has both."""
    address = TcpAddress("", port)
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            probe = socket.socket(socket.AF_INET6)
            probe.close()
            return [_listen_tcp(socket.AF_INET6, ("::", port), address, option, dual=True)]
    return [_listen_tcp(socket.AF_INET, ("0.0.0.0", port), address, option)]  # noqa: S104  (asked for by name)


def _listen_tcp(family: int, where: object, address: TcpAddress, option: str, *, dual: bool = False) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        made.bind(where)  # type: ignore[arg-type]
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise StartRefused(_why(error, address, option)) from None
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
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise StartRefused(f"cannot listen on unix:{path}: {error.strerror}") from None
    made.setblocking(False)
    return made


def _answers(path: str) -> bool:
    """Whether somebody still listens on the socket file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == 0
