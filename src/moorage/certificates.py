"""The part of the composition that is about certificates: which are kept, by whom they are issued, and who is asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cache

from moorage.clock import Clock
from moorage.errors import ConfigurationError
from moorage.jobs.certificates import Watching, keeping
from moorage.jobs.lease import Chore
from moorage.metadata.database import Database
from moorage.settings.certificates import Dns
from moorage.settings.listen import TcpAddress, parse_address
from moorage.settings.model import Settings
from moorage.tls.acme import AcmeIssuer, AcmeOptions
from moorage.tls.dns.records import Writer
from moorage.tls.files import pair_at
from moorage.tls.keeper import Keeper
from moorage.tls.machine import Names, configured_names, host_names, interface_addresses
from moorage.tls.private_ca import LEAF, PrivateAuthority
from moorage.tls.state import FILES, everything, forget
from moorage.tls.store import CertificateStore
from moorage.tls.watch import Watch


def certificate_chores(
    settings: Settings, store: CertificateStore, database: Database, clock: Clock, holder: str
) -> list[Chore]:
    """The background work for certificates; none where there is no TLS."""
    if settings.tls.certificate is not None:
        return [Watching(Watch(pair_at(settings.tls.certificate, settings.tls.key), store, clock), clock)]
    kept = keepers(settings, store, clock)
    return [keeping(kept, database, clock, holder)] if kept else []


def keepers(settings: Settings, store: CertificateStore, clock: Clock, *, served: bool = True) -> list[Keeper]:
    """Who keeps which certificates: none where they are in files, or where there is no TLS.

    *served*: a server answers challenges; else only a command's door at `tls.plain_listen` is open.
    """
    kind = settings.certificates_from
    if kind == "acme":
        domains = settings.tls.domains
        ours = acme_keeper(settings, domains, store, clock, served=served)
        return [ours, _private(settings, store, clock, until=lambda: all(map(store.has, domains)))]
    return [_private(settings, store, clock)] if kind == "private" else []


def acme_keeper(
    settings: Settings, domains: Sequence[str], store: CertificateStore, clock: Clock, *, served: bool = True
) -> Keeper:
    """Who gets certificates for *domains* from the authority in the settings."""
    acme = settings.acme
    options = _options(settings, acme.directory, clock, rehearsal=False, served=served)
    staging = None
    if acme.staging is not None:
        rehearsing = _options(settings, acme.staging, clock, rehearsal=True, served=served)
        staging = AcmeIssuer(rehearsing, store, clock)
    text = json.dumps([acme.model_dump(mode="json"), settings.tls.plain_listen], sort_keys=True)
    return Keeper(
        lambda: domains,
        AcmeIssuer(options, store, clock),
        store,
        clock,
        staging=staging,
        settings=hashlib.sha256(text.encode()).hexdigest()[:16],
    )


def kept_names(settings: Settings, store: CertificateStore) -> Callable[[str], bool]:
    """Whether the server looks after the certificate of a name now: what is left of other times worries nobody."""
    kind, domains = settings.certificates_from, settings.tls.domains

    def kept(name: str) -> bool:
        if kind == "acme":
            return name in domains or (is_leaf(name) and not all(map(store.has, domains)))
        return is_leaf(name) if kind == "private" else kind == "files" and name == FILES

    return kept


def is_leaf(name: str) -> bool:
    """Whether it is a name in the store for what the private authority signs."""
    return name == LEAF or name.startswith(f"{LEAF}.")


def names_of(settings: Settings) -> Names:
    """The names for which the private authority makes certificates. Raises ConfigurationError."""
    addresses = [parse_address(text) for text in settings.listen]
    hosts = [address.host for address in addresses if isinstance(address, TcpAddress)]
    try:
        return configured_names(
            hosts,
            settings.http.external_url,
            settings.tls.names,
            settings.tls.domains,
            host_names(),
            interface_addresses(),
        )
    except ValueError as error:
        raise ConfigurationError(str(error), key="listen or http.external_url") from None


def _private(
    settings: Settings, store: CertificateStore, clock: Clock, until: Callable[[], bool] = lambda: False
) -> Keeper:
    """The private authority's leaves; none once *until* says that nobody is shown them."""
    authority = PrivateAuthority(store, clock)

    @cache
    def begin() -> None:
        # Once, as the server does when it starts: the machine's names may change by themselves.
        authority.ensure(names_of(settings))
        leaves = [leaf.name for leaf in authority.leaves()]
        for known in everything(store):
            if is_leaf(known.name) and known.name not in leaves:
                forget(store, known.name)

    def leaves() -> list[str]:
        if until():
            return []
        begin()
        return [leaf.name for leaf in authority.leaves()]

    return Keeper(leaves, authority, store, clock, fits=authority.fits)


def _options(settings: Settings, directory: str, clock: Clock, *, rehearsal: bool, served: bool) -> AcmeOptions:
    acme = settings.acme
    answers = None
    if acme.dns.method is not None and acme.challenge in {"auto", "dns-01"}:
        from moorage.tls.dns.answers import DnsAnswers
        from moorage.tls.dns.lookup import Lookup

        answers = DnsAnswers(_writer(acme.dns), Lookup(acme.dns.resolvers), acme.dns.wait, clock)
    return AcmeOptions(
        directory=directory,
        ca_file=acme.ca_file,
        email=acme.email,
        eab_key_id=acme.eab_key_id,
        eab_hmac_key=acme.eab_hmac_key,
        profile=acme.profile,
        key_type=acme.key_type,
        challenge=acme.challenge,
        dns=answers,
        plain_http=bool(settings.tls.plain_listen),
        tls_alpn=served,
        rehearsal=rehearsal,
    )


def _writer(dns: Dns) -> Writer:
    """What puts records into the DNS; *dns* is complete, as its validation sees to."""
    if dns.method == "rfc2136":
        from moorage.tls.dns.rfc2136 import Rfc2136, TsigKey

        key = TsigKey(dns.key_name, dns.key_secret, dns.key_algorithm) if dns.key_name and dns.key_secret else None
        return Rfc2136(dns.server or "", key)
    if dns.method == "provider":
        from moorage.tls.dns.provider import Provider

        return Provider(dns.provider or "", dns.provider_options)
    from moorage.tls.dns.hook import Hook

    assert dns.auth_hook is not None
    return Hook(dns.auth_hook, dns.cleanup_hook)
