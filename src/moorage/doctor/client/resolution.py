"""Step `name`: which addresses the name has, for this machine and for each name server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from moorage.doctor.client.dns import Told, ask
from moorage.doctor.client.journey import Journey
from moorage.doctor.client.names import Address, Names, NameServer, is_own, kind_of
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong

_MOST_DNS_SECONDS = 5.0
"""The system's own resolver gives up on a name server after as long (resolv.conf(5))."""


async def look(journey: Journey) -> AsyncIterator[Finding]:
    """The addresses, and where name servers disagree."""
    target, names = journey.target, journey.options.names
    if target.address is not None:
        journey.addresses = [target.host]
        yield ok(f"{described(target.host)} is an address: no name has to be resolved", addresses=[target.host])
        return
    # Side by side: with name servers that say nothing, each takes its time.
    (journey.addresses, failure), told = await asyncio.gather(
        asyncio.to_thread(_lookup, names, target.host), _ask_all(journey)
    )
    hosts = names.hosts_file(target.host)
    if journey.addresses:
        source = "the hosts file of this machine" if hosts else "this machine's resolver"
        yield ok(
            f"{target.host} is {', '.join(map(described, journey.addresses))}, says {source}",
            addresses=journey.addresses,
            hosts_file=hosts,
        )
        for finding in _addresses(journey.addresses):
            yield finding
    else:
        yield _unresolved(target.host, failure, told)
    for finding in _servers(target.host, journey.addresses, hosts, told, set(journey.options.resolvers)):
        yield finding


def _lookup(names: Names, host: str) -> tuple[list[Address], Exception | None]:
    try:
        return names.lookup(host), None
    except (socket.gaierror, UnicodeError) as error:
        return [], error


async def _ask_all(journey: Journey) -> list[Told]:
    host, names = journey.target.host, journey.options.names
    if host == "localhost" or host.endswith((".localhost", ".local")):
        return []  # never asked of a name server (RFC 6761, RFC 6762)
    servers = list(dict.fromkeys((*names.servers(), *journey.options.resolvers)))
    timeout = min(journey.options.timeout, _MOST_DNS_SECONDS)
    full = [host] if "." in host else [f"{host}.{domain}" for domain in names.search()][:1] or [host]
    return list(await asyncio.gather(*(ask(server, full[0], timeout) for server in servers)))


def described(address: Address) -> str:
    """`10.0.0.5 (private)`, `192.0.2.1 (this machine)`."""
    kind = kind_of(address)
    return f"{address} ({'this machine' if kind != 'loopback' and is_own(address) else kind})"


def _addresses(addresses: list[Address]) -> Iterator[Finding]:
    for address in addresses:
        kind = kind_of(address)
        if kind == "reserved" and not is_own(address):
            yield warning(
                f"{address} is from a range that belongs to nobody on the internet",
                "Proxy programs on a client's machine answer such addresses in place of the real one (fake-ip), and a"
                " template may have been copied as it was. What is seen from here is not what others see.",
                f"getent ahosts {address}",
                address=address,
            )
        elif kind in {"unspecified", "multicast"}:
            yield wrong(
                f"{address} is no address of a server",
                "0.0.0.0 is where a server may listen, never where a client goes; DNS blockers answer it, too.",
                "correct the name's A or AAAA record, or the list of the blocker",
                address=address,
            )


def _unresolved(host: str, failure: Exception | None, told: list[Told]) -> Finding:
    """Why the system knows no address: as exact as what the name servers say."""
    said = "; ".join(f"{one.server} {_state(one)}" for one in told)
    facts: dict[str, Any] = {"error": str(failure), "servers": {str(one.server): one.state for one in told}}
    if told and all(one.failed for one in told):
        return wrong(
            f"{host} cannot be looked up: no name server answers as it should ({said})",
            'Clients say "server misbehaving", "i/o timeout" or "temporary failure in name resolution". The name may be'
            " right; this machine's name servers are not.",
            "cat /etc/resolv.conf",
            f"nslookup {host} {told[0].server.address}",
            blocks=True,
            **facts,
        )
    if any(one.state == "no-addresses" for one in told):
        return wrong(
            f"{host} exists, but has neither an A nor an AAAA record ({said})",
            'Clients say "no such host".',
            f"{host}.  300  IN  A  ADDRESS-OF-THE-SERVER",
            blocks=True,
            **facts,
        )
    if any(one.state == "answer" for one in told):
        return wrong(
            f"{host} is known to a name server, but not to the programs of this machine ({said})",
            "They ask the name servers of /etc/resolv.conf, in the order that /etc/nsswitch.conf gives.",
            f"getent ahosts {host}",
            "grep ^hosts: /etc/nsswitch.conf",
            blocks=True,
            **facts,
        )
    return wrong(
        f"{host} does not exist" + (f" ({said})" if said else f" ({failure})"),
        'Clients say "no such host". The name is mistyped, or its record was not made, or not yet known everywhere.',
        f"{host}.  300  IN  A  ADDRESS-OF-THE-SERVER",
        f"or, for this machine alone: echo 'ADDRESS-OF-THE-SERVER {host}' | sudo tee -a /etc/hosts",
        blocks=True,
        **facts,
    )


