"""Answers to http-01 while no server runs: the public pages in the clear, for as long as a command needs them."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from moorage.message import Request, Response
from moorage.observe.access import NoAccessLog
from moorage.public.face import Public
from moorage.server.acceptor import Acceptor
from moorage.server.listening import listen
from moorage.server.serving import Limits, Serving
from moorage.settings.listen import parse_address
from moorage.tls.store import CertificateStore

_DRAIN_SECONDS: Final = 2.0
_MOST: Final = 100
"""Connections at a time; an authority looks from a handful of places (arbitrary)."""


class Door:
    """Listens at *addresses* and answers an authority's challenges from *store*; an async context manager."""

    def __init__(self, addresses: Sequence[str], store: CertificateStore) -> None:
        self._addresses = [parse_address(text) for text in addresses]
        self._public = Public(store.http_answer, None, None, b"")

    async def __aenter__(self) -> Self:
        """Begin. Raises StartRefused, saying which port cannot be had and why."""
        self._sockets = [made for address in self._addresses for made in listen(address, "--tls-plain-listen")]
        self._serving = Serving(Limits(header_timeout=10, keep_alive=5), NoAccessLog())
        self._acceptors = [Acceptor(self._serving, made, self._answer, most=_MOST) for made in self._sockets]
        for acceptor in self._acceptors:
            acceptor.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for acceptor in self._acceptors:
            acceptor.stop()
        for made in self._sockets:
            made.close()
        await self._serving.drain(_DRAIN_SECONDS)

    async def _answer(self, request: Request) -> Response:
        return self._public.answer(request) or self._public.text(
            503, "only an authority's challenges are answered here now, while a certificate is got"
        )
