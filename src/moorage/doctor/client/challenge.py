"""The WWW-Authenticate header as clients read it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER: Final = re.compile(rf'({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))\s*(?:,|$)\s*')
_SCHEME: Final = re.compile(rf"({_WORD})(?:\s*(?:,\s*|$)|\s+)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to log in: the scheme in lower case, and its parameters by lower-case names."""

    scheme: str
    parameters: Mapping[str, str]


def challenges(headers: Sequence[str]) -> list[Challenge]:
    """All challenges of all these headers (RFC 9110, 11.6.1); what cannot be read is left out."""
    return [one for header in headers for one in _parse(header)]


def _parse(header: str) -> Iterator[Challenge]:
    rest = header.strip()
    while rest:
        scheme = _SCHEME.match(rest)
        if scheme is None:
            return
        rest = rest[scheme.end() :]
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(rest):
            name, quoted, plain = parameter.groups()
            parameters[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            rest = rest[parameter.end() :]
        yield Challenge(scheme[1].lower(), parameters)