def _servers(
    host: str, system: list[Address], hosts: list[Address], told: list[Told], extra: set[NameServer]
) -> Iterator[Finding]:
    """What each name server says, and the differences between them and the system."""
    if not told:
        return
    answers = {str(one.server): {"state": one.state, "addresses": list(one.addresses)} for one in told}
    silent = [one for one in told if one.failed]
    known = [one for one in told if not one.failed]
    said = "; ".join(f"{one.server} {_state(one)}" for one in known)
    if silent and system:
        yield _silent(silent, known, hosts=bool(hosts), answers=answers)
    if _disagree(known):
        yield warning(
            f"name servers disagree on {host}: {said}",
            "Which server a client reaches depends on which of them it asks: a split horizon, or a record that changed"
            " a short while ago. What is well from here may be wrong elsewhere.",
            *(f"nslookup {host} {one.server.address}" for one in known),
            servers=answers,
        )
    elif hosts and known and not _same(system, known[0].addresses):
        yield _against_hosts_file(host, known[0], system, answers)
    elif known and system and known[0].state == "answer" and _differ(system, known[0].addresses):
        yield warning(
            f"this machine goes to {', '.join(system)}, but {said}",
            "Something on this machine answers in place of its name servers: a proxy program, a cache, a VPN.",
            f"getent ahosts {host}",
            servers=answers,
        )
    elif known and system:
        asked = " and ".join(str(one.server) for one in known)
        aliases = f" by way of {' and '.join(known[0].aliases)}" if known[0].aliases else ""
        note = " (asked besides)" if extra & {one.server for one in known} and len(known) == 1 else ""
        if known[0].state == "answer":
            yield ok(f"asked straight, {asked} says the same{aliases}{note}", servers=answers)
        else:
            yield ok(f"{asked} does not know the name; this machine has it from elsewhere", servers=answers)


def _silent(silent: list[Told], known: list[Told], *, hosts: bool, answers: Mapping[str, object]) -> Finding:
    said = "; ".join(f"{one.server} {_state(one)}" for one in silent)
    if hosts:
        return skipped(f"name servers could not be asked ({said}); the hosts file needs none", servers=answers)
    return warning(
        f"not every name server of this machine answers: {said}" if known else f"no name server answers: {said}",
        "Each lookup that goes there first waits for seconds, or fails.",
        "cat /etc/resolv.conf",
        servers=answers,
    )


def _against_hosts_file(host: str, told: Told, system: list[Address], answers: Mapping[str, object]) -> Finding:
    if told.state != "answer":
        return ok(
            f"only this machine's hosts file knows the name: {told.server} {_state(told)}; other machines and"
            " containers need the line, too",
            servers=answers,
        )
    return warning(
        f"the hosts file sends this machine to {', '.join(system)}, DNS sends others to {', '.join(told.addresses)}",
        "What is seen from here may be another server than the one that others reach. A line in /etc/hosts that was"
        " meant for a test, or is older than the server, is the usual cause.",
        f"grep -n -i {host} /etc/hosts",
        servers=answers,
    )


def _same(system: list[Address], told: tuple[Address, ...]) -> bool:
    """Where a client finds no IPv6 on its machine, the system may leave those addresses out."""
    return bool(told) and set(system) <= set(told)


def _disagree(known: list[Told]) -> bool:
    """Whether one name server knows the name and another does not, or they lead to different places."""
    if len({one.state == "answer" for one in known}) > 1:
        return True
    return any(_differ(one.addresses, other.addresses) for one, other in pairwise(known))


def _differ(some: Sequence[Address], others: Sequence[Address]) -> bool:
    """Whether these are different places; large services have many public addresses and show a few at a time."""
    if set(some) & set(others) or not some or not others:
        return False
    return any(kind_of(one) != "public" for one in (*some, *others))


def _state(told: Told) -> str:
    """What a name server said, in words."""
    words = {
        "answer": f"says {', '.join(told.addresses)}",
        "no-addresses": "has no address for it",
        "nxdomain": "says that there is no such name (NXDOMAIN)",
        "timeout": "does not answer",
        "unreachable": "cannot be reached",
        "garbled": "sends no valid answer",
    }
    return words.get(told.state, f"fails with {told.state.upper()}")
