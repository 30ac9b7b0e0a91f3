"""Who a trusted proxy speaks for.

Only a peer in one of the trusted networks is believed, and only as far back as the chain of trusted proxies goes: what
stands before the first address that is not one of them was written by somebody unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network | str
"""A network, or "unix" for whoever connects to a unix socket."""

# Arbitrary, but bounded: no real chain is longer.
_MOST_HOPS = 32
# RFC 7239, 6: an address, an IPv6 one in brackets, either with a port; quoted where it has a colon.
_FOR = re.compile(r"(?i:for)=\"?(\[[0-9A-Fa-f:.]{2,45}\]|[0-9.]{7,15})(?::[0-9]{1,5})?\"?")
_PORT = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<four>[0-9.]{7,15}))(?::[0-9]{1,5})?")


def trusts(trusted: Sequence[Network], peer: str) -> bool:
    """Whether *peer*, an address as text or "unix", is one of the trusted."""
    if not trusted:
        return False
    if peer == "unix":
        return "unix" in trusted
    address = _parse(peer)
    return address is not None and any(
        address in network for network in trusted if not isinstance(network, str) and network.version == address.version
    )


def client_address(trusted: Sequence[Network], peer: str, headers: Mapping[bytes, bytes]) -> str:
    """The address of the client for whom the trusted *peer* speaks; *peer* itself where the headers say nothing.

    X-Forwarded-For, or else Forwarded (RFC 7239). An element that is no address ends the chain.
    """
    hops = _hops(headers)
    believed = peer
    for hop in reversed(hops[-_MOST_HOPS:]):
        address = _parse(hop)
        if address is None:
            break
        believed = str(address)
        if not trusts(trusted, believed):
            break
    return believed


def _hops(headers: Mapping[bytes, bytes]) -> list[str]:
    forwarded_for = headers.get(b"x-forwarded-for")
    if forwarded_for is not None:
        return [hop.strip() for hop in forwarded_for.decode("ascii", "replace").split(",")]
    elements = headers.get(b"forwarded", b"").decode("ascii", "replace").split(",")
    found = [_FOR.search(element) for element in elements if element]
    return [match[1] if match else "" for match in found]


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    if "%" in text:  # ipaddress takes any text for an IPv6 zone, and a zone says nothing to another machine
        return None
    match = _PORT.fullmatch(text)
    try:
        address = ip_address((match["six"] or match["four"]) if match else text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
