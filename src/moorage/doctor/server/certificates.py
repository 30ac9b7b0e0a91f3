"""The step `certificates`: whichever way the server gets its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from moorage.app import Folders
from moorage.clock import Clock
from moorage.doctor.accounts import acting_as
from moorage.doctor.finding import Finding, ok
from moorage.doctor.server.acme import look_at_states
from moorage.doctor.server.certbot import Schedules, look_at_certbot, look_for_newer
from moorage.doctor.server.certificate_files import Surroundings, look_at_files, read_leaf
from moorage.doctor.server.private_authority import look_at_authority
from moorage.doctor.server.served import look_at_served
from moorage.settings.model import Settings
from moorage.tls.files import pair_at
from moorage.tls.names import covers, is_wildcard
from moorage.tls.pem import CertificateFacts
from moorage.tls.store import CertificateStore


async def look_at_certificates(
    settings: Settings, clock: Clock, around: Surroundings, *, served: bool
) -> AsyncIterator[Finding]:
    """The certificates in force and to come; *served*: whether a server runs that shows one."""
    store = CertificateStore(Folders(settings.data).tls)
    kind = settings.certificates_from
    if kind is None:
        yield ok("the server speaks plain HTTP")
        return
    if kind == "files":
        for finding in _files(settings, around):
            yield finding
    elif kind == "acme":
        for finding in look_at_states(settings, store, around):
            yield finding
        if not all(store_has(store, domain, around) for domain in settings.tls.domains):
            for finding in look_at_authority(settings, store, clock, around):
                yield finding
    else:
        for finding in look_at_authority(settings, store, clock, around):
            yield finding
    shown = _expected(settings, store, around)
    if served and shown is not None:
        async for finding in look_at_served(settings, *shown):
            yield finding


def _files(settings: Settings, around: Surroundings) -> Iterator[Finding]:
    assert settings.tls.certificate is not None
    yield from look_at_files(settings, around)
    if around.container:
        return  # who renews it works on the host
    with acting_as(around.user):
        pair = pair_at(settings.tls.certificate, settings.tls.key)
    leaf = read_leaf(pair.chain, around.user)
    if leaf is not None:
        yield from look_at_certbot(settings.tls.certificate, settings, Schedules())
        yield from look_for_newer(settings.tls.certificate, leaf)


def _expected(
    settings: Settings, store: CertificateStore, around: Surroundings
) -> tuple[CertificateFacts, Path] | None:
    """The certificate that a client which asks for its name should see, and the file that it is in."""
    path = None
    if settings.tls.certificate is not None:
        with acting_as(around.user):
            path = pair_at(settings.tls.certificate, settings.tls.key).chain
    else:
        path = next((store.pair(name).chain for name in settings.tls.domains if store_has(store, name, around)), None)
    if path is None:
        return None
    leaf = read_leaf(path, around.user)
    return None if leaf is None else (leaf, path)


def store_has(store: CertificateStore, name: str, around: Surroundings) -> bool:
    """Whether there is a pair for *name*, as the server's user sees it."""
    with acting_as(around.user):
        try:
            return store.has(name)
        except OSError:
            return False


def host_for(leaf: CertificateFacts) -> str | None:
    """A name by which a client could come to the certificate's server."""
    plain = [name for name in leaf.names if not is_wildcard(name)]
    if plain:
        return plain[0]
    wild = next(iter(leaf.names), None)
    host = f"registry.{wild.removeprefix('*.')}" if wild else None
    return host if host and wild and covers(wild, host) else None
