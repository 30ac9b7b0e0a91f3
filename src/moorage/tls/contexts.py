"""Which TLS context a new connection gets: by the name it asks for, from files that change under a running server.

All connections begin in one context, which has no certificate. When the client's hello is there, OpenSSL asks for
another by the name in it, and gets the one in force for that name. So a new certificate is in force for the next
handshake and touches no connection that stands, and a client's session is resumed across it, by whichever worker: the
keys of session tickets belong to the first context, which was made before the workers were.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from moorage.errors import ConfigurationError
from moorage.tls.files import (
    Facts,
    TlsPolicy,
    bare_context,
    count_certificates,
    doubts,
    load_context,
    look_at,
)
from moorage.tls.hello import ACME_PROTOCOL
from moorage.tls.names import covers, is_address, is_wildcard
from moorage.tls.store import CertificateStore, Pair, file_name

_log = logging.getLogger("moorage.tls")

_CHALLENGE_POLICY = TlsPolicy()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pair is, or will be; *title* is what the log calls it, "the certificate in /etc/x.pem"."""

    pair: Pair
    title: str

    def look(self) -> tuple[Facts | None, Facts | None]:
        """What changes with the pair."""
        return look_at(self.pair.chain), look_at(self.pair.key)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the certificate for these parsed *names* comes from: of *places*, the first that has a pair."""

    names: tuple[str, ...]
    places: Sequence[Place]


class Contexts:
    """The contexts in force for *sources*.

    A client gets the first source that has the name it asks for; else one with a wildcard for it; else the first of
    all. Whoever asks for no name, as clients do that were given an address, is taken to ask for the address that was
    reached. `refresh` looks whether anything has changed; between two calls of it nothing does. With *store*,
    challenges of tls-alpn-01 are answered from it.
    """

    def __init__(self, sources: Sequence[Source], policy: TlsPolicy, store: CertificateStore | None = None) -> None:
        """Raises ConfigurationError where a source has no pair that can be used now."""
        self._policy = policy
        self._store = store
        self._authorities = self._look_at_authorities()
        self._shown = [_Shown(source, policy) for source in sources]
        self._by_name = {name: shown for shown in reversed(self._shown) for name in shown.names}
        self._wildcards = [(name, shown) for shown in self._shown for name in shown.names if is_wildcard(name)]
        self._addressed = len(self._shown) > 1 and any(is_address(name) for name in self._by_name)
        self._challenges: dict[str, _Challenge] = {}
        self._answers = Path() if store is None else store.folder / "challenges" / "alpn"
        self._answers_seen: Facts | None = None
        self._answering = False
        self._beginnings = self._begin()
        self._refresh_challenges()

    def beginning(self, connection: socket.socket) -> ssl.SSLContext:
        """The context to wrap a new *connection* with."""
        if not self._addressed:
            return self._beginnings[0]
        name = connection.getsockname()
        return self._beginnings[self._shown.index(self._for(_address(name[0])))]

    @property
    def waiting(self) -> tuple[str, ...]:
        """The names whose certificate is not the one of their first place, because there is none yet."""
        return tuple(name for shown in self._shown if shown.rank for name in shown.names)

    def pending(self) -> bool:
        """Whether a challenge waits to be looked at now; costs one stat call while none does.

        It is asked for every connection, since an authority comes as soon as it has been told to.
        """
        if self._store is not None and (self._answering or look_at(self._answers) != self._answers_seen):
            self._refresh_challenges()
        return bool(self._challenges)

    def challenge(self, server_name: str) -> ssl.SSLContext | None:
        """What an ACME server that asks for *server_name* is shown (RFC 8737), or None."""
        found = self._challenges.get(file_name(server_name))
        return None if found is None else found.context

    def refresh(self) -> None:
        """Put in force what has changed and can be used, and say why not where it cannot; costs a few stat calls."""
        authorities = self._look_at_authorities()
        if authorities != self._authorities:
            self._authorities = authorities
            self._renew_all()
        for shown in self._shown:
            shown.refresh()
        self._refresh_challenges()

    def say_doubts(self) -> None:
        """Say at a start what clients would say later: a certificate that stands alone may lack its intermediate."""
        for shown in self._shown:
            shown.say_doubts()

    def _look_at_authorities(self) -> tuple[Facts | None, ...]:
        return tuple(look_at(path) for path in self._policy.client_cas)

    def _begin(self) -> list[ssl.SSLContext]:
        """For each source, the context of connections that get it unless they ask for another name."""
        contexts = []
        for shown in self._shown if self._addressed else self._shown[:1]:
            context = bare_context(self._policy)
            context.sni_callback = partial(self._choose, shown)
            contexts.append(context)
        return contexts

    def _choose(self, unasked: _Shown, tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        shown = unasked if name is None or len(self._shown) == 1 else self._for(name.lower().removesuffix("."))
        tls.context = shown.context

    def _for(self, host: str) -> _Shown:
        found = self._by_name.get(host)
        if found is not None:
            return found
        return next((shown for name, shown in self._wildcards if covers(name, host)), self._shown[0])

    def _renew_all(self) -> None:
        """The authorities of clients have changed: no context and no session from before may let anybody in."""
        try:
            beginnings = self._begin()
            loaded = [shown.load() for shown in self._shown]
        except ConfigurationError as error:
            _log.warning("the authorities of client certificates before stay in force: %s", error)
            return
        for shown, fresh in zip(self._shown, loaded, strict=True):
            shown.context = fresh
        self._beginnings = beginnings
        _log.info("the authorities of client certificates have changed and are in force")

    def _refresh_challenges(self) -> None:
        if self._store is None:
            return
        self._answers_seen = look_at(self._answers)
        waiting = dict(self._store.alpn_answers())
        for name in self._challenges.keys() - waiting.keys():
            del self._challenges[name]
        for name, pair in waiting.items():
            facts = look_at(pair.chain)
            known = self._challenges.get(name)
            if known is not None and known.facts == facts:
                continue
            try:
                context = load_context(pair, _CHALLENGE_POLICY, [ACME_PROTOCOL.decode()])
            except ConfigurationError as error:
                _log.debug("a challenge cannot be shown: %s", error)
            else:
                self._challenges[name] = _Challenge(context, facts)
        # Also while one is not written to its end: that does not change the folder again.
        self._answering = self._answers_seen is not None and not _is_empty(self._answers)


@dataclass(frozen=True, slots=True)
class _Challenge:
    context: ssl.SSLContext
    facts: Facts | None


class _Shown:
    """What is in force for one source: *context*, from the place at *rank*."""

    def __init__(self, source: Source, policy: TlsPolicy) -> None:
        self.names = source.names
        self._places = source.places
        self._policy = policy
        self._seen = [place.look() for place in self._places]
        self.rank, self.context = self._first()
        self._certificates = count_certificates(self._places[self.rank].pair)

    def load(self) -> ssl.SSLContext:
        """A new context for the pair in force. Raises ConfigurationError."""
        return load_context(self._places[self.rank].pair, self._policy)

    def refresh(self) -> None:
        """See `Contexts.refresh`."""
        for rank in range(self.rank + 1):
            place = self._places[rank]
            facts = place.look()
            if facts == self._seen[rank]:
                continue
            self._seen[rank] = facts
            if rank < self.rank and None in facts:
                continue
            if self._swap(rank):
                return

    def _first(self) -> tuple[int, ssl.SSLContext]:
        *better, last = range(len(self._places))
        for rank in better:
            if None in self._seen[rank]:
                continue
            try:
                return rank, load_context(self._places[rank].pair, self._policy)
            except ConfigurationError as error:
                _log.warning("%s cannot be used: %s", self._places[rank].title, error)
        return last, load_context(self._places[last].pair, self._policy)

    def _swap(self, rank: int) -> bool:
        place = self._places[rank]
        try:
            context = load_context(place.pair, self._policy)
        except ConfigurationError as error:
            _log.warning("the certificate before stays in force: %s", error)
            return False
        self.context = context
        if rank == self.rank:
            _log.info("%s has changed and is in force", place.title)
        else:
            _log.info("%s is in force, in the place of %s", place.title, self._places[self.rank].title)
        before, self.rank = self._certificates, rank
        self._certificates = count_certificates(place.pair)
        if self._certificates == 1 < before:
            _log.warning("%s has lost its chain: it has one certificate, and before it had %d", place.title, before)
        return True

    def say_doubts(self) -> None:
        """See `Contexts.say_doubts`."""
        if self._certificates == 1:
            place = self._places[self.rank]
            sentences, sure = doubts(place.pair)
            for sentence in sentences:
                _log.log(logging.WARNING if sure else logging.INFO, "%s %s", place.title, sentence)


def _is_empty(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except OSError:
        return True


def _address(text: str) -> str:
    """A socket's own address as certificates write it; IPv4 may come in the clothes of IPv6."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    return str(getattr(address, "ipv4_mapped", None) or address)
