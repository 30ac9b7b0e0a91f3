"""The certificate that somebody else renews: only looked at, so that its end surprises nobody."""

from __future__ import annotations

import logging
from dataclasses import replace

from moorage.clock import Clock
from moorage.errors import ConfigurationError
from moorage.tls import renewal, state
from moorage.tls.keeper import ending
from moorage.tls.pem import CertificateFacts, read_chain, read_file
from moorage.tls.store import CertificateStore, Pair

_log = logging.getLogger("moorage.tls")


class Watch:
    """Looks at *pair* when told to, writes down what is known about it, and warns from a third of its lifetime on."""

    def __init__(self, pair: Pair, store: CertificateStore, clock: Clock) -> None:
        self._pair = pair
        self._store = store
        self._clock = clock

    def look(self) -> None:
        """One look. Raises OSError where what is known cannot be written down."""
        facts = self.facts()
        before = state.load(self._store, state.FILES)
        known = renewal.with_certificate(before, facts)
        now = self._clock.now()
        if renewal.warns(known, now, None):
            _log.warning(
                "%s; whatever made it has to renew it (certbot renew), and it is in force as soon as the file changes",
                ending(str(self._pair.chain), known, now),
            )
            known = replace(known, warned=now)
        if known != before:
            state.save(self._store, state.FILES, known)

    def facts(self) -> CertificateFacts | None:
        """What is in the file now; None where it cannot be used, of which the server itself speaks."""
        try:
            return read_chain(read_file(self._pair.chain), str(self._pair.chain)).leaf
        except ConfigurationError:
            return None
