"""The Issuer that asks an ACME authority. Cheap to import; the library is loaded at the first call, in its thread."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from moorage.clock import Clock
from moorage.errors import CertificateFailed
from moorage.tls.acme.options import AcmeOptions
from moorage.tls.acme.problems import Refused, explain, in_the_clear
from moorage.tls.background import BackgroundThread
from moorage.tls.issuer import Issued, Window
from moorage.tls.store import CertificateStore

if TYPE_CHECKING:
    from moorage.tls.acme.authority import Authority

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class AcmeIssuer:
    """Certificates from the authority that *options* name; accounts, orders and challenges lie in *store*.

    The store's challenges must be answered by a running server: `/.well-known/acme-challenge/` on port 80, and
    `acme-tls/1` on port 443. Network calls block one thread of this issuer, for `Waits.network` seconds at most each.
    """

    def __init__(self, options: AcmeOptions, store: CertificateStore, clock: Clock) -> None:
        self._options, self._store, self._clock = options, store, clock
        self._thread = BackgroundThread("acme")

    @property
    def title(self) -> str:
        """The host of the directory."""
        return urlsplit(self._options.directory).netloc

    async def issue(self, name: str, previous: bytes | None = None) -> Issued:
        """See Issuer."""

        async def work(authority: Authority) -> Issued:
            from moorage.tls.acme.ordering import Ordering

            ordering = Ordering(
                self._options, self._store, self._clock, self._thread.run, authority, name=name, previous=previous
            )
            return await ordering.certificate()

        return await self._converse(name, work)

    async def window(self, chain: bytes) -> Window | None:
        """See Issuer. None too for a certificate that has expired, about which nobody may ask (RFC 9773, 4.3)."""

        async def work(authority: Authority) -> Window | None:
            from moorage.tls.acme.certificates import certificate_id, leaf_of
            from moorage.tls.acme.renewal_info import parse_window

            leaf, identifier = leaf_of(chain), certificate_id(chain)
            if leaf is None or identifier is None:
                return None
            if leaf.not_valid_after_utc.timestamp() * 1e6 <= self._clock.now():
                return None
            await self._thread.run(authority.connect)
            answer = await self._thread.run(authority.renewal_info, identifier)
            return None if answer is None else parse_window(answer, self._clock.now())

        return await self._converse("", work)

    async def _converse(self, name: str, work: Callable[[Authority], Awaitable[Result]]) -> Result:
        """*work* with an open conversation; whatever goes wrong comes out as CertificateFailed."""
        try:
            authority = await self._thread.run(self._open)
            try:
                return await work(authority)
            finally:
                authority.close()
        except CertificateFailed as failed:
            raise in_the_clear(failed) from failed.__cause__
        except Refused as refused:
            raise explain(refused.problem, name, self.title) from refused
        except OSError as error:
            raise CertificateFailed(
                f"the certificate store {self._store.folder} cannot be used: {error}",
                kind="local",
                remedy="look at its permissions and at the free space",
            ) from error
        except Exception as error:
            # What the library raises for an answer that nobody foresaw. It must not end whoever renews.
            log.exception("unexpected, while asking %s about %s", self.title, name or "a certificate")
            raise CertificateFailed(
                f"{self.title} gives no certificate for {name}: {type(error).__name__}: {error}",
                kind="not-acme",
                remedy="the log has more",
            ) from error

    def _open(self) -> Authority:
        from moorage.tls.acme.authority import Authority

        return Authority(self._options, self._store, self._clock.now)
