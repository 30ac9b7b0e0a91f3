"""Step `certificate`: what the server shows, and who on this machine trusts it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from moorage.doctor.client import certificate
from moorage.doctor.client.chain import Card, read
from moorage.doctor.client.fetch import certificates_in, fetch
from moorage.doctor.client.journey import Journey, verifying
from moorage.doctor.client.names import Address
from moorage.doctor.client.tls import sent_chain
from moorage.doctor.finding import Finding, ok, skipped, wrong

# X509_V_ERR_* of OpenSSL's x509_vfy.h. The chain was built before times, names and purposes are looked at.
_NO_ISSUER: Final = frozenset({2, 20, 21})
_SELF_SIGNED: Final = frozenset({18, 19})
_LOOKED_AT_ELSEWHERE: Final = frozenset({9, 10, 26, 62, 64, 66, 67, 68})


@dataclass(frozen=True, slots=True)
class Judged:
    """What one set of authorities makes of the server: *code* is OpenSSL's, 0 for good; *words* are its, too."""

    context: ssl.SSLContext
    code: int
    words: str

    @property
    def built(self) -> bool:
        """Whether the chain leads to somebody who is trusted, whatever else is wrong with it."""
        return self.code not in _NO_ISSUER | _SELF_SIGNED


async def look(journey: Journey) -> AsyncIterator[Finding]:
    """Findings on each certificate that the addresses show; `journey.trusted` is set where all is well."""
    if not journey.target.tls:
        return  # plain HTTP has none
    distinct = {chain[0]: address for address, chain in reversed(journey.chains.items())}
    for address in sorted(distinct.values(), key=list(journey.chains).index):
        async for finding in _one(journey, address):
            # Each of several servers may have a certificate of its own; each has to be good.
            yield replace(finding, what=f"at {address}: {finding.what}") if len(distinct) > 1 else finding


async def _one(journey: Journey, address: Address) -> AsyncIterator[Finding]:
    try:
        chain = tuple(map(read, journey.chains[address]))
    except ValueError as error:
        yield wrong(
            f"the certificate at {address} cannot be read: {error}",
            "Clients refuse it as malformed.",
            "have it made anew",
            blocks=True,
        )
        return
    unnamed = await asyncio.to_thread(_unnamed, journey, address)
    shown = certificate.Shown(journey.target, chain, datetime.now(UTC), journey.skew, unnamed)
    good = True
    for finding in certificate.findings(shown):
        good = good and not finding.blocks
        yield finding
    found = await asyncio.to_thread(_who_trusts, journey, address)
    if found is None:
        judged = await asyncio.to_thread(_judge, journey, address, verifying(journey.options))
        yield await asyncio.to_thread(_untrusted, journey, shown, judged)
        return
    source, trusted = found
    yield _trusted(journey, shown.leaf, source)
    if trusted.code and (good or trusted.code not in _LOOKED_AT_ELSEWHERE):
        yield wrong(
            f"the certificate is refused: {trusted.words}",
            "This is what OpenSSL says of it.",
            f"openssl s_client -connect {journey.target.bracketed}:{journey.target.port} -servername"
            f" {journey.target.host}",
            blocks=True,
        )
    elif good:
        trusted.context.check_hostname = True
        if not journey.old:
            journey.trusted = journey.trusted or trusted.context


def _who_trusts(journey: Journey, address: Address) -> tuple[str, Judged] | None:
    """The first source of trust by which the chain can be built."""
    return next(((source, judged) for source, judged in _sources(journey, address) if judged.built), None)


def _sources(journey: Journey, address: Address) -> Iterator[tuple[str, Judged]]:
    """Who may trust it, one after the other, in the order of how many clients that helps."""
    options = journey.options
    yield "this machine's own authorities", _judge(journey, address, verifying(options))
    if options.ca_file is not None:
        given = verifying(options, system=False)
        given.load_verify_locations(options.ca_file)
        yield f"{options.ca_file}", _judge(journey, address, given)
    for folder in options.certs_folders:
        mine = verifying(options, system=False)
        if _load_folder(mine, folder / journey.target.authority):
            yield f"{folder / journey.target.authority}", _judge(journey, address, mine)


def _load_folder(context: ssl.SSLContext, folder: Path) -> bool:
    """Load every .crt of an engine's folder; whether there was one that could be used."""
    loaded = False
    for path in sorted(folder.glob("*.crt")):
        try:
            context.load_verify_locations(path)
            loaded = True
        except OSError:  # ssl.SSLError is one
            continue
    return loaded


def _judge(journey: Journey, address: Address, context: ssl.SSLContext) -> Judged:
    """Shake hands with *context*; the name is not compared here, nor the strength of keys."""
    context.check_hostname = False
    try:
        journey.line(address, context).open().close()
    except ssl.SSLCertVerificationError as error:
        return Judged(context, error.verify_code, error.verify_message)
    return Judged(context, 0, "")


