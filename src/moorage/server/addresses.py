"""Every address that a server listens at, and by which it is known."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

from moorage.errors import StartRefused
from moorage.server.identity import Identity, https_port, plain_addresses
from moorage.server.inherited import Inherited
from moorage.server.worker import Listener
from moorage.settings.listen import UnixAddress, parse_address
from moorage.settings.model import Settings
from moorage.settings.origin import Loaded

_log = logging.getLogger("moorage.server")


def listen_everywhere(loaded: Loaded, inherited: Inherited, release: Callable[[], None]) -> list[Listener]:
    """The registry's listeners, then those beside it; what is *inherited* is used. Raises StartRefused with what to do.

    *release* is called when something was kept open for an address that is not among them.
    """
    settings = loaded.settings
    secure = settings.certificates_from is not None
    everywhere = (*settings.listen, *plain_addresses(loaded)[0], *settings.metrics.listen)
    inherited.only(map(parse_address, everywhere), release)
    listeners = [
        Listener(made, secure=secure and not isinstance(address, UnixAddress))
        for address in map(parse_address, settings.listen)
        for made in inherited.listen(address)
    ]
    listeners += _plain(loaded, inherited)
    listeners += [
        Listener(made, secure=False, use="metrics")
        for text in settings.metrics.listen
        for made in inherited.listen(parse_address(text), "--metrics-listen")
    ]
    inherited.finish()
    return listeners


def _plain(loaded: Loaded, inherited: Inherited) -> list[Listener]:
    addresses, asked = plain_addresses(loaded)
    listeners: list[Listener] = []
    for text in addresses:
        try:
            made = inherited.listen(parse_address(text), "--tls-plain-listen")
        except StartRefused as error:
            if asked:
                raise
            acme = loaded.settings.certificates_from == "acme"
            what = "no challenge (http-01) is answered there, and nobody is sent" if acme else "nobody is sent"
            _log.log(logging.WARNING if acme else logging.INFO, "%s from %s to https: %s", what, text, error)
        else:
            listeners += [Listener(one, secure=False, use="plain") for one in made]
    return listeners


def name_of(listener: Listener) -> str:
    """Its address as text."""
    name = listener.socket.getsockname()
    return f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}"


def port_of(listener: Listener) -> int:
    """Its TCP port; 443 for a unix socket, in front of which there is a proxy."""
    return 443 if listener.socket.family == socket.AF_UNIX else int(listener.socket.getsockname()[1])


def external_host(settings: Settings, listener: Listener, identity: Identity | None) -> str:
    """`host` or `host:port`, as clients write it in a reference to an image."""
    if settings.http.external_url is not None:
        return settings.http.external_url.partition("://")[2]
    name = listener.socket.getsockname()
    if isinstance(name, str):
        return "localhost"
    host = "localhost" if name[0] in {"0.0.0.0", "::"} else name[0]  # noqa: S104  (read, not bound)
    if identity is not None and identity.host is not None:
        host = identity.host
    port = https_port(settings, name[1])
    host = f"[{host}]" if ":" in host else host
    # Docker takes a first word without a dot or a port for a user of Docker Hub.
    short = listener.secure and port == 443 and ("." in host or host == "localhost" or ":" in host)
    return host if short else f"{host}:{port}"
