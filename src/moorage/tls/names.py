"""What a certificate is for: a DNS name, a wildcard or an IP address."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

MOST_BYTES: Final = 253
"""Of a DNS name in text, without the final dot (RFC 1035, 2.3.4)."""

_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_WILDCARD: Final = "*."


def parse_certificate_name(text: str) -> str:
    """*text* in the one form that is stored and compared: lower case, no final dot, addresses compressed.

    Names beyond ASCII become their A-labels (RFC 5891). A name of one label is fine for a private authority; whether a
    public one would take it is `is_public`. Raises ValueError with a sentence that says how a name is written.
    """
    text = text.strip().removesuffix(".")
    if "://" in text:
        raise ValueError(f"a domain is written without a scheme: {text.partition('://')[2].partition('/')[0]}")
    if "/" in text or "@" in text:
        raise ValueError("a domain has no path and no user in it: registry.example.com")
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    host, colon, port = text.rpartition(":")
    if colon and port.isdigit():
        raise ValueError(f"a certificate is for a name, whatever the port: write {host}")
    return _parse_dns(text)


def _parse_dns(text: str) -> str:
    prefix, name = (_WILDCARD, text[2:]) if text.startswith(_WILDCARD) else ("", text)
    try:
        name = name.encode("idna").decode("ascii").lower() if not name.isascii() else name.lower()
    except UnicodeError:
        raise ValueError("the name has characters that no domain can have") from None
    labels = name.split(".")
    if not name or len(name) > MOST_BYTES or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            "a domain is labels of letters, digits and dashes with dots between, as in registry.example.com; for all"
            " names below one, *.example.com"
        )
    if labels[-1].isdigit():
        raise ValueError("no domain ends in a number, and an IPv4 address has four of them, 0 to 255 each")
    if prefix and len(labels) < 2:
        raise ValueError("a wildcard stands below a domain of two labels at least: *.example.com")
    return prefix + name


def is_address(name: str) -> bool:
    """Whether a parsed *name* is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_wildcard(name: str) -> bool:
    """Whether a parsed *name* covers every name one label below it."""
    return name.startswith(_WILDCARD)


def covers(name: str, host: str) -> bool:
    """Whether a certificate for the parsed *name* is good for the parsed *host* (RFC 6125, 6.4.3: one label)."""
    if name == host:
        return True
    return is_wildcard(name) and not is_address(host) and host.partition(".")[2] == name.removeprefix(_WILDCARD)
