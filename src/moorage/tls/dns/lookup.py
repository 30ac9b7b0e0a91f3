"""Questions to the DNS: where a record really belongs, and which name servers show it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver

from moorage.errors import CertificateFailed

_SECONDS: Final = 5.0
"""For one answer of one name server."""
_LIFETIME: Final = 15.0
"""For one question to the resolvers, all attempts together."""
_MOST_ALIASES: Final = 8
_LABEL: Final = "_acme-challenge"


@dataclass(frozen=True, slots=True)
class Sight:
    """Which name servers of *name*'s zone show a record, have answered without it, and have not answered."""

    name: str
    showing: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()

    @property
    def all_show(self) -> bool:
        """Whether there are any, and none of them lacks it."""
        return bool(self.showing) and not self.without and not self.silent


class Lookup:
    """Asks *resolvers* (`address` or `address:port`; none: the machine's) and the name servers that they name.

    *port* is that of the name servers, and *lifetime* the seconds for one question, both for tests. Methods block.
    """

    def __init__(self, resolvers: Sequence[str] = (), port: int = 53, lifetime: float = _LIFETIME) -> None:
        self._port, self._lifetime = port, lifetime
        self._resolvers = tuple(resolvers)

    def _resolver(self) -> dns.resolver.Resolver:
        if not self._resolvers:
            try:
                resolver = dns.resolver.Resolver()
            except dns.resolver.NoResolverConfiguration as error:
                raise _failed("this machine has no DNS resolver", "set acme.dns.resolvers") from error
        else:
            resolver = dns.resolver.Resolver(configure=False)
            resolver.nameservers = [dns.nameserver.Do53Nameserver(*address(one)) for one in self._resolvers]
        resolver.lifetime, resolver.timeout = self._lifetime, min(_SECONDS, self._lifetime)
        # An old negative answer is the one thing that must not be believed here.
        resolver.cache = None
        return resolver

    def place(self, domain: str) -> str:
        """The name that the record for *domain* belongs at: `_acme-challenge.` before it, or what that is an alias of.

        Raises CertificateFailed where aliases go in a circle.
        """
        resolver = self._resolver()
        name = dns.name.from_text(f"{_LABEL}.{domain}")
        for _ in range(_MOST_ALIASES):
            target = self._alias(resolver, name)
            if target is None:
                return name.to_text(omit_final_dot=True)
            name = target
        raise _failed(
            f"{_LABEL}.{domain} is an alias of an alias, more than {_MOST_ALIASES} times", "look at its CNAME records"
        )

    @staticmethod
    def _alias(resolver: dns.resolver.Resolver, name: dns.name.Name) -> dns.name.Name | None:
        try:
            answer = resolver.resolve(name, "CNAME")
        except dns.exception.DNSException:
            return None
        for record in answer:
            target: dns.name.Name = record.target
            return target
        return None

    def zone(self, name: str) -> str | None:
        """The zone that holds *name*, by its SOA record; None where nobody says."""
        try:
            found = dns.resolver.zone_for_name(dns.name.from_text(name), resolver=self._resolver())
        except (dns.exception.DNSException, OSError):
            return None
        return found.to_text(omit_final_dot=True) if found != dns.name.root else None

    def look(self, name: str, value: str) -> Sight:
        """What the name servers of *name*'s zone answer for its TXT records."""
        zone = self.zone(name)
        showing: list[str] = []
        without: list[str] = []
        silent: list[str] = []
        for server, addresses in self._name_servers(zone) if zone is not None else ():
            if not addresses:
                silent.append(server)
            for one in addresses:
                shows = self._shows(one, name, value)
                group = silent if shows is None else showing if shows else without
                group.append(f"{server} ({one})")
        return Sight(name, tuple(showing), tuple(without), tuple(silent))

    def _name_servers(self, zone: str) -> list[tuple[str, list[str]]]:
        resolver = self._resolver()
        try:
            servers = [record.target for record in resolver.resolve(dns.name.from_text(zone), "NS")]
        except dns.exception.DNSException:
            return []
        return [(name.to_text(omit_final_dot=True), self._addresses(resolver, name)) for name in servers]

    @staticmethod
    def _addresses(resolver: dns.resolver.Resolver, name: dns.name.Name) -> list[str]:
        for kind in ("A", "AAAA"):
            try:
                # One kind is enough: the same server answers by both.
                return [record.address for record in resolver.resolve(name, kind)]
            except dns.exception.DNSException:
                continue
        return []

    def _shows(self, server: str, name: str, value: str) -> bool | None:
        """Whether the name server at *server* answers *value*; None: it cannot be asked."""
        question = dns.message.make_query(dns.name.from_text(name), dns.rdatatype.TXT)
        question.flags &= ~dns.flags.RD
        try:
            answer, _ = dns.query.udp_with_fallback(question, server, timeout=_SECONDS, port=self._port)
        except (dns.exception.DNSException, OSError):
            return None
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return None
        return value.encode() in {
            b"".join(record.strings) for rrset in answer.answer if rrset.rdtype == dns.rdatatype.TXT for record in rrset
        }


def address(text: str, port: int = 53) -> tuple[str, int]:
    """`address`, `address:port` or `[address]:port` as a pair. Raises CertificateFailed where it is none."""
    host, number = text, str(port)
    if text.startswith("["):
        # Without the bracket that closes it, what is left is no address.
        host, bracket, rest = text[1:].partition("]")
        host, number = host if bracket else text, rest.removeprefix(":") or number
    elif text.count(":") == 1:
        host, _, number = text.partition(":")
    try:
        return str(ipaddress.ip_address(host)), int(number)
    except ValueError:
        raise _failed(
            f"{text} is no address of a name server", "it is written 192.0.2.53, 192.0.2.53:53 or [2001:db8::53]:53"
        ) from None


def _failed(message: str, remedy: str) -> CertificateFailed:
    return CertificateFailed(message, kind="dns", remedy=remedy)