def _unnamed(journey: Journey, address: Address) -> Card | None:
    """The certificate for clients that name no server."""
    try:
        with journey.line(address).open(named=False) as stream:
            assert isinstance(stream, ssl.SSLSocket)
            return read(sent_chain(stream)[0])
    except (OSError, ValueError, IndexError):
        return None


def _trusted(journey: Journey, leaf: Card, source: str) -> Finding:
    issuer = leaf.issuer if not leaf.self_issued else "itself"
    folder = next((one for one in journey.options.certs_folders if source.startswith(str(one))), None)
    if folder is not None:
        engine = "Docker" if "docker" in folder.parts else "podman, buildah and skopeo"
        return ok(
            f"signed by {issuer}, which {engine} on this machine trust{'s' if engine == 'Docker' else ''} for this"
            f" registry ({source}); other programs here do not",
            trusted_by=source,
        )
    note = "; others need it, too" if source == str(journey.options.ca_file) else ""
    return ok(f"signed by {issuer}, which {source} vouch{'es' if note else ''} for{note}", trusted_by=source)


def _untrusted(journey: Journey, shown: certificate.Shown, judged: Judged) -> Finding:
    """The chain leads to nobody who is trusted: because a part of it is missing, or because nobody knows its end."""
    chain, target = shown.chain, journey.target
    last = chain[-1]
    facts: dict[str, Any] = {
        "issuer": shown.leaf.issuer,
        "certificates": len(chain),
        "verify_code": judged.code,
        "verify_message": judged.words,
    }
    if judged.code in _NO_ISSUER and not last.self_issued and last.issuers_at:
        return _incomplete(journey, last, facts)
    offered = _offered(journey, chain)
    folder = f"/etc/docker/certs.d/{target.authority}"
    meaning = (
        'Clients say "x509: certificate signed by unknown authority". Each client\'s machine has to be given the'
        " authority once."
    )
    if offered:
        return wrong(
            f"nobody here trusts the authority that signed it, {shown.leaf.issuer}",
            f"{meaning} The registry offers its authority at /ca.crt, and the steps for each client at"
            f" {target.url}/trust; compare the fingerprint with that on the server's terminal, not with what a page"
            " says.",
            f"sudo moorage trust {target.authority}",
            "on the server: moorage cert authorities    # shows the fingerprint to compare",
            f"without Moorage here: curl -k {target.url}/trust    # says what to type",
            blocks=True,
            **facts,
            authority_offered=True,
        )
    own = shown.leaf.self_issued
    return wrong(
        "the certificate is self-signed, and nobody here trusts it"
        if own
        else f"nobody here trusts the authority that signed it, {shown.leaf.issuer}",
        f"{meaning} Copy {'the certificate itself' if own else 'the certificate of the authority'} from the server"
        f" by a way that you trust. Its folder is named exactly as images name the registry: {target.authority}.",
        f"sudo install -D -m 644 ca.crt {folder}/ca.crt    # docker reads it at once",
        f"moorage doctor --client {target.url} --ca-file ca.crt",
        blocks=True,
        **facts,
        fingerprint=shown.leaf.fingerprint,
    )


def _incomplete(journey: Journey, last: Card, facts: dict[str, Any]) -> Finding:
    """An intermediate certificate is not sent; the certificate itself says where it can be had."""
    where = last.issuers_at[0]
    fetched = next(iter(certificates_in(fetch(where, journey.options.timeout))), None)
    proof = ""
    if fetched is not None:
        try:
            proof = f" It is there: {read(fetched).subject}."
        except ValueError:
            proof = ""
    return wrong(
        f"an intermediate certificate is missing: the server sends {facts['certificates']}, and not {last.issuer}",
        'Clients say "x509: certificate signed by unknown authority", though browsers, which fetch or remember the'
        f" missing one, are content.{proof} The server has to send it after its own.",
        "use fullchain.pem, not cert.pem    # certbot",
        f"curl -fsS {where} | openssl x509 -inform der >> registry.crt",
        blocks=True,
        **facts,
        issuer_at=where,
        issuer_found=fetched is not None,
    )


def _offered(journey: Journey, chain: tuple[Card, ...]) -> bool:
    """Whether the registry offers, at /ca.crt, an authority that signed what it shows."""
    try:
        answer = journey.line().ask("GET", "/ca.crt")
    except OSError:
        return False
    if answer.status != 200:
        return False
    try:
        subjects = {read(one).subject for one in certificates_in(answer.body)}
    except ValueError:
        return False
    return any(card.issuer in subjects for card in chain)


async def look_at_clock(journey: Journey) -> AsyncIterator[Finding]:
    """Step `clock`: this machine's clock beside the server's, by the Date header."""
    from email.utils import parsedate_to_datetime

    first = journey.first
    try:
        theirs = parsedate_to_datetime(first["Date"]) if first else None
    except ValueError:
        theirs = None
    if first is None or theirs is None:
        yield skipped("the server does not say what time it is")
        return
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=UTC)
    # Date is cut to the second: half a second later is the middle of what it may mean.
    journey.skew = (first.at - theirs - timedelta(seconds=0.5)).total_seconds()
    finding = certificate.clock(journey.skew)
    if finding is not None:
        yield finding
