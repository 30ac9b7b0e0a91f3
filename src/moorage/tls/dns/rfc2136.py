"""dns-01 by DNS UPDATE (RFC 2136), signed with TSIG (RFC 8945): BIND, Knot, PowerDNS, Windows DNS and others."""

from __future__ import annotations

import base64
import socket
from dataclasses import dataclass, field
from typing import Any, Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update

from moorage.errors import CertificateFailed
from moorage.tls.dns.records import Record

_SECONDS: Final = 15.0
_TTL: Final = 60
"""Short, so that what resolvers have seen is soon forgotten."""


@dataclass(frozen=True, slots=True)
class TsigKey:
    """A key as the name server knows it; *secret* in base64, *algorithm* as in `hmac-sha256`."""

    name: str
    secret: str = field(repr=False)
    algorithm: str = "hmac-sha256"


class Rfc2136:
    """Sends updates to *server*, `host` or `host:port`, by TCP; without *key* they are not signed."""

    def __init__(self, server: str, key: TsigKey | None = None) -> None:
        self._server = server
        self._key = key

    def put(self, record: Record) -> str:
        """See Writer."""
        self._update(record, add=True)
        return ""

    def remove(self, record: Record, output: str) -> None:
        """See Writer."""
        self._update(record, add=False)

    def _update(self, record: Record, *, add: bool) -> None:
        address, port = self._address()
        name = dns.name.from_text(record.name)
        zone = self._zone(name, address, port)
        update = dns.update.UpdateMessage(zone, **self._signing())
        if add:
            update.add(name, _TTL, "TXT", f'"{record.value}"')
        else:
            # This one value: another process may have its own beside it.
            update.delete(name, "TXT", f'"{record.value}"')
        answer = self._ask(update, address, port)
        if answer.rcode() != dns.rcode.NOERROR:
            raise self._refused(record.name, zone, answer.rcode())

    def _refused(self, name: str, zone: dns.name.Name, rcode: dns.rcode.Rcode) -> CertificateFailed:
        rights = (
            "acme.dns.server must be the zone's primary, and let acme.dns.key_name change its TXT records"
            " (update-policy or allow-update in BIND, acl in Knot)"
        )
        remedies = {
            dns.rcode.REFUSED: rights,
            dns.rcode.NOTAUTH: rights,
            dns.rcode.NOTIMP: "acme.dns.server does not take updates",
            dns.rcode.SERVFAIL: "the name server's log says why: often it may not write its zone or journal",
        }
        return _failed(
            f"the name server {self._server} refuses to change {name} in the zone"
            f" {zone.to_text(omit_final_dot=True)}: {dns.rcode.to_text(rcode)}",
            remedies.get(rcode, "the name server's log says why"),
        )

    def _zone(self, name: dns.name.Name, address: str, port: int) -> dns.name.Name:
        """The zone on this server that holds *name*: the server itself knows best, whatever resolvers say."""
        candidate = name
        while candidate != dns.name.root:
            question = dns.message.make_query(candidate, dns.rdatatype.SOA)
            question.flags &= ~dns.flags.RD
            answer = self._ask(question, address, port)
            if answer.rcode() == dns.rcode.REFUSED and self._key is not None:
                # Some answer those only who sign.
                answer = self._ask_signed(candidate, address, port) or answer
            if answer.flags & dns.flags.AA and answer.get_rrset(
                answer.answer, candidate, dns.rdataclass.IN, dns.rdatatype.SOA
            ):
                return candidate
            candidate = candidate.parent()
        raise _failed(
            f"the name server {self._server} has no zone for {name.to_text(omit_final_dot=True)}",
            "acme.dns.server must be the primary name server of the zone itself, not a resolver",
        )

    def _ask_signed(self, name: dns.name.Name, address: str, port: int) -> dns.message.Message | None:
        question = dns.message.make_query(name, dns.rdatatype.SOA)
        question.use_tsig(**self._signing())
        try:
            return dns.query.tcp(question, address, timeout=_SECONDS, port=port)
        except (dns.exception.DNSException, OSError, EOFError):
            # What is wrong with the key, the update itself will show.
            return None

    def _signing(self) -> dict[str, Any]:
        if self._key is None:
            return {}
        try:
            name = dns.name.from_text(self._key.name)
            key = dns.tsig.Key(name, base64.b64decode(self._key.secret, validate=True), self._key.algorithm)
        except (ValueError, dns.exception.DNSException) as error:
            raise _failed(
                f"the TSIG key {self._key.name} cannot be used: {type(error).__name__}",
                "acme.dns.key_secret is base64, as tsig-keygen and keymgr print it",
            ) from error
        return {"keyring": key}

    def _ask(self, message: dns.message.Message, address: str, port: int) -> dns.message.Message:
        try:
            return dns.query.tcp(message, address, timeout=_SECONDS, port=port)
        except dns.tsig.PeerError as error:
            raise _failed(f"the name server {self._server} refuses the key: {error}", _tsig(error)) from error
        except dns.exception.Timeout as error:
            raise self._silent("it does not answer in time") from error
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise self._silent(str(error) or type(error).__name__) from error

    def _silent(self, why: str) -> CertificateFailed:
        return _failed(
            f"the name server {self._server} cannot be asked: {why}",
            "look at acme.dns.server, and at firewalls: updates go by TCP",
        )

    def _address(self) -> tuple[str, int]:
        host, number = self._server, "53"
        if host.startswith("["):
            host, _, rest = host[1:].partition("]")
            number = rest.removeprefix(":") or number
        elif host.count(":") == 1:
            host, _, number = host.partition(":")
        try:
            found = socket.getaddrinfo(host, int(number), type=socket.SOCK_STREAM)
        except (OSError, ValueError, OverflowError) as error:
            raise self._silent(getattr(error, "strerror", None) or str(error)) from error
        where = found[0][4]
        return str(where[0]), int(where[1])


def _tsig(error: dns.tsig.PeerError) -> str:
    if isinstance(error, dns.tsig.PeerBadTime):
        return "the clocks of this machine and of the name server differ by minutes: set them (timedatectl)"
    return "acme.dns.key_name, key_secret and key_algorithm must be those of a key that the name server knows"


def _failed(message: str, remedy: str) -> CertificateFailed:
    return CertificateFailed(message, kind="dns", remedy=remedy)
