"""How this machine finds the addresses of a name, and what each name server says by itself."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from moorage.errors import UserError

Address = str
"""An IP address as text, as `ipaddress` writes it; IPv6 link-local ones carry their scope."""


@dataclass(frozen=True, slots=True)
class NameServer:
    """Where a name server listens."""

    address: Address
    port: int = 53

    def __str__(self) -> str:
        if self.port == 53:
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def parse_name_server(text: str) -> NameServer:
    """`address`, `address:port` or `[address]:port`. Raises UserError."""
    host, port = text, "53"
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        host, port = host if bracket else text, rest.removeprefix(":") or "53"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        address, number = ipaddress.ip_address(host), int(port)
    except ValueError:
        raise UserError(f"a name server is written as an address, 9.9.9.9 or 9.9.9.9:53, not {text}") from None
    if not 0 < number < 65536:
        raise UserError(f"{port} is no port of a name server")
    return NameServer(str(address), number)


class Names(Protocol):
    """What this machine knows of names. Implementations ask nobody but the machine; they may block."""

    def lookup(self, host: str) -> list[Address]:
        """All addresses that programs on this machine get, in the order in which they try them.

        Raises socket.gaierror, as the system does.
        """
        ...

    def hosts_file(self, host: str) -> list[Address]:
        """The addresses that the machine's own table names for *host*."""
        ...

    def servers(self) -> list[NameServer]:
        """The name servers that the machine is set to ask."""
        ...

    def search(self) -> list[str]:
        """Domains that are tried behind a name without a dot."""
        ...


@dataclass(frozen=True, slots=True)
class SystemNames:
    """The system's resolver, /etc/hosts and /etc/resolv.conf."""

    hosts: Path = Path("/etc/hosts")
    resolv_conf: Path = Path("/etc/resolv.conf")

    def lookup(self, host: str) -> list[Address]:
        """As every program gets them, by getaddrinfo."""
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def hosts_file(self, host: str) -> list[Address]:
        """From /etc/hosts; none where it cannot be read."""
        return [
            words[0]
            for words in _lines(self.hosts)
            if len(words) > 1 and host in (word.lower().rstrip(".") for word in words[1:])
        ]

    def servers(self) -> list[NameServer]:
        """From /etc/resolv.conf; without any, the system asks the one on this machine (resolv.conf(5))."""
        named = [words[1] for words in _lines(self.resolv_conf) if words[0] == "nameserver" and len(words) > 1]
        return [NameServer(address) for address in named] or [NameServer("127.0.0.1")]

    def search(self) -> list[str]:
        """The last `search` or `domain` of /etc/resolv.conf counts."""
        found: list[str] = []
        for words in _lines(self.resolv_conf):
            if words[0] in {"search", "domain"}:
                found = [word.rstrip(".") for word in words[1:]]
        return found


def _lines(path: Path) -> Iterator[list[str]]:
    """The words of each line without its comment."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words and not words[0].startswith(";"):
            yield words


def is_own(address: Address) -> bool:
    """Whether packets for *address* stay on this machine: only its own addresses can be bound."""
    plain = address.partition("%")[0]
    family = socket.AF_INET6 if ":" in plain else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((plain, 0))
    except OSError:
        return False
    return not ipaddress.ip_address(plain).is_unspecified


def kind_of(address: Address) -> str:
    """`loopback`, `private`, `public`, or what else it is for."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if parsed.is_loopback:
        return "loopback"
    if parsed.is_unspecified:
        return "unspecified"
    if parsed.is_link_local:
        return "link-local"
    if parsed.is_multicast:
        return "multicast"
    if any(parsed in network for network in _NOBODYS if network.version == parsed.version):
        return "reserved"
    if parsed in _SHARED:
        return "private"
    return "private" if parsed.is_private else "public"


# Benchmarking (RFC 2544), which proxy programs hand out in place of real addresses; documentation; "future use".
_NOBODYS = tuple(
    map(
        ipaddress.ip_network,
        ("198.18.0.0/15", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "2001:db8::/32"),
    )
)
_SHARED = ipaddress.ip_network("100.64.0.0/10")
