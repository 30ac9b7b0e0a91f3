"""Whether an authority that comes to the domain will find this server: by DNS, by port, and past CAA records."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from moorage.doctor.accounts import acting_as
from moorage.doctor.client.dns import Told, ask
from moorage.doctor.client.http import Answer, Line, Silence
from moorage.doctor.client.names import Address, Names, NameServer, is_own, kind_of
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong
from moorage.doctor.server import caa
from moorage.doctor.server.acme import Authority, challenge_of
from moorage.doctor.server.certificate_files import Surroundings
from moorage.settings.model import Settings
from moorage.tls.machine import interface_addresses
from moorage.tls.names import is_address, is_wildcard
from moorage.tls.store import CertificateStore

_CHALLENGES: Final = "/.well-known/acme-challenge/"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What prospects are judged with.

    - *names*: how this machine finds addresses; *resolvers*: name servers that are asked beside its own.
    - *served*: whether a server runs, which answers challenges; *ports*: where for each challenge.
    - *public*: whether the authority comes over the internet, as Let's Encrypt does.
    """

    settings: Settings
    store: CertificateStore
    around: Surroundings
    names: Names
    resolvers: Sequence[NameServer]
    authority: Authority | None
    served: bool
    timeout: float
    http_port: int = 80
    tls_port: int = 443

    @property
    def public(self) -> bool:
        """Whether the authority asks from the internet: a private one has its own certificate's authority named."""
        return self.settings.acme.ca_file is None


async def look_at_domain(domain: str, outlook: Outlook) -> AsyncIterator[Finding]:
    """Everything that the authority will look at for *domain*."""
    challenge = challenge_of(outlook.settings)
    addresses: list[Address] = [domain] if is_address(domain) else []
    servers = [*outlook.names.servers(), *outlook.resolvers]
    if not addresses and not is_wildcard(domain) and challenge != "dns-01":
        told = await asyncio.gather(*(ask(server, domain, outlook.timeout) for server in servers))
        for finding in judge_names(domain, told):
            yield finding
        addresses = _addresses(told) or await _looked_up(domain, outlook.names)
        for finding in judge_addresses(domain, addresses, public=outlook.public):
            yield finding
    if is_wildcard(domain) and challenge != "dns-01":
        yield wrong(
            f"{domain}: a wildcard is shown by dns-01 alone, and the challenge is {challenge}",
            "No authority issues it otherwise.",
            "moorage serve --acme-challenge dns-01 --acme-dns-method ... ...",
        )
    elif challenge != "dns-01":
        for address in addresses:
            async for finding in _knock(domain, address, challenge, outlook):
                yield finding
    if not is_address(domain) and outlook.authority is not None:
        async for finding in _look_at_caa(domain, servers, challenge, outlook):
            yield finding


def judge_names(domain: str, told: Sequence[Told]) -> Iterator[Finding]:
    """What name servers say: nothing, different things, or the same."""
    answered = [one for one in told if not one.failed]
    for one in told:
        if one.failed:
            yield skipped(f"{domain}: the name server {one.server} gave no answer ({one.state})")
    if not answered:
        return
    empty = [one for one in answered if not one.addresses]
    if len(empty) == len(answered):
        missing = "does not exist" if empty[0].state == "nxdomain" else "has no address"
        yield wrong(
            f"{domain} {missing}, says {', '.join(str(one.server) for one in empty)}",
            "The authority will say `urn:ietf:params:acme:error:dns`. Is it spelled right, and is the record there?",
            f"{domain}. IN A ADDRESS-OF-THIS-SERVER    ; a record to add to the zone",
            f"dig {domain} A; dig {domain} AAAA",
            domain=domain,
        )
        return
    views = {frozenset(one.addresses) for one in answered}
    if len(views) > 1:
        said = "; ".join(f"{one.server}: {', '.join(one.addresses) or one.state}" for one in answered)
        yield warning(
            f"{domain}: name servers disagree ({said})",
            "A record was changed a short while ago, or inside and outside see different zones (split horizon). The"
            " authority sees what the public ones say.",
            *(f"dig @{one.server.address} -p {one.server.port} {domain}" for one in answered[:3]),
            domain=domain,
        )


def judge_addresses(domain: str, addresses: Sequence[Address], *, public: bool) -> Iterator[Finding]:
    """Whether the addresses of *domain* are this machine's, as far as a machine can know."""
    own = interface_addresses()
    outside = [address for address in own if kind_of(address) == "public"]
    for address in addresses:
        kind, record = kind_of(address), "AAAA" if ":" in address else "A"
        same_kind = [one for one in outside if (":" in one) == (":" in address)]
        if public and kind in {"loopback", "private", "link-local", "unspecified"}:
            yield wrong(
                f"{domain}: its {record} record is {address}, which is {kind}",
                "An authority on the internet cannot come there. For a name that leads inside, dns-01 needs no way in.",
                "moorage serve --acme-dns-method ... ...",
                domain=domain,
                address=address,
            )
        elif is_own(address):
            yield ok(f"{domain}: its {record} record is {address}, an address of this machine", address=address)
        elif record == "AAAA" or same_kind:
            has = ", ".join(same_kind) or "no public IPv6 address"
            yield warning(
                f"{domain}: its {record} record is {address}, and this machine has {has}",
                "Authorities come by IPv6 where there is a AAAA record: one left from before is the usual reason why"
                " http-01 fails although all is well by IPv4."
                if record == "AAAA"
                else "The name leads to another machine, unless that one passes everything on.",
                f"dig {domain} {record}    # correct or remove the record",
                domain=domain,
                address=address,
            )
        else:
            yield ok(
                f"{domain}: its {record} record is {address}; this machine has only {', '.join(own) or 'loopback'}, so"
                " that a router or the cloud has to pass ports on to it",
                address=address,
            )


