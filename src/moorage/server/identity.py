"""The certificates that a server starts with, and what is said about them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from moorage.app import Folders
from moorage.certificates import names_of
from moorage.clock import SystemClock
from moorage.errors import CertificateFailed, ConfigurationError, StartRefused
from moorage.settings.listen import TcpAddress, parse_address
from moorage.settings.model import Settings
from moorage.settings.origin import DEFAULT, Loaded
from moorage.tls.client_ca import ClientAuthority
from moorage.tls.contexts import Contexts, Place, Source
from moorage.tls.files import TlsPolicy, pair_at
from moorage.tls.machine import Names
from moorage.tls.names import covers, is_address, is_wildcard
from moorage.tls.private_ca import Leaf, PrivateAuthority
from moorage.tls.store import CertificateStore

_log = logging.getLogger("moorage.server")

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Identity:
    """*contexts* is what connections get; *waiting* are domains that have no certificate yet.

    *fingerprints* are those of the private authorities whose certificates are shown, newest first; *host* is what
    people call the server, where its certificates tell, without a port. *names* are all that the private authority's
    certificates are for.
    """

    contexts: Contexts
    names: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()
    host: str | None = None


def own_clients(folders: Folders) -> tuple[Path, ...]:
    """The file with the authority of this server's own clients, which is made if it is missing. Raises StartRefused."""
    try:
        return (ClientAuthority(CertificateStore(folders.tls), SystemClock()).ensure(),)
    except CertificateFailed as error:
        raise StartRefused(str(error)) from error


def given_identity(
    settings: Settings, folders: Folders, clients: tuple[Path, ...] = (), shown_as: Path | None = None
) -> Identity:
    """The pair that the settings name. Raises ConfigurationError where it cannot be used.

    *clients* are files with authorities of clients, beside those in the settings. *shown_as* is what the log calls the
    certificate, where the settings name a copy of it.
    """
    tls = settings.tls
    assert tls.certificate is not None
    pair = pair_at(tls.certificate, tls.key)
    source = Source((), [Place(pair, f"the certificate in {shown_as or pair.chain}")])
    contexts = Contexts([source], _policy(settings, clients), CertificateStore(folders.tls))
    if clients or not settings.tls.own_clients:
        contexts.say_doubts()
    return Identity(contexts)


def made_identity(settings: Settings, folders: Folders) -> Identity:
    """What the store has of an ACME server's certificates, and the private authority's for what is missing.

    Makes the authority and its certificates if they are needed. Raises StartRefused and ConfigurationError.
    """
    store = CertificateStore(folders.tls)
    domains = settings.tls.domains
    policy = _policy(settings, own_clients(folders) if settings.tls.own_clients else ())
    if domains and all(store.has(domain) for domain in domains):
        try:
            contexts = Contexts([_issued(store, domain) for domain in domains], policy, store)
        except ConfigurationError as error:
            _log.warning("until there is another, the private authority's certificate is shown: %s", error)
        else:
            return Identity(contexts, host=_public(domains))
    authority = PrivateAuthority(store, SystemClock())
    names = names_of(settings)
    try:
        leaves = authority.prepare(names)
    except CertificateFailed as error:
        raise StartRefused(str(error)) from error
    sources = [_issued(store, domain, leaves) for domain in domains] or [_private(store, leaf) for leaf in leaves]
    contexts = Contexts(sources, policy, store)
    host = _public(domains) or _host(names)
    served = tuple(dict.fromkeys(name for leaf in leaves for name in leaf.names))
    return Identity(contexts, served, contexts.waiting, tuple(authority.fingerprints()), host)


def https_port(settings: Settings, listening: int) -> int:
    """The port that clients use: the one in `http.external_url`, or where the server is *listening*."""
    scheme, _, rest = (settings.http.external_url or "").partition("://")
    if scheme != "https":
        return listening
    port = rest.rpartition(":")[2]
    return int(port) if port.isdigit() and not rest.endswith("]") else 443


def plain_addresses(loaded: Loaded) -> tuple[tuple[str, ...], bool]:
    """Where plain HTTP is answered beside TLS, and whether somebody has asked for that."""
    settings = loaded.settings
    kind = settings.certificates_from
    if kind is None:
        return (), False
    if loaded.origins["tls.plain_listen"] != DEFAULT:
        return settings.tls.plain_listen, True
    ports = {address.port for text in settings.listen if isinstance(address := parse_address(text), TcpAddress)}
    wanted = kind == "acme" or (kind == "private" and settings.exposed)
    if not wanted or any(getattr(parse_address(text), "port", None) in ports for text in settings.tls.plain_listen):
        return (), False
    return settings.tls.plain_listen, False


def _policy(settings: Settings, clients: tuple[Path, ...]) -> TlsPolicy:
    tls = settings.tls
    return TlsPolicy(tls.minimum, tls.ciphers, (*tls.client_cas, *clients), tls.client_auth)


def _issued(store: CertificateStore, domain: str, leaves: tuple[Leaf, ...] = ()) -> Source:
    """The certificate of *domain*, or until there is one, what the private authority has for it."""
    fitting = [leaf for leaf in leaves if any(covers(name, domain) for name in leaf.names)] or list(leaves)
    places = [Place(store.pair(domain), f"the certificate for {domain}")]
    places += [Place(store.pair(leaf.name), "the private authority's certificate") for leaf in fitting[:1]]
    return Source((domain,), places)


def _private(store: CertificateStore, leaf: Leaf) -> Source:
    return Source(leaf.names, [Place(store.pair(leaf.name), "the private authority's certificate")])


def _public(domains: tuple[str, ...]) -> str | None:
    return next((domain for domain in domains if not is_wildcard(domain)), None)


def _host(names: Names) -> str | None:
    """What people would call this server: a name that somebody has given, or one that was found.

    A full name rather than an address, and that rather than a name of one label, which other machines seldom know.
    """

    def rank(name: str) -> tuple[bool, bool, int]:
        kind = 1 if is_address(name) else 0 if "." in name else 2
        return name in _LOOPBACK, name not in names.given, kind

    plain = [name for name in names.all if not is_wildcard(name)]
    return min(plain, key=rank, default=None)
