"""Where the running server is, for a walk as its own client."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moorage.app import Folders
from moorage.doctor.accounts import Account, acting_as
from moorage.doctor.client.names import Address, Names, NameServer, SystemNames
from moorage.doctor.client.target import Target, parse_target
from moorage.doctor.server.certificate_files import read_leaf
from moorage.doctor.server.certificates import host_for
from moorage.errors import UserError
from moorage.settings.listen import TcpAddress, parse_address
from moorage.settings.model import Settings
from moorage.tls.files import pair_at
from moorage.tls.machine import everywhere
from moorage.tls.names import is_wildcard
from moorage.tls.store import CertificateStore


@dataclass(frozen=True, slots=True)
class OwnTarget:
    """*target* by *names*; *ca_file* is the authority that it needs beside the system's, if any."""

    target: Target
    names: Names
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Fixed:
    """A `Names` in which every name is *address*: the way to a server on this machine, whatever the DNS says."""

    address: Address

    def lookup(self, host: str) -> list[Address]:
        """The one address."""
        return [self.address]

    def hosts_file(self, host: str) -> list[Address]:
        """None."""
        return []

    def servers(self) -> list[NameServer]:
        """Nobody is asked."""
        return []

    def search(self) -> list[str]:
        """None."""
        return []


def own_target(settings: Settings, user: Account) -> OwnTarget | None:
    """The address that clients use where the settings name it, else the server's own; None without a TCP address."""
    ca_file = _authority(settings, user)
    if settings.http.external_url is not None:
        try:
            return OwnTarget(parse_target(settings.http.external_url), SystemNames(), ca_file)
        except UserError:
            return None
    addresses = (parse_address(text) for text in settings.listen)
    address = next((one for one in addresses if isinstance(one, TcpAddress) and one.port), None)
    if address is None:
        return None
    where = "127.0.0.1" if everywhere(address.host) else address.host
    scheme = "http" if settings.certificates_from is None else "https"
    host = _name(settings, user) or where
    bracketed = f"[{host}]" if ":" in host else host
    try:
        target = parse_target(f"{scheme}://{bracketed}:{address.port}")
    except UserError:
        return None
    return OwnTarget(target, SystemNames() if host == where else Fixed(where), ca_file)


def _name(settings: Settings, user: Account) -> str | None:
    """The name that the certificate is for, where an address is surely not in it."""
    if settings.certificates_from == "files" and settings.tls.certificate is not None:
        with acting_as(user):
            pair = pair_at(settings.tls.certificate, settings.tls.key)
        leaf = read_leaf(pair.chain, user)
        return host_for(leaf) if leaf else None
    if settings.certificates_from == "acme":
        return next((name for name in settings.tls.domains if not is_wildcard(name)), None)
    return None


def _authority(settings: Settings, user: Account) -> Path | None:
    """The newest private authority's certificate, where the server may show one that it signed."""
    if settings.certificates_from not in {"private", "acme"}:
        return None
    with acting_as(user):
        store = CertificateStore(Folders(settings.data).tls)
        found = [
            path for path in sorted(store.folder.glob("authority/*/ca.crt")) if not path.parent.name.endswith("retired")
        ]
    return found[-1] if found else None
