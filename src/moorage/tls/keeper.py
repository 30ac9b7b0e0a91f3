"""Keeps certificates: has them made, renewed in time, tried again, and tells of it."""

from __future__ import annotations

import logging
import secrets
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from moorage.clock import Clock
from moorage.errors import CertificateFailed, ConfigurationError
from moorage.tls import renewal, state
from moorage.tls.issuer import Issued, Issuer
from moorage.tls.pem import CertificateFacts, day, read_chain, read_pair
from moorage.tls.renewal import Choose, Step
from moorage.tls.state import State
from moorage.tls.store import CertificateStore

_log = logging.getLogger("moorage.tls")

Fits = Callable[[str, bytes], bool]
"""Whether the chain in PEM is one for the name in the store, whatever its dates."""

_CLOCK_MINUTES: Final = 5
"""By which clocks differ without anybody's fault (arbitrary)."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One certificate as it is: *chain* and *facts* of the pair in place, None where none can be used."""

    name: str
    chain: bytes | None
    facts: CertificateFacts | None
    state: State


class Keeper:
    """Keeps a certificate of *issuer* for every name in *store* that *names* tells at the time, or CertificateFailed.

    - *staging*: an Issuer whose certificates are worth nothing, to be tried first after a failure; or None.
    - *settings*: any text that is another when the settings are: what has failed is tried again then.
    - *fits*: by default a certificate fits the name that it covers.

    One of all processes on a store works at a time; whoever calls holds the lease. All else may look.
    """

    def __init__(
        self,
        names: Callable[[], Sequence[str]],
        issuer: Issuer,
        store: CertificateStore,
        clock: Clock,
        *,
        staging: Issuer | None = None,
        settings: str = "",
        fits: Fits | None = None,
        choose: Choose = lambda start, end: start + secrets.randbelow(end - start + 1),
    ) -> None:
        self.names = names
        self.issuer = issuer
        self.staging = staging
        self._store = store
        self._clock = clock
        self._settings = settings
        self._fits = fits or covers
        self._choose = choose
        self._told = ""
        self._seen: dict[str, tuple[object, bytes | None, CertificateFacts | None]] = {}

    def idle(self) -> bool:
        """Whether `work` would find nothing to do now: reads some small files, and asks nobody."""
        try:
            return not any(self._wants(self.look(name)) for name in self.names())
        except CertificateFailed:
            return False

    async def work(self) -> bool:
        """Do what is due for each name; whether there is more to do at once, which there never is.

        What goes wrong with one name is in its state and in the log, and stops no other.
        """
        try:
            names = self.names()
        except CertificateFailed as error:
            self._tell_once(str(error))
            return False
        for name in names:
            try:
                await self._keep(name)
            except OSError as error:
                # Without a state no authority is asked, for it would be asked without end.
                self._tell_once(f"the certificate for {name} cannot be seen to: {self._store.folder}: {error.strerror}")
        return False

    def look(self, name: str) -> Kept:
        """The certificate of *name* and what is known about it, as they are now on the disk."""
        chain, facts = self._in_place(name)
        found = renewal.with_certificate(state.load(self._store, name), facts)
        return Kept(name, chain, facts, renewal.with_settings(found, self._settings, self.issuer.title))

    def step(self, kept: Kept) -> Step:
        """What comes next for it."""
        return renewal.next_step(
            kept.state, self._clock.now(), issuer=self.issuer.title, staging=self.staging is not None
        )

    async def renew(self, name: str, *, force: bool = False) -> Kept:
        """Do now, because a person wants it, what would be due some time; what is in place, then.

        The waits between failed tries do not count; those that the authority asks for do. Without *force* a
        certificate stays as long as it is not due, which its issuer is asked about. Raises CertificateFailed.
        """
        kept = await self._ask(self.look(name), now=True)
        now = self._clock.now()
        if not force and self.step(kept).due.moment > now:
            return kept
        self._require_leave(kept, now)
        await self._attempt(kept)
        return self.look(name)

    async def rehearse(self, name: str) -> CertificateFacts:
        """Have a certificate made at the staging server, and throw it away. Raises CertificateFailed."""
        if self.staging is None:
            raise CertificateFailed(
                f"{self.issuer.title} has no staging server that is known",
                kind="local",
                remedy="name one with acme.staging_directory",
                again=False,
            )
        return self._checked(name, await self.staging.issue(name), self.staging.title)

    async def _keep(self, name: str) -> None:
        kept = await self._ask(self.look(name))
        if self.step(kept).at <= self._clock.now():
            try:
                await self._attempt(kept)
            except CertificateFailed as error:
                self._tell_failure(self.look(name), error)
        self._warn(self.look(name))

    def _in_place(self, name: str) -> tuple[bytes | None, CertificateFacts | None]:
        pair = self._store.pair(name)
        try:
            seen = _facts(pair.chain), _facts(pair.key)
        except OSError:
            return None, None
        known = self._seen.get(name)
        if known is None or known[0] != seen:
            known = self._seen[name] = (seen, *self._read(name))
        _, chain, facts = known
        # Asked each time: which names a certificate should be for may change.
        if chain is None or not self._fits(name, chain):
            return None, None
        return chain, facts

    def _read(self, name: str) -> tuple[bytes | None, CertificateFacts | None]:
        pair = self._store.pair(name)
        try:
            chain, key = pair.chain.read_bytes(), pair.key.read_bytes()
            facts = read_pair(chain, key, chain_source=str(pair.chain), key_source=str(pair.key)).leaf
        except (OSError, ConfigurationError) as error:
            _log.warning("the certificate for %s cannot be used, and another is got: %s", name, error)
            return None, None
        return chain, facts

    def _wants(self, kept: Kept) -> bool:
        now = self._clock.now()
        step = self.step(kept)
        return step.at <= now or self._may_ask(kept, now) or renewal.warns(kept.state, now, step.at)

    def _may_ask(self, kept: Kept, now: int) -> bool:
        return renewal.asks(kept.state, now) and kept.state.issuer in {"", self.issuer.title}

    async def _ask(self, kept: Kept, *, now: bool = False) -> Kept:
        """Ask the issuer when it wants the certificate renewed, where it is time to, or at once."""
        if kept.chain is None or not (now or self._may_ask(kept, self._clock.now())):
            return kept
        try:
            window = await self.issuer.window(kept.chain)
        except CertificateFailed as error:
            _log.info("%s did not say when to renew the certificate for %s: %s", self.issuer.title, kept.name, error)
            found = renewal.unadvised(kept.state, error, self._clock.now())
        else:
            found = renewal.advised(kept.state, window, self._clock.now(), self._choose)
        state.save(self._store, kept.name, found)
        return replace(kept, state=found)

    def _require_leave(self, kept: Kept, now: int) -> None:
        """Raises CertificateFailed where the authority has said when to come back, or would soon lock us out."""
        until = max(renewal.allowed(kept.state, now), kept.state.held_until if kept.state.failures else 0)
        if until > now:
            raise CertificateFailed(
                f"{self.issuer.title} takes no further try for {kept.name} before {day(until)}",
                kind="rateLimited",
                remedy="mend what failed until then (moorage cert list); --dry-run tries it at the staging server",
                retry_after=(until - now) / renewal.SECOND,
            )

    async def _attempt(self, kept: Kept) -> None:
        """One try, first at the staging server if one has failed. Raises CertificateFailed, which is in the state."""
        step = self.step(kept)
        if step.where == "staging" and self.staging is not None:
            try:
                await self._issue(kept, self.staging)
            except CertificateFailed as error:
                if error.kind not in {"unreachable", "not-acme"}:
                    self._record(kept.name, error, staging=True)
                    raise
                _log.info("%s cannot be asked, so it is passed over: %s", self.staging.title, error)
            else:
                _log.info("%s would issue one for %s; now %s", self.staging.title, kept.name, self.issuer.title)
            state.save(self._store, kept.name, renewal.passed(self.look(kept.name).state, self._clock.now()))
            kept = self.look(kept.name)
            if renewal.allowed(kept.state, self._clock.now()) > self._clock.now():
                return
        try:
            issued, facts = await self._issue(kept, self.issuer)
            self._put(kept, issued, facts)
        except CertificateFailed as error:
            self._record(kept.name, error, staging=False)
            raise
        kept = await self._ask(self.look(kept.name))
        _log.info(
            "a new certificate is in place for %s, by %s (%s), good until %s, to be renewed about %s",
            ", ".join(facts.names),
            self.issuer.title,
            facts.issuer,
            day(facts.not_after),
            day(self.step(kept).at),
        )

    async def _issue(self, kept: Kept, issuer: Issuer) -> tuple[Issued, CertificateFacts]:
        """Raises CertificateFailed, and OSError where what is begun cannot be written down."""
        # Durable before anything is asked: a process that is killed again and again has to come to a rest.
        state.save(self._store, kept.name, renewal.begun(kept.state, self._clock.now()))
        ours = issuer is self.issuer and kept.state.issuer == issuer.title
        try:
            issued = await issuer.issue(kept.name, kept.chain if ours else None)
            return issued, self._checked(kept.name, issued, issuer.title)
        except CancelledError:
            with suppress(OSError):
                state.save(self._store, kept.name, renewal.cut_off(self.look(kept.name).state))
            raise
        except CertificateFailed:
            raise
        except Exception as error:
            _log.exception("a certificate for %s could not be got from %s", kept.name, issuer.title)
            raise CertificateFailed(
                f"{issuer.title} could not be asked for a certificate for {kept.name}: {type(error).__name__}: {error}",
                kind="local",
                remedy="the log has the details",
            ) from error

    def _checked(self, name: str, issued: Issued, title: str) -> CertificateFacts:
        try:
            facts = read_pair(issued.chain, issued.key, chain_source="its chain", key_source="its key").leaf
        except ConfigurationError as error:
            why = str(error)
        else:
            if self._fits(name, issued.chain):
                return facts
            why = f"it is for {', '.join(facts.names) or 'no name'}"
        raise CertificateFailed(
            f"{title} issued a certificate for {name} that cannot be used: {why}",
            kind="not-acme",
            remedy="ask whoever runs that authority",
        )

    def _put(self, kept: Kept, issued: Issued, facts: CertificateFacts) -> None:
        now = self._clock.now()
        try:
            self._store.put(kept.name, issued.chain, issued.key, now=now)
            found = renewal.issued(self.look(kept.name).state, kept.state, facts, now, issuer=self.issuer.title)
            state.save(self._store, kept.name, found)
        except OSError as error:
            raise CertificateFailed(
                f"{self.issuer.title} has issued a certificate for {kept.name}, which cannot be stored:"
                f" {error.filename}: {error.strerror}",
                kind="local",
                remedy="make room, or give the server's account the right to write there",
            ) from error
        if now >= facts.not_after or facts.not_before - now > _CLOCK_MINUTES * renewal.MINUTE:
            raise CertificateFailed(
                f"{self.issuer.title} issued a certificate for {kept.name} from {day(facts.not_before)} to"
                f" {day(facts.not_after)}, and this machine's clock says {day(now)}",
                kind="clock",
                remedy="set the clock: timedatectl set-ntp true",
                again=False,
            )

    def _record(self, name: str, error: CertificateFailed, *, staging: bool) -> None:
        found = renewal.failed(self.look(name).state, error, self._clock.now(), staging=staging)
        state.save(self._store, name, found)

    def _tell_failure(self, kept: Kept, error: CertificateFailed) -> None:
        serving = f"the one in place is good until {day(kept.facts.not_after)}" if kept.facts else "there is none yet"
        again = day(max(self.step(kept).at, self._clock.now()))
        _log.warning("no new certificate for %s: %s; the next try is at %s; %s", kept.name, error, again, serving)

    def _warn(self, kept: Kept) -> None:
        now = self._clock.now()
        if not renewal.warns(kept.state, now, self.step(kept).at):
            return
        last = kept.state.last
        why = f": {last.message}" + (f"; {last.remedy}" if last.remedy else "") if last else ""
        _log.warning("%s, and it could not be renewed yet%s", ending(kept.name, kept.state, now), why)
        state.save(self._store, kept.name, replace(kept.state, warned=now))

    def _tell_once(self, text: str) -> None:
        if text != self._told:
            self._told = text
            _log.warning("%s", text)


def covers(name: str, chain: bytes) -> bool:
    """Whether the first certificate of *chain* is good for *name*."""
    return read_chain(chain, name).leaf.covers(name)


def ending(name: str, known: State, now: int) -> str:
    """How long the certificate is good yet, in words."""
    left = known.not_after - now
    if left <= 0:
        return f"the certificate for {name} has expired on {day(known.not_after)}"
    days, hours = left // renewal.DAY, left // renewal.HOUR
    span = f"{days} days" if days > 1 else f"{hours} hours" if hours > 1 else "an hour"
    return f"the certificate for {name} expires in {span}, on {day(known.not_after)}"


def _facts(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
