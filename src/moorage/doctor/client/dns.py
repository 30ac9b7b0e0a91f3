"""Asks one name server for one name's addresses, straight and without any cache of this machine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from moorage.doctor.client.names import Address, NameServer


@dataclass(frozen=True, slots=True)
class Told:
    """What a name server said of a name's A and AAAA records.

    *state*: `answer`, `no-addresses` (the name exists), `nxdomain`, `timeout`, `unreachable`, or the code with which it
    failed: `servfail`, `refused`, ... *aliases* is the chain of CNAMEs, the name itself not among them.
    """

    server: NameServer
    state: str
    addresses: tuple[Address, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether nothing is known from it."""
        return self.state not in {"answer", "no-addresses", "nxdomain"}


async def ask(server: NameServer, host: str, timeout: float) -> Told:
    """What *server* says of *host*."""
    four, six = await asyncio.gather(_query(server, host, "A", timeout), _query(server, host, "AAAA", timeout))
    addresses, aliases = (*four.addresses, *six.addresses), four.aliases or six.aliases
    if addresses:
        return Told(server, "answer", addresses, aliases)
    # Some servers fail for AAAA alone; what one record's answer says of the name holds for the name.
    state = next((one.state for one in (four, six) if not one.failed), four.state)
    return Told(server, state, (), aliases)


async def _query(server: NameServer, host: str, kind: str, timeout: float) -> Told:
    import dns.asyncquery
    import dns.exception
    import dns.message
    import dns.rcode
    import dns.rdatatype
    import dns.rrset

    query = dns.message.make_query(host, kind)
    try:
        reply, _ = await dns.asyncquery.udp_with_fallback(query, server.address, timeout, server.port)
    except dns.exception.Timeout:
        return Told(server, "timeout")
    except (OSError, EOFError, dns.exception.DNSException) as error:
        return Told(server, "unreachable" if isinstance(error, OSError) else "garbled")
    addresses: list[str] = []
    aliases: list[str] = []
    for rrset in reply.answer:
        if rrset.rdtype == dns.rdatatype.CNAME:
            aliases.append(str(rrset[0].target).rstrip("."))
        elif rrset.rdtype == dns.rdatatype.from_text(kind):
            addresses += [str(record.address) for record in rrset]
    if addresses:
        return Told(server, "answer", tuple(addresses), tuple(aliases))
    code = reply.rcode()
    if code == dns.rcode.NOERROR:
        return Told(server, "no-addresses", (), tuple(aliases))
    return Told(server, dns.rcode.to_text(code).lower(), (), tuple(aliases))
