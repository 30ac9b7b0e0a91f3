"""CAA records (RFC 8659): whether a domain, or one above it, forbids an authority to issue for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from moorage.doctor.client.names import NameServer
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong
from moorage.tls.names import is_wildcard

_KNOWN = ("issue", "issuewild", "iodef", "issuemail", "contactemail", "contactphone")


@dataclass(frozen=True, slots=True)
class Records:
    """The CAA records that count for a name: those of *domain*, the name itself or the nearest above that has any.

    *records* are (critical, tag, value); *trouble* is what a name server answered in place of an answer.
    """

    domain: str
    records: tuple[tuple[bool, str, str], ...] = ()
    trouble: str | None = None


async def find_records(name: str, server: NameServer, timeout: float) -> Records:
    """Walk up from *name* until a domain has records (RFC 8659, 3); nothing is asked of the root and top levels."""
    labels = name.removeprefix("*.").split(".")
    for start in range(max(1, len(labels) - 1)):
        domain = ".".join(labels[start:])
        found = await _ask(domain, server, timeout)
        if found.trouble or found.records:
            return found
    return Records(name)


async def _ask(domain: str, server: NameServer, timeout: float) -> Records:
    import dns.asyncquery
    import dns.exception
    import dns.message
    import dns.rcode
    import dns.rdatatype

    query = dns.message.make_query(domain, "CAA")
    try:
        reply, _ = await dns.asyncquery.udp_with_fallback(query, server.address, timeout, server.port)
    except dns.exception.Timeout:
        return Records(domain, trouble="no answer")
    except (OSError, EOFError, dns.exception.DNSException) as error:
        return Records(domain, trouble=str(error) or type(error).__name__)
    if reply.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        return Records(domain, trouble=dns.rcode.to_text(reply.rcode()))
    records = [
        (
            bool(record.flags & 0x80),
            record.tag.decode("ascii", "replace").lower(),
            record.value.decode("utf-8", "replace"),
        )
        for rrset in reply.answer
        if rrset.rdtype == dns.rdatatype.CAA
        for record in rrset
    ]
    return Records(domain, tuple(records))


def judge(name: str, found: Records, identities: Sequence[str], challenge: str) -> Iterator[Finding]:
    """Whether the authority known as *identities* may issue for *name*, shown by the kind of *challenge*."""
    if found.trouble:
        yield skipped(
            f"the CAA records of {found.domain} could not be asked for: {found.trouble}",
            "An authority that gets no answer either does not issue (`caa` or `dns` in its problem).",
        )
        return
    critical = [tag for is_critical, tag, _ in found.records if is_critical and tag not in _KNOWN]
    if critical:
        yield wrong(
            f"a CAA record of {found.domain} has the critical property {critical[0]}, which nobody knows",
            "No authority issues for a name with such a record.",
            f"dig CAA {found.domain}",
        )
        return
    tag = "issuewild" if is_wildcard(name) and any(one == "issuewild" for _, one, _ in found.records) else "issue"
    values = [value for _, one, value in found.records if one == tag]
    if not values:
        yield ok(f"no CAA record forbids to issue for {name}")
        return
    allowed = [value for value in values if _issuer(value) in identities]
    shown = ", ".join(value.strip() or "nobody" for value in values)
    if not identities:
        yield ok(
            f"CAA records of {found.domain} allow {shown} alone; how this authority calls itself there is not known"
        )
    elif not allowed:
        yield wrong(
            f"CAA records of {found.domain} allow {shown}, and the authority is {' or '.join(identities)}",
            f"It refuses to issue for {name}: `urn:ietf:params:acme:error:caa`.",
            f'{found.domain}. IN CAA 0 {tag} "{identities[0]}"    ; a record to add to the zone',
            domain=found.domain,
        )
    elif not any(_permits(value, challenge) for value in allowed):
        yield wrong(
            f"the CAA record of {found.domain} allows {shown}, and not by {challenge}",
            f"The authority refuses to issue for {name} by this challenge (validationmethods, RFC 8657).",
            f"moorage serve --acme-challenge {_methods(allowed[0])[0]} ...",
            domain=found.domain,
        )
    elif any("accounturi" in value.lower() for value in allowed):
        yield warning(
            f"the CAA record of {found.domain} names the one account that may get certificates: {shown}",
            "If that is not the account of this server, the authority refuses: `urn:ietf:params:acme:error:caa`.",
            f"dig CAA {found.domain}",
        )
    else:
        yield ok(f"CAA records of {found.domain} allow {shown}")


def _issuer(value: str) -> str:
    return value.partition(";")[0].strip().lower().rstrip(".")


def _methods(value: str) -> list[str]:
    for part in value.split(";")[1:]:
        name, _, text = part.partition("=")
        if name.strip().lower() == "validationmethods":
            return [method.strip() for method in text.split(",")]
    return []


def _permits(value: str, challenge: str) -> bool:
    methods = _methods(value)
    return not methods or challenge in methods
