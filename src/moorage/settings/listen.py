"""Listening addresses: "host:port", "[::1]:5000", ":5000", "unix:/path"."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import PurePath

_TCP = re.compile(r"(?:\[(?P<literal>[^\[\]]{1,100})\]|(?P<host>[^\[\]:/\s]{0,255})):(?P<port>[0-9]{1,5})")
_UNIX = "unix:"
_LONGEST_UNIX_PATH = 107
"""Bytes of `sun_path` on Linux without its final NUL (unix(7))."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """*host* is a name or an address without brackets; "" is every address of the machine, IPv4 and IPv6."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether nobody but this machine can connect; a name other than localhost may lead anywhere."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() in ("localhost", "ip6-localhost")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A unix domain socket; whoever may open the file may connect."""

    path: str

    @property
    def loopback(self) -> bool:
        """True: a unix socket is not reachable from another machine."""
        return True

    def __str__(self) -> str:
        return _UNIX + self.path


Address = TcpAddress | UnixAddress


def parse_address(text: str) -> Address:
    """The address that *text* names; port 0 asks the kernel for a free one. Raises ValueError."""
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX).removeprefix("//")
        if not path or "\0" in path or PurePath(path).name in ("", ".."):
            raise ValueError("a unix socket is written unix:/path/of/socket")
        if len(path.encode()) > _LONGEST_UNIX_PATH:
            raise ValueError(f"the path of a unix socket may have {_LONGEST_UNIX_PATH} bytes at most")
        return UnixAddress(path)
    match = _TCP.fullmatch(text)
    if match is None:
        raise ValueError("an address is written host:port, [::1]:port, :port or unix:/path")
    port = int(match["port"])
    if port > 65535:
        raise ValueError("a port is a number from 0 to 65535")
    if match["literal"] is not None:
        try:
            return TcpAddress(str(ipaddress.IPv6Address(match["literal"])), port)
        except ValueError:
            raise ValueError("between the brackets stands an IPv6 address, as in [::1]:5000") from None
    return TcpAddress(match["host"], port)
