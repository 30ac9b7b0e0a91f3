"""What answers at each kind of listener, built inside a worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

from moorage import __version__
from moorage.app import Application
from moorage.certificates import kept_names
from moorage.clock import SystemClock
from moorage.message import Face, header_lines
from moorage.observe.metrics import Sample
from moorage.public.face import Misdirected, Page, Public, Redirect
from moorage.public.metrics import Metrics
from moorage.public.trust import trust_page
from moorage.settings.model import Settings
from moorage.tls.private_ca import PrivateAuthority
from moorage.tls.samples import samples
from moorage.tls.store import CertificateStore
from moorage.v2.answers import with_nosniff


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a start has found out that the settings do not say.

    *names* are those of the private authority's certificate, none where there is no such certificate; *port* is the one
    of https, *plain_ports* those of plain HTTP beside it; *started* is in microseconds since the epoch.
    """

    names: tuple[str, ...]
    port: int
    plain_ports: frozenset[int]
    started: int


@dataclass(frozen=True, slots=True)
class Faces:
    """What answers: at the registry's addresses, in the clear beside TLS, in the clear on a port of TLS, to Prometheus.

    *close* lets go of what they hold.
    """

    registry: Face
    plain: Face
    aside: Face
    metrics: Face
    close: Callable[[], Awaitable[None]]


async def open_faces(settings: Settings, surroundings: Surroundings) -> Faces:
    """All of them, on one application."""
    application = Application(settings)
    store = CertificateStore(application.folders.tls)
    public = _public(settings, store, surroundings)
    return Faces(
        registry=application.face(public),
        plain=Redirect(public, surroundings.port),
        aside=Misdirected(public),
        metrics=Metrics(partial(_samples, settings, store, surroundings.started), settings.metrics.path),
        close=application.database.close,
    )


def _public(settings: Settings, store: CertificateStore, surroundings: Surroundings) -> Public:
    extra = header_lines(
        *with_nosniff([(name, value) for name, values in settings.http.headers.items() for value in values])
    )
    authority = PrivateAuthority(store, SystemClock())

    def authorities() -> bytes:
        return b"".join(authority.certificates())

    trust: Page = partial(
        trust_page,
        names=surroundings.names,
        port=surroundings.port,
        plain_ports=surroundings.plain_ports,
        extra=extra,
    )
    kind = settings.certificates_from
    return Public(
        store.http_answer,
        authorities if kind in {"acme", "private"} else None,
        trust if kind == "private" else None,
        extra,
    )


def _samples(settings: Settings, store: CertificateStore, started: int) -> Iterator[Sample]:
    yield Sample("moorage_build_info", 1, {"version": __version__}, "Which version runs.")
    yield Sample("process_start_time_seconds", started / 1e6, {}, "When the server was started, by Unix time.")
    yield from samples(store, kept_names(settings, store))
