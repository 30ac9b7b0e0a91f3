"""What a start says about certificates that the server makes or gets itself."""

from __future__ import annotations

import logging
import sys

from moorage.server.addresses import external_host
from moorage.server.identity import Identity
from moorage.server.worker import Listener
from moorage.settings.model import Settings

_log = logging.getLogger("moorage.server")


def announce(identity: Identity, settings: Settings, listener: Listener, *, terminal: bool) -> None:
    """Say which names wait for a certificate, and what to compare where the private authority steps in.

    The fingerprint goes to the log and to a *terminal*: where clients see it must not come from the server's pages.
    """
    host = external_host(settings, listener, identity)
    if identity.waiting:
        names = ", ".join(identity.waiting)
        _log.warning(
            "there is no certificate for %s yet, and until there is, the private authority's is shown, which clients do"
            " not trust; to get one, %s has to be able to reach this server: look whether the names lead to its public"
            " address (A and AAAA records) and whether ports 80 and 443 are open; moorage cert list says how it goes",
            names,
            settings.acme.directory.partition("://")[2].partition("/")[0],
        )
    if not identity.fingerprints:
        return
    for fingerprint in identity.fingerprints:
        _log.info("the private authority's certificate has the SHA-256 fingerprint %s", fingerprint)
    if not identity.waiting:
        _log.info("to trust it, on each client: moorage trust %s, or see https://%s/trust", host, host)
    if terminal:
        sys.stdout.write(_lines(host, identity))
        sys.stdout.flush()


def _lines(host: str, identity: Identity) -> str:
    fingerprints = "\n".join(f"      {fingerprint}" for fingerprint in identity.fingerprints)
    if identity.waiting:
        return f"""
  No certificate has been got for {", ".join(identity.waiting)} yet. Until then the server shows one
  of its own private authority, whose SHA-256 fingerprint is

{fingerprints}

"""
    return f"""
  The server's certificate comes from its own private authority, which each client has to be told
  once to trust; https://{host}/trust says how, or on the client:

      moorage trust {host}

  It asks for the authority's SHA-256 fingerprint. Copy it from here, and from nowhere else:

{fingerprints}

"""
