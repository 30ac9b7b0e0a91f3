"""The one record that dns-01 needs, and whoever can write it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Record:
    """A TXT record that validates *domain* (RFC 8555, 8.4).

    *name* is where it belongs, without the final dot: `_acme-challenge.` before the domain, or what that is another
    name of. *zone* is the zone that holds *name*; "" where that could not be found out. *token* is the challenge's.
    """

    domain: str
    name: str
    zone: str
    value: str
    token: str


class Writer(Protocol):
    """Changes the DNS. Methods block, for minutes at worst, and raise CertificateFailed of kind "dns"."""

    def put(self, record: Record) -> str:
        """Put it there, beside others of the same name; there already is fine. What is returned `remove` gets."""
        ...

    def remove(self, record: Record, output: str) -> None:
        """Take it away and leave others of the same name; not there is fine."""
        ...
