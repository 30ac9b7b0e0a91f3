"""Which registry is examined, and with what."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from moorage.doctor.client.names import Names, NameServer
from moorage.errors import UserError
from moorage.oci.name import RepositoryName
from moorage.tls.names import parse_certificate_name

PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """A registry's address as clients are given it. *host* is a DNS name or an IP address without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """As clients write it in front of an image's name: `host`, `host:5000`, `[::1]:5000`."""
        return self.bracketed if self.port == PORTS[self.scheme] else f"{self.bracketed}:{self.port}"

    @property
    def bracketed(self) -> str:
        """The host as URLs have it."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"{self.scheme}://{self.authority}"

    @property
    def tls(self) -> bool:
        """Whether TLS is to be spoken."""
        return self.scheme == "https"

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The host if it is an IP address."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


def parse_target(text: str) -> Target:
    """*text* as a target: a URL, or `host[:port]` for https. Raises UserError with how it is to be written."""
    text = text.strip()
    how = "write it as https://registry.example.com or https://registry.example.com:5000"
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
    except ValueError:
        raise UserError(f"{text} names no host: {how}") from None
    if parts.scheme not in PORTS:
        raise UserError(f"{parts.scheme}:// is nothing that registries speak: {how}")
    if parts.username is not None or parts.password is not None:
        raise UserError(f"a user is named with --user, and the password is read with --password-stdin: {how}")
    if parts.path.rstrip("/") not in {"", "/v2"} or parts.query or parts.fragment:
        raise UserError(f"a registry is named by host and port alone, clients always add /v2/ themselves: {how}")
    try:
        host, port = parse_certificate_name(parts.hostname or ""), parts.port
    except ValueError as error:
        raise UserError(f"{text} names no host that could be looked up ({error}): {how}") from None
    if host.startswith("*"):
        raise UserError(f"{host} is no host: name one that it covers")
    if port == 0:
        raise UserError(f"nothing can listen on port 0: {how}")
    return Target(parts.scheme, host, port or PORTS[parts.scheme])


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Options:
    """What is examined and with what.

    - *names*: how this machine finds addresses; *resolvers*: name servers that are asked too.
    - *ca_file*: PEM file of an authority to be trusted beside the system's.
    - *client_certificate*: PEM files of a certificate and its key, for servers that ask for one.
    - *certs_folders*: where engines on this machine keep authorities, a folder for each registry in them.
    - *timeout*: seconds until a connection or an answer counts as missing.
    - *slow_seconds*: how long a slow upload is tried; 0: not at all.
    """

    target: Target
    names: Names
    login: Login | None
    repository: RepositoryName
    resolvers: tuple[NameServer, ...] = ()
    ca_file: Path | None = None
    client_certificate: tuple[Path, Path] | None = None
    certs_folders: tuple[Path, ...] = (Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d"))
    timeout: float = 10.0
    slow_seconds: float = 0.0
