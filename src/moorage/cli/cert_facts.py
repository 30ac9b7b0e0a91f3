"""What `moorage cert list` and `show` tell: the certificates in the store and in files, with what is known of each."""

from __future__ import annotations

import os
from dataclasses import dataclass

from moorage.app import Folders
from moorage.certificates import acme_keeper, kept_names
from moorage.cli.tables import moment, number, rfc3339
from moorage.cli.volume import Volume, owner
from moorage.clock import SystemClock
from moorage.errors import ConfigurationError, UserError
from moorage.tls import renewal, state
from moorage.tls.files import pair_at
from moorage.tls.names import parse_certificate_name
from moorage.tls.pem import Chain, day, read_file, read_pair
from moorage.tls.renewal import DAY, HOUR, Step
from moorage.tls.state import State
from moorage.tls.store import CertificateStore, Pair

_MOST_NAMES = 3
"""Of a certificate for many, before the rest is only counted (arbitrary)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One certificate: *chain* None where there is none that can be used, of which *complaint* says why.

    *step* is what its keeper does next; None where nobody renews it.
    """

    name: str
    pair: Pair | None
    chain: Chain | None
    complaint: str
    state: State
    step: Step | None

    @property
    def title_name(self) -> str:
        """The name by which the commands know it."""
        return "files" if self.name == state.FILES else self.name

    @property
    def title(self) -> str:
        """The same, with what it is for where the name does not tell."""
        names = self.chain.leaf.names if self.chain else self.state.names
        if names in {(self.name,), ()}:
            return self.title_name
        shown = list(names[:_MOST_NAMES]) + ([f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else [])
        return f"{self.title_name} ({', '.join(shown)})"

    @property
    def issuer(self) -> str:
        """Who signed it."""
        return self.chain.leaf.issuer if self.chain else ""

    @property
    def expires(self) -> str:
        """To the minute, in UTC."""
        return moment(self.chain.leaf.not_after) if self.chain else ""

    def left(self, now: int) -> str:
        """How long it is good yet."""
        if self.chain is None:
            return ""
        span = self.chain.leaf.not_after - now
        if span < 0:
            return "nothing"
        return number(span // DAY, "day") if span >= 2 * DAY else number(span // HOUR, "hour")

    def renewal(self, now: int) -> str:
        """When it is renewed next, or tried again."""
        if self.step is None:
            return "by others" if self.name == state.FILES else ""
        return "now" if self.step.at <= now else moment(self.step.at)

    def condition(self, now: int) -> str:
        """In a word or two."""
        if self.state.failures:
            tries = f"failed {number(self.state.failures, 'time')}"
            return tries if self.chain is None or self.chain.leaf.out_of_time(now) is None else f"expired, {tries}"
        if self.chain is None:
            return "cannot be used" if self.complaint else "none yet"
        if self.chain.leaf.out_of_time(now) is not None:
            return "expired" if now >= self.chain.leaf.not_after else "not valid yet"
        return "not in use" if self.step is None and self.name != state.FILES else "good"

    def code(self, now: int) -> str:
        """The same for programs: good, expired, not-yet-valid, unusable, or none; failures are told beside it."""
        if self.chain is None:
            return "unusable" if self.complaint else "none"
        if self.chain.leaf.out_of_time(now) is None:
            return "good"
        return "expired" if now >= self.chain.leaf.not_after else "not-yet-valid"

    def failure_in_words(self) -> str | None:
        """What went wrong the last time, and what to do; None where nothing did."""
        last = self.state.last
        if last is None:
            return self.complaint or None
        where = " (at the staging server)" if last.staging else ""
        remedy = f"; {last.remedy}" if last.remedy else ""
        return f"{last.message}{remedy} [{day(last.at)}{where}]"


def entries(volume: Volume, now: int) -> list[Entry]:
    """All certificates: the pair in files first, then those of the settings, then what else is in the store.

    Raises UserError where there is no registry.
    """
    store = CertificateStore(volume.folders.tls)
    tls = volume.settings.tls
    found = []
    if tls.certificate is not None:
        found.append(_entry(store, state.FILES, pair_at(tls.certificate, tls.key), None, now))
    elif not volume.folders.ours.is_dir() and not tls.domains:
        raise UserError(
            f"there is no registry in {volume.folders.data}; name the server's own with --data, or start the server"
            " there first"
        )
    known = {known.name for known in state.everything(store)} - {state.FILES}
    names = [*tls.domains, *sorted(({*store.names()} | known) - {*tls.domains})]
    found += [_entry(store, name, store.pair(name), _keeper_of(volume, store, name), now) for name in names]
    return found


def parsed(name: str) -> str:
    """The name of a certificate as it is stored. Raises UserError."""
    try:
        return parse_certificate_name(name)
    except ValueError as error:
        raise UserError(f"{name!r}: {error}") from None


def require_owner(folders: Folders) -> None:
    """Raises UserError for root where the server is somebody else, who could not read what root writes."""
    user = owner(folders.ours)
    if os.geteuid() == 0 and folders.ours.is_dir() and user not in {None, "root"}:
        raise UserError(
            f"{folders.ours} belongs to {user}, who could not read a key that root writes: sudo -u {user} ..."
        )


def as_json(entry: Entry, now: int) -> dict[str, object]:
    """The facts for programs; times as in RFC 3339."""
    leaf = entry.chain.leaf if entry.chain else None
    known, last, advice = entry.state, entry.state.last, entry.state.advice
    return {
        "name": entry.title_name,
        "names": list(leaf.names) if leaf else [],
        "state": entry.code(now),
        "issuer": leaf.issuer if leaf else None,
        "from": known.issuer or None,
        "serial": f"{leaf.serial:x}" if leaf else None,
        "fingerprint": leaf.fingerprint if leaf else None,
        "key": leaf.key if leaf else None,
        "not_before": rfc3339(leaf.not_before) if leaf else None,
        "not_after": rfc3339(leaf.not_after) if leaf else None,
        "days_left": (leaf.not_after - now) // DAY if leaf else None,
        "chain": [one.subject for one in entry.chain.rest] if entry.chain else [],
        "warnings": list(entry.chain.warnings) if entry.chain else [],
        "certificate": str(entry.pair.chain) if entry.pair and leaf else None,
        "private_key": str(entry.pair.key) if entry.pair and leaf else None,
        "renewal": rfc3339(max(entry.step.at, now)) if entry.step else None,
        "renewal_reason": entry.step.due.reason if entry.step else None,
        "window": {
            "start": rfc3339(advice.start),
            "end": rfc3339(advice.end),
            "explanation": advice.explanation or None,
        }
        if advice
        else None,
        "failures": known.failures,
        "last_error": {
            "time": rfc3339(last.at),
            "kind": last.kind,
            "message": last.message,
            "remedy": last.remedy,
            "staging": last.staging,
        }
        if last
        else None,
    }


def plan_in_words(entry: Entry, now: int) -> str:
    """When it is renewed, and why then."""
    if entry.step is None and entry.name == state.FILES:
        return "by whatever made it; the server loads it again when the files change"
    if entry.step is None:
        return "none: it is not in use, for no setting of this server asks for it"
    when = "now" if entry.step.at <= now else f"{moment(entry.step.at)} UTC"
    if entry.state.failures:
        first = "" if entry.step.where == "production" else ", at the staging server first"
        return f"tried again {when}{first}; {number(entry.state.failures, 'try', 'tries')} failed"
    return f"{when}, because {entry.step.due.reason}"


def _keeper_of(volume: Volume, store: CertificateStore, name: str) -> str | None:
    """The title of the issuer that renews *name*; None where nobody does."""
    settings = volume.settings
    if name in settings.tls.domains:
        return acme_keeper(settings, (name,), store, SystemClock()).issuer.title
    # What the server was told on its command line cannot be seen here, but what it has done can.
    told = settings.certificates_from is not None
    return None if told and not kept_names(settings, store)(name) else (state.load(store, name).tried or None)


def _entry(store: CertificateStore, name: str, pair: Pair, issuer: str | None, now: int) -> Entry:
    known = state.load(store, name)
    chain, complaint = None, ""
    if name == state.FILES or store.has(name):
        try:
            chain = read_pair(
                read_file(pair.chain), read_file(pair.key), chain_source=str(pair.chain), key_source=str(pair.key)
            )
        except ConfigurationError as error:
            complaint = str(error)
    known = renewal.with_certificate(known, chain.leaf if chain else None)
    step = None
    if issuer is not None and name != state.FILES:
        step = renewal.next_step(known, now, issuer=issuer, staging=bool(known.last and known.last.staging))
    return Entry(name, pair if chain else None, chain, complaint, known, step)
