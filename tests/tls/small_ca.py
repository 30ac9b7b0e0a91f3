"""A certificate authority of a few lines, that lives by a test's clock and can be out of order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from moorage.clock import Clock
from moorage.errors import CertificateFailed
from moorage.tls.issuer import Issued, Window


def unreachable() -> CertificateFailed:
    """What an authority that is down comes to."""
    return CertificateFailed("ca.example cannot be reached", kind="unreachable", remedy="look at the network")


class SmallCa:
    """Implements `Issuer`: certificates from an hour ago, as Let's Encrypt's are, for *lifetime*.

    - *issued*, *asked*, *replaced*: the moments of its calls, and what each certificate was said to replace;
    - *outage*: what it raises now, or None;
    - *opinion*: its window for a chain's leaf.
    """

    def __init__(self, clock: Clock, lifetime: timedelta, title: str = "ca.example") -> None:
        self._clock = clock
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = title
        self.lifetime = lifetime
        self.issued: list[int] = []
        self.tried: list[int] = []
        self.asked: list[int] = []
        self.replaced: list[bytes | None] = []
        self.outage: Exception | None = None
        self.opinion: Callable[[x509.Certificate], Window | None] = lambda leaf: None
        self.names: Callable[[str], list[str]] = lambda name: [name]

    @property
    def title(self) -> str:
        return self._name

    async def issue(self, name: str, previous: bytes | None = None) -> Issued:
        """See `Issuer.issue`."""
        self.tried.append(self._clock.now())
        if self.outage is not None:
            raise self.outage
        key = ec.generate_private_key(ec.SECP256R1())
        start = datetime.fromtimestamp(self._clock.now() // 1_000_000, UTC) - timedelta(hours=1)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)])
        leaf = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Small CA")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + self.lifetime)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in self.names(name)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.issued.append(self._clock.now())
        self.replaced.append(previous)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Issued(leaf.public_bytes(Encoding.PEM), private)

    async def window(self, chain: bytes) -> Window | None:
        """See `Issuer.window`."""
        self.asked.append(self._clock.now())
        if self.outage is not None:
            raise self.outage
        return self.opinion(x509.load_pem_x509_certificate(chain))
