"""Where a registry is, as clients write it: `registry.example.com`, `10.0.0.5:5000`, `[fd00::1]:5000`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

HTTPS_PORT: Final = 443

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
"""RFC 1123, 2.1. Narrower than what resolvers take: what a client writes before the slash of an image's name."""
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class Place:
    """A host name or IP address (no brackets) and a port. Made by `parse_place`, so both are safe in a path."""

    host: str
    port: int

    @property
    def label(self) -> str:
        """As it stands in the names of images and of folders below `certs.d`; port 443 is left out there."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == HTTPS_PORT else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"https://{self.label}"

    @property
    def stem(self) -> str:
        """For the name of a file where a colon or a bracket would be in the way."""
        return self.label.replace(":", "_").replace("[", "").replace("]", "")


def parse_place(text: str) -> Place:
    """*text* with or without `https://` before it and a slash after it. Raises ValueError saying how it is written.

    What is returned holds nothing but letters, digits, dots, dashes and colons, and never begins with a dot or a dash.
    """
    rest = text.strip().removeprefix("https://").removesuffix("/").lower()
    host, port = _split(rest)
    if port and not (_PORT.fullmatch(port) and int(port) < 65536):
        raise ValueError("a port is a number from 1 to 65535")
    return Place(_parse_host(host), int(port) if port else HTTPS_PORT)


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, closed, after = text[1:].partition("]")
        if not closed or ":" not in host or (after and not after.startswith(":")) or after == ":":
            raise ValueError("an IPv6 address with a port is written [fd00::1]:5000")
        return host, after[1:]
    if text.count(":") > 1:
        return text, ""
    host, colon, port = text.partition(":")
    if colon and not port:
        raise ValueError("after the colon comes a port: registry.example.com:5000")
    return host, port


def _parse_host(host: str) -> str:
    try:
        # A zone ("%eth0") is this machine's own business, and no part of an image's name.
        return str(ipaddress.ip_address(host.replace("%", "/")))
    except ValueError:
        pass
    if not _NAME.fullmatch(host) or host.rpartition(".")[2].isdigit():
        raise ValueError(
            "a registry is written as in the names of images: registry.example.com, registry.example.com:5000 or"
            " 10.0.0.5:5000"
        )
    return host
