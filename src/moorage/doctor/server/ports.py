"""The addresses that the settings name: who listens there, who may, and where passwords travel in the clear."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import shlex
import socket
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from moorage.doctor.accounts import Account, acting_as
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong
from moorage.doctor.processes import Listening, Process, listening, owners, user_name
from moorage.doctor.server.running import Running
from moorage.server.identity import plain_addresses
from moorage.settings.listen import TcpAddress, UnixAddress, parse_address
from moorage.settings.model import Settings
from moorage.settings.origin import Loaded
from moorage.tls.machine import everywhere, interface_addresses

_CAPABILITY: Final = "security.capability"
_BINDS: Final = 1 << 10
"""CAP_NET_BIND_SERVICE, linux/capability.h."""
_UNITS: Final = (Path("/etc/systemd/system"), Path("/lib/systemd/system"), Path("/usr/lib/systemd/system"))
_FIRST_PORT: Final = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@dataclass(frozen=True, slots=True)
class Sockets:
    """What listens on this machine, and who: all of it on the ports in question, and elsewhere what is *ours*."""

    listening: Sequence[Listening]
    owners: Mapping[int, Sequence[Process]] = field(default_factory=dict)
    ours: Sequence[Listening] = ()

    def at(self, address: TcpAddress) -> list[Listening]:
        """Those that take connections to *address*, or keep it from being listened on."""
        wanted = None if everywhere(address.host) else _resolved(address.host)
        return [
            one
            for one in self.listening
            if one.port == address.port and (wanted is None or one.everywhere or str(one.address) in wanted)
        ]

    def who(self, sockets: Sequence[Listening]) -> list[Process]:
        """The processes that have *sockets* open, each once, as far as they can be seen."""
        found = {process.pid: process for one in sockets for process in self.owners.get(one.inode, ())}
        return sorted(found.values(), key=lambda process: process.pid)


def find_sockets(loaded: Loaded, running: Running) -> Sockets:
    """What listens on the ports that the settings name."""
    ports = {address.port for _, address, _ in tcp_addresses(loaded)}
    everything = listening()
    whose = owners(everything)
    tree = running.pids
    ours = [one for one in everything if any(process.pid in tree for process in whose[one.inode])]
    return Sockets([one for one in everything if one.port in ports], whose, ours)


def tcp_addresses(loaded: Loaded) -> Iterator[tuple[str, TcpAddress, bool]]:
    """Every TCP address that the server listens at, the setting that names it, and whether it may be missing.

    Port 0 is left out: the kernel chooses, and nobody else is in its way.
    """
    settings = loaded.settings
    plain, asked = plain_addresses(loaded)
    named = [("listen", settings.listen, False), ("metrics.listen", settings.metrics.listen, False)]
    for setting, texts, optional in (*named, ("tls.plain_listen", plain, not asked)):
        for text in texts:
            address = parse_address(text)
            if isinstance(address, TcpAddress) and address.port:
                yield setting, address, optional


def look_at_ports(loaded: Loaded, running: Running, user: Account, sockets: Sockets) -> Iterator[Finding]:
    """Each address of the settings."""
    settings = loaded.settings
    for setting, address, optional in tcp_addresses(loaded):
        there = sockets.at(address)
        if there:
            yield _judge_listener(setting, address, there, running, sockets)
        elif running.held and not optional:
            yield _nobody(setting, address, running, sockets)
        elif running.held is False:
            yield from _judge_right(setting, address, user, optional=optional)
    for text in settings.listen:
        unix = parse_address(text)
        if isinstance(unix, UnixAddress):
            yield from _judge_unix(unix, running)
    yield from _judge_plaintext(settings)


def _judge_listener(
    setting: str, address: TcpAddress, there: Sequence[Listening], running: Running, sockets: Sockets
) -> Finding:
    who = sockets.who(there)
    ours = running.pids
    if any(process.pid in ours for process in who):
        return ok(f"{address} ({setting}): the server listens there", port=address.port)
    if not who:
        users = ", ".join(dict.fromkeys(user_name(one.uid) for one in there))
        if running.held is not False:
            return skipped(
                f"{address} ({setting}): a process of {users} listens there; only root sees which it is",
                "sudo moorage doctor names it.",
            )
        return wrong(
            f"{address} ({setting}): another program listens there, as user {users}",
            "The server cannot start while it does.",
            f"sudo ss -ltnp 'sport = :{address.port}'",
            port=address.port,
        )
    stranger = who[0]
    return wrong(
        f"{address} ({setting}): another program listens there: {stranger}",
        "The server cannot start while it does, and whoever comes to this port talks to that program."
        if running.held is False
        else "Whoever comes to this port talks to that program and not to the server that works on the data folder.",
        *_stop(stranger, address.port),
        port=address.port,
        pid=stranger.pid,
        program=stranger.name,
    )


def _stop(stranger: Process, port: int) -> tuple[str, ...]:
    if stranger.name == "docker-proxy":
        return (f"docker ps --filter publish={port}    # then: docker stop NAME",)
    if stranger.name in {"nginx", "apache2", "httpd", "caddy", "haproxy", "traefik"}:
        return (f"sudo systemctl stop {stranger.name}    # or let it be the proxy: docs/how-to/nginx.md",)
    return (f"kill {stranger.pid}", f"moorage serve --listen 127.0.0.1:{port + 1 if port < 65535 else 5000} ...")


def _nobody(setting: str, address: TcpAddress, running: Running, sockets: Sockets) -> Finding:
    who = f"process {running.process.pid}" if running.process else "in another container or namespace"
    places = ", ".join(dict.fromkeys(map(str, sockets.ours)))
    elsewhere = f"It listens at {places}." if places else "Where it listens cannot be seen from here."
    return wrong(
        f"{address} ({setting}): nobody listens there, although a server runs ({who})",
        f"{elsewhere} It was started with other settings, or runs in a container, whose published port counts.",
        "moorage config    # shows the settings of this command: are they the server's?",
        f"sudo ss -ltnp | grep {shlex.quote('pid=' + str(running.process.pid) if running.process else 'moorage')}",
        port=address.port,
    )


def _judge_right(setting: str, address: TcpAddress, user: Account, *, optional: bool) -> Iterator[Finding]:
    """Whether the server could listen there if it were started now."""
    error = _try(address, user)
    if error is None:
        yield ok(f"{address} ({setting}): free, and {user.name} may listen there", port=address.port)
    elif isinstance(error, socket.gaierror):
        yield wrong(
            f"{address} ({setting}): the name {address.host} is not known to this machine",
            "The server does not start.",
            f"getent ahosts {shlex.quote(address.host)}",
            port=address.port,
        )
    elif error.errno == errno.EADDRNOTAVAIL:
        yield wrong(
            f"{address} ({setting}): this machine does not have that address",
            f"The server does not start. It has {', '.join(interface_addresses()) or 'none beside loopback'}; in a"
            " container or behind a router the public address is another machine's.",
            f"moorage serve --listen :{address.port} ...",
            port=address.port,
        )
    elif error.errno in {errno.EACCES, errno.EPERM}:
        yield from _judge_low_port(setting, address, user, optional=optional)
    elif error.errno == errno.EADDRINUSE:
        yield wrong(
            f"{address} ({setting}): something holds the port that does not show",
            "A program in another container or namespace that shares this address, or one that did not close.",
            f"sudo ss -tanp 'sport = :{address.port}'",
            port=address.port,
        )
    else:
        yield wrong(f"{address} ({setting}): {error.strerror}", "The server does not start.", port=address.port)


def _try(address: TcpAddress, user: Account) -> OSError | None:
    """Bind the address as *user*, and let it go at once; nothing ever listens."""
    try:
        rows = socket.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        return error
    for family, kind, protocol, _, where in rows:
        try:
            with socket.socket(family, kind, protocol) as probe, acting_as(user):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(where)
        except OSError as error:
            if family == socket.AF_INET6 and everywhere(address.host) and error.errno != errno.EACCES:
                continue  # a machine without IPv6
            return error
    return None


def _judge_low_port(setting: str, address: TcpAddress, user: Account, *, optional: bool) -> Iterator[Finding]:
    first = first_unprivileged_port()
    if _python_may_bind() or _unit_may_bind():
        yield ok(
            f"{address} ({setting}): {user.name} alone may not listen below port {first}, and the unit or the program"
            " is given the right",
            port=address.port,
        )
        return
    what = f"{address} ({setting}): {user.name} may not listen on a port below {first}"
    remedies = (
        "AmbientCapabilities=CAP_NET_BIND_SERVICE    # in the [Service] section of the systemd unit",
        f"sudo setcap cap_net_bind_service=+ep {shlex.quote(os.path.realpath(sys.executable))}",
        f"docker run -p {address.port}:5000 ...    # in a container the port inside may be any",
    )
    if optional:
        yield ok(f"{what}; the server starts without it, and then nothing redirects to https", port=address.port)
        return
    yield wrong(what, "The server does not start.", *remedies, port=address.port)


def first_unprivileged_port() -> int:
    """The first port on which everybody may listen."""
    try:
        return int(_FIRST_PORT.read_text())
    except (OSError, ValueError):
        return 1024


def _python_may_bind() -> bool:
    try:
        data = os.getxattr(os.path.realpath(sys.executable), _CAPABILITY)
    except (OSError, AttributeError):
        return False
    # struct vfs_cap_data: magic, then the permitted capabilities of the first 32.
    return len(data) >= 8 and bool(int.from_bytes(data[4:8], "little") & _BINDS)


def _unit_may_bind() -> bool:
    """Whether a systemd unit that runs Moorage gives it the right."""
    for folder in _UNITS:
        try:
            units = [path for path in folder.glob("*.service") if path.is_file()]
        except OSError:
            continue
        for path in units:
            try:
                text = path.read_text("utf-8", "replace")
                text += "".join(more.read_text("utf-8", "replace") for more in folder.glob(f"{path.name}.d/*.conf"))
            except OSError:
                continue
            if "moorage" in text and re.search(r"^\s*AmbientCapabilities=.*CAP_NET_BIND_SERVICE", text, re.MULTILINE):
                return True
    return False


def _judge_unix(address: UnixAddress, running: Running) -> Iterator[Finding]:
    path = Path(address.path)
    try:
        found = path.stat()
    except FileNotFoundError:
        if running.held:
            yield wrong(
                f"{address}: there is no such socket, although a server runs",
                "It was started with other settings, or its folder was replaced under it.",
                "sudo systemctl restart moorage",
            )
        elif not os.path.isdir(path.parent):
            yield wrong(
                f"{address}: there is no folder {path.parent}",
                "The server does not start. /run is emptied by every reboot.",
                f"RuntimeDirectory={path.parent.name}    # in the [Service] section of the systemd unit",
            )
        return
    except OSError as error:
        yield skipped(f"{address} cannot be looked at by this user: {error.strerror}")
        return
    if not stat.S_ISSOCK(found.st_mode):
        yield wrong(f"{address}: there is a file of that name, and it is no socket", "The server does not start.")
        return
    yield ok(f"{address}: the socket is there, of {user_name(found.st_uid)}, mode {stat.S_IMODE(found.st_mode):o}")


def _judge_plaintext(settings: Settings) -> Iterator[Finding]:
    """Passwords that cross a network as they are, unless somebody speaks TLS in front."""
    if settings.certificates_from is not None or settings.auth.kind == "none" or not settings.exposed:
        return
    external = settings.http.external_url or ""
    where = ", ".join(settings.exposed)
    if external.startswith("https://") or settings.http.trusted_proxies:
        yield ok(f"{where}: no TLS here; it is for the proxy in front ({external or 'http.trusted_proxies'})")
        return
    yield warning(
        f"{where} can be reached from other machines without TLS",
        "Passwords travel in the clear, and Docker says `http: server gave HTTP response to HTTPS client`. Where a"
        " proxy speaks TLS in front, say so by its address, and let nobody else in.",
        "moorage serve --listen :443 --domain NAME ...    # a public name",
        "moorage serve --listen :443 --tls-name NAME ...    # none",
        "http.external_url: https://NAME    # a proxy speaks TLS",
    )


def _resolved(host: str) -> set[str]:
    try:
        rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    found = {str(row[4][0]).partition("%")[0] for row in rows}
    # What listens on an IPv4 address may be shown among the IPv6 ones.
    return found | {f"::ffff:{one}" for one in found if ipaddress.ip_address(one).version == 4}