async def _knock(domain: str, address: Address, challenge: str, outlook: Outlook) -> AsyncIterator[Finding]:
    """Come as the authority does, by *address*."""
    if not outlook.served:
        yield skipped(f"{domain}: whether {address} answers is seen only while the server runs")
    elif challenge == "http-01":
        yield await _try_http(domain, address, outlook)
    else:
        yield await _try_alpn(domain, address, outlook)


async def _try_http(domain: str, address: Address, outlook: Outlook) -> Finding:
    token, secret = f"doctor-{secrets.token_hex(16)}", secrets.token_hex(16)
    url = f"http://{domain}{_CHALLENGES}"
    line = Line(domain, domain, address, outlook.http_port, None, outlook.timeout)
    try:
        with acting_as(outlook.around.user):
            outlook.store.answer_http(token, secret)
        try:
            answer = await asyncio.to_thread(line.ask, "GET", _CHALLENGES + token)
        finally:
            with acting_as(outlook.around.user), suppress(OSError):
                outlook.store.forget_http(token)
    except (TimeoutError, ConnectionError, Silence, OSError) as error:
        return _closed(domain, address, outlook.http_port, error)
    if answer.status == 200 and answer.body.decode("latin-1").strip() == secret:
        return ok(f"{domain}: {url}... at {address} is answered by this server", address=address)
    return _somebody_else(domain, address, answer)


def _closed(domain: str, address: Address, port: int, error: OSError) -> Finding:
    what = "does not answer" if isinstance(error, TimeoutError) else f"cannot be reached: {error.strerror or error}"
    if is_own(address):
        return wrong(
            f"{domain}: port {port} of {address}, which is this machine, {what}",
            "The authority will say `connection`. The server does not listen there, or a firewall is before it.",
            f"sudo ss -ltnp 'sport = :{port}'",
            f"moorage serve --tls-plain-listen :{port} ...",
            domain=domain,
            address=address,
        )
    return warning(
        f"{domain}: port {port} of {address} {what}, seen from here",
        "Many routers do not let a machine come back to itself by its public address; whether the internet can come in"
        " is seen only from outside. The authority will say `connection` if it cannot.",
        f"curl -v http://{domain}/.well-known/acme-challenge/x    # from a phone's network: 404 by moorage is right",
        domain=domain,
        address=address,
    )


def _somebody_else(domain: str, address: Address, answer: Answer) -> Finding:
    said = f"{answer.status}{answer.by}"
    target = answer["Location"]
    if 300 <= answer.status < 400 and target:
        return wrong(
            f"{domain}: at {address} a challenge is redirected to {target[:120]} ({said})",
            "Another server or a login page is before this one. An authority follows to the same path on 80 or 443"
            " alone, and the answer has to be there.",
            f"location {_CHALLENGES} {{ proxy_pass http://127.0.0.1:PORT; }}    # nginx: before any redirect",
            domain=domain,
            address=address,
        )
    return wrong(
        f"{domain}: at {address} somebody else answers challenges: {said}",
        "The authority will say `unauthorized`: the record leads to another machine, or another server on this one has"
        " port 80.",
        "sudo ss -ltnp 'sport = :80'",
        f"location {_CHALLENGES} {{ proxy_pass http://127.0.0.1:PORT; }}    # nginx, if it is to stay in front",
        domain=domain,
        address=address,
        status=answer.status,
    )


async def _try_alpn(domain: str, address: Address, outlook: Outlook) -> Finding:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    line = Line(domain, domain, address, outlook.tls_port, context, outlook.timeout)
    try:
        (await asyncio.to_thread(line.open)).close()
    except OSError as error:
        return _closed(domain, address, outlook.tls_port, error)
    return ok(f"{domain}: port {outlook.tls_port} of {address} speaks TLS", address=address)


async def _look_at_caa(
    domain: str, servers: Sequence[NameServer], challenge: str, outlook: Outlook
) -> AsyncIterator[Finding]:
    assert outlook.authority is not None
    found = caa.Records(domain, trouble="no name server is known")
    for server in reversed(servers):  # those that were named by hand before the machine's own
        found = await caa.find_records(domain, server, outlook.timeout)
        if found.trouble is None:
            break
    for finding in caa.judge(domain, found, outlook.authority.identities, challenge):
        yield finding


def _addresses(told: Sequence[Told]) -> list[Address]:
    """What the last name server that answered says: one named by hand, where there is one."""
    return next((list(one.addresses) for one in reversed(told) if one.addresses), [])


async def _looked_up(domain: str, names: Names) -> list[Address]:
    try:
        return await asyncio.to_thread(names.lookup, domain)
    except OSError:
        return []
