"""Certificates from an ACME server: how they stand, what failed last, and whether the next attempt can succeed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from moorage.doctor.accounts import acting_as
from moorage.doctor.finding import Finding, ok, skipped, warning, wrong
from moorage.doctor.server.certificate_files import Surroundings, judge_time, read_files
from moorage.errors import CertificateFailed, MoorageError
from moorage.settings.certificates import LETS_ENCRYPT, LETS_ENCRYPT_STAGING
from moorage.settings.model import Settings
from moorage.tls import renewal, state
from moorage.tls.state import State
from moorage.tls.store import CertificateStore

_SKEW: Final = 300
"""Seconds between two clocks before anybody is told (arbitrary); certificates are good from an hour before."""
_LETS_ENCRYPT: Final = ("letsencrypt.org",)


@dataclass(frozen=True, slots=True)
class Authority:
    """What the authority says of itself: its names in CAA records; None of a directory that could not be had."""

    identities: tuple[str, ...]


def challenge_of(settings: Settings) -> str:
    """The kind of challenge that is tried first."""
    chosen = settings.acme.challenge
    if chosen != "auto":
        return chosen
    return "dns-01" if settings.acme.dns.method is not None else "http-01"


def look_at_states(settings: Settings, store: CertificateStore, around: Surroundings) -> Iterator[Finding]:
    """Each domain's certificate, and what became of the last attempts."""
    issuer = urlsplit(settings.acme.directory).netloc
    for domain in settings.tls.domains:
        try:
            with acting_as(around.user):
                if store.folder.exists():
                    os.listdir(store.folder)
                has, known = store.has(domain), state.load(store, domain)
        except OSError:
            yield skipped(
                f"{store.folder} can be seen by {around.user.name} and root alone",
                f"Give the command as that user: sudo -u {around.user.name} moorage doctor",
            )
            return
        if has:
            chain = read_files(store.pair(domain), around)
            if isinstance(chain, Finding):
                yield chain
            else:
                yield from judge_time(chain, domain, around.now)
        yield from judge_state(domain, known, around.now, issuer=issuer, has=has, staging=settings.acme.staging)


def judge_state(
    domain: str, known: State, now: int, *, issuer: str, has: bool, staging: str | None
) -> Iterator[Finding]:
    """What is remembered of the tries for *domain*."""
    last = known.last
    if last is None:
        if has:
            yield ok(f"{domain}: the next renewal is due on {_moment(renewal.due(known, issuer=issuer).moment)}")
        elif known.tried:
            yield ok(f"{domain}: no attempt has failed yet")
        else:
            yield skipped(f"{domain}: no certificate has been asked for yet; the server does so when it runs")
        return
    step = renewal.next_step(known, now, issuer=issuer, staging=staging is not None)
    when = f"the next attempt is {_ahead(step.at, now)}" + (
        ", at the staging server" if step.where == "staging" else ""
    )
    if not last.again:
        when += "; without a change of the settings it will fail as well"
    held = f" The authority wants none before {_moment(known.held_until)}." if known.held_until > now else ""
    count = f"{known.failures} attempts have failed, the last" if known.failures > 1 else "the last attempt failed,"
    what = f"{domain}: {count} on {_moment(last.at)}: {last.message}"
    meaning = (
        f"Until it succeeds {'the certificate before' if has else 'a private certificate'} is shown; {when}.{held}"
    )
    remedies = [last.remedy] if last.remedy else []
    remedies.append(f"moorage cert obtain --dry-run {domain}    # tries it at the staging server, which counts nothing")
    make = warning if has else wrong
    yield make(what, meaning, *remedies, kind=last.kind, failures=known.failures, next=step.at)


async def ask_authority(settings: Settings, now: int) -> tuple[Authority | None, list[Finding]]:
    """Fetch the directory: whether it answers, whether its clock is ours, and what it asks for."""
    try:
        answered, document, date = await asyncio.to_thread(_fetch, settings, now)
    except CertificateFailed as error:
        return None, [wrong(error.message, "No certificate can be got or renewed.", *filter(None, [error.remedy]))]
    except (MoorageError, OSError) as error:
        return None, [wrong(f"{settings.acme.directory}: {error}", "No certificate can be got or renewed.")]
    meta = document.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    named = meta.get("caaIdentities")
    identities = tuple(str(one).lower() for one in named) if isinstance(named, list) else ()
    if not identities and settings.acme.directory in {LETS_ENCRYPT, LETS_ENCRYPT_STAGING}:
        identities = _LETS_ENCRYPT
    findings = [ok(f"{answered} answers")]
    if date is not None and abs(date - now // 1_000_000) > _SKEW:
        ahead = now // 1_000_000 - date
        findings.append(
            warning(
                f"this machine's clock is {abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} that of {answered}",
                "A fresh certificate seems not valid yet, or renewals come too late.",
                "sudo timedatectl set-ntp true",
                seconds=ahead,
            )
        )
    findings.extend(_judge_offer(settings, meta, answered))
    return Authority(identities), findings


def _judge_offer(settings: Settings, meta: dict[str, Any], host: str) -> Iterator[Finding]:
    if meta.get("externalAccountRequired") is True and settings.acme.eab_key_id is None:
        yield wrong(
            f"{host} wants an external account binding, and acme.eab_key_id is not set",
            "It makes no account without one.",
            "moorage serve --acme-eab-key-id ID --acme-eab-hmac-key KEY ...    # both from the authority",
        )
    profiles = meta.get("profiles")
    offered = tuple(str(name) for name in profiles) if isinstance(profiles, dict) else ()
    if settings.acme.profile is not None and settings.acme.profile not in offered:
        yield wrong(
            f"{host} has no profile {settings.acme.profile}",
            f"It offers {', '.join(offered) or 'none to choose from'}.",
            *(f"moorage serve --acme-profile {name} ..." for name in offered[:3]),
        )


def _fetch(settings: Settings, now: int) -> tuple[str, dict[str, Any], int | None]:
    """Host, directory and the seconds of its clock. Raises CertificateFailed."""
    from moorage.tls.acme.directory import parse_directory
    from moorage.tls.acme.network import Network
    from moorage.tls.acme.options import AcmeOptions, Waits
    from moorage.tls.acme.problems import Refused

    url = settings.acme.directory
    options = AcmeOptions(directory=url, ca_file=settings.acme.ca_file, waits=Waits(network=15.0))
    network = Network(options, now)
    try:
        answer = network.fetch(url)
        document = answer.json()
        parse_directory(url, document)
    except Refused as refused:
        raise CertificateFailed(f"{url} refuses: {refused.problem.detail}", kind="not-acme") from None
    finally:
        network.session.close()
    return urlsplit(url).netloc, document, answer.date


def _moment(microseconds: int) -> str:
    return f"{datetime.fromtimestamp(microseconds // 1_000_000, UTC):%Y-%m-%d %H:%M} UTC"


def _ahead(moment: int, now: int) -> str:
    minutes = (moment - now) // 60_000_000
    if minutes <= 0:
        return "due now"
    return f"in {minutes} minutes" if minutes < 120 else f"in {minutes // 60} hours"
