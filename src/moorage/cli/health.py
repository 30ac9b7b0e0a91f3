"""`moorage health`: whether the server of these settings answers, for containers and supervisors."""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path
from typing import Any

import click

from moorage.cli.settings_options import as_options, chosen_settings, settings_source
from moorage.errors import UserError
from moorage.settings.listen import Address, UnixAddress, parse_address
from moorage.settings.model import Settings


@click.command(params=as_options(), epilog="Example: moorage health --config moorage.yml")
@click.option(
    "--timeout", type=float, default=5.0, show_default=True, help="How long to wait for the answer, in seconds."
)
@settings_source
def health(file: Path | None, config: Path | None, *, classic: bool, timeout: float, **options: Any) -> None:
    """Ask the server of these settings whether it serves; the exit code is 0 if it does.

    Give it the words that `moorage serve` was given. It connects to the first address in `listen` from this machine,
    whatever the certificate there says. FILE is a configuration of distribution (config.yml).
    """
    look(chosen_settings(file, config, classic=classic, options=options).settings, timeout)


def look(settings: Settings, timeout: float) -> None:
    """Ask the server of *settings*, and return if it answers within *timeout* seconds. Raises UserError if not."""
    address = parse_address(settings.listen[0])
    try:
        status = _ask(address, settings, timeout)
    except ssl.SSLError as error:
        if not (settings.tls.client_cas or settings.tls.own_clients):
            raise UserError(f"no TLS handshake on {address}: {error}") from None
        return  # It asks for a certificate, so it serves.
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"nothing answers on {address}: {error}") from None
    if status != http.HTTPStatus.OK:
        raise UserError(f"{address} answers with {status} instead of 200")


def _ask(address: Address, settings: Settings, timeout: float) -> int:
    connection = http.client.HTTPConnection("localhost", timeout=timeout)
    connection.sock = _connect(address, timeout)
    if settings.certificates_from is not None and not isinstance(address, UnixAddress):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Who answers on this machine's own address is not in question, and the name may be any.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection.sock = context.wrap_socket(connection.sock)
    try:
        connection.request("GET", settings.http.prefix)
        return connection.getresponse().status
    finally:
        connection.close()


def _connect(address: Address, timeout: float) -> socket.socket:
    if isinstance(address, UnixAddress):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(timeout)
        made.connect(address.path)
        return made
    # "Every address" is reached by loopback.
    host = {"": "localhost", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
    return socket.create_connection((host, address.port), timeout)
