"""Whoever makes certificates: an ACME server, or the private authority in the data folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Issued:
    """A new pair as PEM: the chain with the leaf first, and the key, unencrypted PKCS #8."""

    chain: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Window:
    """When an issuer wants a certificate renewed (RFC 9773, 4.2), in microseconds since the epoch.

    *ask_again* is when to ask for it the next time; *explanation* a URL for people, or "".
    """

    start: int
    end: int
    ask_again: int
    explanation: str = ""


class Issuer(Protocol):
    """Issues and has opinions about renewal; a call may take minutes, and one at a time is made for each name."""

    @property
    def title(self) -> str:
        """What people call it: the host of its directory, or "private authority"."""
        ...

    async def issue(self, name: str, previous: bytes | None = None) -> Issued:
        """A certificate for the parsed *name*, with a new key.

        *previous* is the chain that it replaces (RFC 9773, 5). What a call that was cut off had begun is gone on with:
        an order that can still be used is used. Raises CertificateFailed.
        """
        ...

    async def window(self, chain: bytes) -> Window | None:
        """When to renew; None where the issuer does not say. Raises CertificateFailed where it cannot be asked."""
        ...
