"""What an administrator chose about an ACME authority, as finished values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from moorage.tls.dns.answers import DnsAnswers

KeyType = Literal["ecdsa", "rsa"]
Choice = Literal["auto", "http-01", "tls-alpn-01", "dns-01"]


@dataclass(frozen=True, slots=True)
class Waits:
    """Limits in seconds, all arbitrary; only tests have reason to change them."""

    network: float = 45.0
    """For one answer of the authority to begin, or to go on."""
    validation: float = 300.0
    """From the answered challenge to the authority's verdict. Let's Encrypt takes seconds, small authorities more."""
    finalization: float = 300.0
    """From the request to the certificate."""
    longest_poll: float = 60.0
    """Between two questions, whatever Retry-After says: beyond that, the order is gone on with at the next attempt."""
    clock_difference: float = 24 * 3600.0
    """Between this machine's clock and the authority's, before one of them is said to be wrong."""
    order: float = 24 * 3600.0
    """For an order that goes on and on. After that a new one is made."""
    reuse: float = 3600.0
    """How long a certificate that was handed over is handed over again, if it never got into the store."""


@dataclass(frozen=True, slots=True)
class AcmeOptions:
    """An authority and how to deal with it.

    - *directory*: its URL; *ca_file*: who signed its own certificate, for a private one.
    - *eab_key_id*, *eab_hmac_key* (base64url): an external account binding (RFC 8555, 7.3.4); both or none.
    - *challenge*: the one to use, or `auto`: dns-01 where *dns* is set, else http-01 where *plain_http*, else
      tls-alpn-01 where *tls_alpn*; after an attempt of `auto` that failed at the door, the next one tries the other.
    - *dns*: puts TXT records where the authority finds them.
    - *plain_http*: our own listener answers on port 80. *tls_alpn*: our own listener answers on port 443.
    - *rehearsal*: what is issued is thrown away, as by a try at a staging authority: nothing is handed over twice.
    """

    directory: str
    ca_file: Path | None = None
    email: str | None = None
    eab_key_id: str | None = None
    eab_hmac_key: str | None = field(default=None, repr=False)
    profile: str | None = None
    key_type: KeyType = "ecdsa"
    challenge: Choice = "auto"
    dns: DnsAnswers | None = None
    plain_http: bool = True
    tls_alpn: bool = True
    rehearsal: bool = False
    waits: Waits = Waits()
