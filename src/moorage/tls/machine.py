"""The names and addresses by which clients may reach this machine, for the private authority's certificate."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from moorage.tls.names import is_address, parse_certificate_name

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_ASK_SECONDS: Final = 2.0
"""How long a resolver may take to tell this machine's full name (arbitrary: a start does not wait for a dead one)."""

# rtnetlink(7) and linux/if_addr.h.
_RTM_NEWADDR, _RTM_GETADDR, _NLMSG_ERROR, _NLMSG_DONE = 20, 22, 2, 3
_NLM_F_REQUEST_DUMP = 0x301
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_HEADER, _ADDRESS, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBBBI"), struct.Struct("=HH")
# IFA_F_TEMPORARY, IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE: addresses that are not there to stay.
_FLEETING = 0x01 | 0x08 | 0x20 | 0x40


class Names(NamedTuple):
    """Parsed certificate names, each in one of the two: *given* by somebody, or *found* on this machine.

    What is found may change by itself (DHCP, a container's name), so it never is a reason for a new authority.
    """

    given: tuple[str, ...]
    found: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """The given first."""
        return self.given + self.found


def configured_names(
    listen: Iterable[str],
    external_url: str | None,
    names: Iterable[str],
    domains: Iterable[str],
    hosts: Iterable[str],
    addresses: Iterable[str],
) -> Names:
    """The names that a server's certificate is for, in the order of the parameters, each once.

    *listen* are the hosts of its TCP addresses, "" for every address of the machine; *names* and *domains* are parsed
    already. *hosts* and *addresses* are this machine's own, and count where it listens at every address. Raises
    ValueError where *listen* or *external_url* has a host that no certificate can be for.
    """
    given = [*names, *domains]
    if external_url and (host := urlsplit(external_url).hostname):
        given.append(parse_certificate_name(host))
    found: list[str] = []
    for host in listen:
        if everywhere(host):
            found += [*_parsed(hosts), *_parsed(addresses), *_LOOPBACK]
            continue
        name = parse_certificate_name(host.partition("%")[0])
        given.append(name)
        if name in _LOOPBACK or (is_address(name) and ipaddress.ip_address(name).is_loopback):
            found += _LOOPBACK
    given = list(dict.fromkeys(given))
    return Names(tuple(given), tuple(name for name in dict.fromkeys(found) if name not in given))


def everywhere(host: str) -> bool:
    """Whether a socket bound to *host* is reached at every address of the machine."""
    try:
        return not host or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _parsed(names: Iterable[str]) -> list[str]:
    parsed = []
    for name in names:
        try:
            parsed.append(parse_certificate_name(name))
        except ValueError:  # A machine may be called what no domain may: my_host.
            continue
    return parsed


def host_names() -> tuple[str, ...]:
    """This machine's name, and its full name where a resolver tells it at once."""
    short = socket.gethostname()
    full: list[str] = []

    def ask() -> None:
        try:
            full.extend(row[3] for row in socket.getaddrinfo(short, None, flags=socket.AI_CANONNAME) if row[3])
        except OSError:
            pass

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_ASK_SECONDS)
    return tuple(dict.fromkeys(name for name in (*list(full), short) if name))


def interface_addresses() -> tuple[str, ...]:
    """The addresses of this machine's interfaces, sorted, IPv4 first.

    Left out: loopback, link-local and multicast addresses, and IPv6 addresses that are temporary or deprecated. Where
    the kernel cannot be asked (rtnetlink is Linux), what the machine's own name stands for.
    """
    try:
        found = _ask_kernel()
    except (AttributeError, OSError, struct.error):
        found = _ask_resolver()
    lasting = {address for address in found if not (address.is_loopback or address.is_link_local)}
    lasting = {address for address in lasting if not (address.is_multicast or address.is_unspecified)}
    return tuple(str(address) for address in sorted(lasting, key=lambda address: (address.version, int(address))))


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _ask_resolver() -> list[_Address]:
    try:
        rows = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in rows]


def _ask_kernel() -> list[_Address]:
    """Every address of every interface, by RTM_GETADDR (rtnetlink(7))."""
    found: list[_Address] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(_ASK_SECONDS)
        kernel.bind((0, 0))
        body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        kernel.send(_HEADER.pack(_HEADER.size + len(body), _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0) + body)
        while True:
            data = kernel.recv(1 << 16)
            while data:
                length, kind, _, _, _ = _HEADER.unpack_from(data)
                if kind == _NLMSG_DONE:
                    return found
                if kind == _NLMSG_ERROR or length < _HEADER.size:
                    raise OSError("the kernel does not tell its addresses")
                if kind == _RTM_NEWADDR:
                    found += _read_address(data[_HEADER.size : length])
                data = data[_aligned(length) :]


def _read_address(message: bytes) -> list[_Address]:
    family, _, flags, _, _ = _ADDRESS.unpack_from(message)
    attributes: dict[int, bytes] = {}
    rest = message[_ADDRESS.size :]
    while len(rest) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(rest)
        attributes[kind] = rest[_ATTRIBUTE.size : length]
        rest = rest[_aligned(max(length, _ATTRIBUTE.size)) :]
    if _IFA_FLAGS in attributes:
        flags = int.from_bytes(attributes[_IFA_FLAGS], "little" if struct.pack("=H", 1)[0] else "big")
    # On a point-to-point link IFA_ADDRESS is the other end's, and IFA_LOCAL ours.
    raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b"")
    if family == socket.AF_INET and len(raw) == 4:
        return [ipaddress.IPv4Address(raw)]
    if family == socket.AF_INET6 and len(raw) == 16 and not flags & _FLEETING:
        return [ipaddress.IPv6Address(raw)]
    return []


def _aligned(length: int) -> int:
    return (length + 3) & ~3
