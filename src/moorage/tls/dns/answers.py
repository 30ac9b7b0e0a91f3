"""Answers to dns-01: the record where it really belongs, and seen at every name server before the authority looks."""

from __future__ import annotations

from typing import Final

from moorage.clock import Clock
from moorage.errors import CertificateFailed
from moorage.tls.background import BackgroundThread
from moorage.tls.dns.lookup import Lookup, Sight
from moorage.tls.dns.records import Record, Writer

_PAUSE: Final = 2.0
"""Seconds between looks at the name servers; arbitrary."""


class DnsAnswers:
    """Puts and removes by *writer*, looks by *lookup*, and waits for *wait* seconds at most.

    Nothing is remembered here: what another process put can be removed.
    """

    def __init__(self, writer: Writer, lookup: Lookup, wait: float, clock: Clock) -> None:
        self._writer, self._lookup, self._wait, self._clock = writer, lookup, wait, clock
        self._thread = BackgroundThread("dns")

    async def put(self, domain: str, token: str, value: str) -> str:
        """Put the record for *domain*; what `remove` needs besides. Raises CertificateFailed."""
        return await self._thread.run(lambda: self._writer.put(self._record(domain, token, value)))

    async def remove(self, domain: str, token: str, value: str, output: str) -> None:
        """Take it away. Raises CertificateFailed."""
        await self._thread.run(lambda: self._writer.remove(self._record(domain, token, value), output))

    async def wait(self, domain: str, value: str) -> None:
        """Return once every name server of the zone shows *value*.

        Raises CertificateFailed naming one that answers without it when the time is up. Name servers that cannot be
        asked from here are the authority's to judge: then it returns when the time is up.
        """
        deadline = self._clock.now() + self._wait * 1e6
        while True:
            sight = await self._thread.run(self._look, domain, value)
            if sight.all_show:
                return
            if self._clock.now() + _PAUSE * 1e6 > deadline:
                break
            await self._clock.sleep(_PAUSE)
        if sight.without:
            raise CertificateFailed(
                f"after {self._wait:.0f} seconds the name server {sight.without[0]} has no TXT record {sight.name}",
                kind="dns",
                remedy="if this zone's name servers are slow to follow, raise acme.dns.wait; else look at what put the"
                " record there, and at the name servers that the zone's parent names",
            )

    def _record(self, domain: str, token: str, value: str) -> Record:
        name = self._lookup.place(domain)
        return Record(domain, name, self._lookup.zone(name) or "", value, token)

    def _look(self, domain: str, value: str) -> Sight:
        return self._lookup.look(self._lookup.place(domain), value)
