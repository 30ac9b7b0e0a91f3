"""The commands of `moorage cert` for client certificates."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Final

import click

from moorage.auth.htpasswd_edit import illegal
from moorage.cli.client_steps import client_steps
from moorage.cli.tables import echo_json, moment, number, rfc3339, table
from moorage.cli.volume import Volume, on_volume
from moorage.clock import SystemClock
from moorage.durable import write_file
from moorage.errors import UserError
from moorage.settings.listen import TcpAddress, parse_address
from moorage.settings.model import Settings
from moorage.tls.client_ca import MOST_DAYS, MOST_NAME_BYTES, Client, ClientAuthority
from moorage.tls.machine import everywhere
from moorage.tls.names import is_wildcard
from moorage.tls.store import CertificateStore

_DAYS: Final = 365
_UNUSUAL: Final = re.compile(r"[^\w.@+-]")
"""What stands for something in a shell, or in a path."""
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")


@click.command("issue-client", epilog="Example: moorage cert issue-client ci-runner --host registry.lan:5000")
@click.option(
    "--days",
    type=click.IntRange(1, MOST_DAYS),
    default=_DAYS,
    show_default=True,
    help="How long the certificate is good for.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="The folder for the two files; by default this one.",
)
@click.option(
    "--host", help="The registry as images' names have it, HOST or HOST:PORT, for the steps that are printed."
)
@click.argument("name")
@on_volume
def issue_client(*, volume: Volume, name: str, days: int, out: Path, host: str | None) -> None:
    """Make a certificate by which client NAME may connect: NAME.cert and NAME.key."""
    _check_name(name)
    host = host or _host(volume.settings)
    if not _HOST.fullmatch(host):
        raise UserError(f"{host!r} is no host: it is written as in the names of images, registry.lan:5000")
    authority = _authority(volume)
    stem = _UNUSUAL.sub("_", name)
    certificate, key = out / f"{stem}.cert", out / f"{stem}.key"
    for path in (certificate, key):
        if path.exists():
            raise UserError(f"{path} is there already: move it away, or choose another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    client, issued = authority.issue(name, days)
    write_file(key, issued.key, 0o600)
    write_file(certificate, issued.chain)
    click.echo(f"made {certificate} and {key}, good until {moment(client.ends)} UTC; the key is kept nowhere else")
    click.echo()
    click.echo(client_steps(name, host, certificate.name, key.name), nl=False)
    _say_what_lacks(volume.settings)


@click.command("revoke-client", epilog="Example: moorage cert revoke-client ci-runner")
@click.option("--serial", help="Only the certificate with this serial number, as `moorage cert clients` shows it.")
@click.argument("name")
@on_volume
def revoke_client(*, volume: Volume, name: str, serial: str | None) -> None:
    """Let client NAME in no more by its certificates; in force within a second."""
    authority = _authority(volume)
    wanted = serial and serial.replace(":", "").lower().lstrip("0")
    revoked = authority.revoke(name, wanted)
    if revoked:
        click.echo(f"revoked {number(len(revoked), 'certificate')} of {name}", err=True)
        return
    known = [client for client in authority.clients() if client.name == name]
    if not known:
        raise UserError(f"no certificate was issued to {name!r}; moorage cert clients lists those that were")
    if wanted and all(client.serial != wanted for client in known):
        raise UserError(f"{name} has no certificate with the serial number {serial}; moorage cert clients lists them")
    raise UserError(f"the certificates of {name} are revoked already")


@click.command("clients", epilog="Example: moorage cert clients --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@on_volume
def clients(*, volume: Volume, as_json: bool) -> None:
    """List the client certificates that were issued."""
    now = SystemClock().now()
    issued = _authority(volume).clients()
    if as_json:
        echo_json(
            [
                {
                    "name": one.name,
                    "serial": one.serial,
                    "state": _state(one, now),
                    "issued": rfc3339(one.made),
                    "expires": rfc3339(one.ends),
                    "revoked": rfc3339(one.revoked or None),
                }
                for one in issued
            ]
        )
        return
    rows = [(one.name, _state(one, now), moment(one.made), moment(one.ends), one.serial) for one in issued]
    click.echo(table(("NAME", "STATE", "ISSUED (UTC)", "EXPIRES (UTC)", "SERIAL"), rows))


def _state(client: Client, now: int) -> str:
    if client.revoked:
        return "revoked"
    return "good" if client.ends > now else "expired"


def certificate_store(volume: Volume) -> CertificateStore:
    """The volume's. Raises UserError where there is no registry."""
    if not volume.folders.ours.is_dir():
        raise UserError(
            f"there is no registry in {volume.folders.data}; name the server's own with --data, or start the server"
            " there first"
        )
    return CertificateStore(volume.folders.tls)


def _authority(volume: Volume) -> ClientAuthority:
    return ClientAuthority(certificate_store(volume), SystemClock())


def _check_name(name: str) -> None:
    """Raises UserError for a name that cannot be a user's, a file's or a certificate's."""
    reason = illegal(name)
    if reason is None and len(name.encode()) > MOST_NAME_BYTES:
        reason = f"a client's name has at most {MOST_NAME_BYTES} bytes"
    if reason is None and name.startswith((".", "-")):
        reason = "the client's name is its files' name too: no dot or dash before it"
    if reason is not None:
        raise UserError(reason)


def _host(settings: Settings) -> str:
    """The registry as its clients call it, as far as the settings tell."""
    if settings.http.external_url:
        return settings.http.external_url.partition("://")[2].partition("/")[0]
    address = next((one for text in settings.listen if isinstance(one := parse_address(text), TcpAddress)), None)
    port = address.port if address is not None else 443
    named = [name for name in (*settings.tls.domains, *settings.tls.names) if not is_wildcard(name)]
    host = address.host if address is not None and not everywhere(address.host) else socket.gethostname()
    host = named[0] if named else host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _say_what_lacks(settings: Settings) -> None:
    """Say on standard error which settings the server needs for the certificate to be of use."""
    if not settings.tls.own_clients:
        click.echo("moorage: the server asks for no such certificate yet: set tls.own_clients and restart it", err=True)
    if settings.tls.client_principal == "none":
        click.echo(
            "moorage: tls.client_principal is none: a password still decides who the user is; set it to cn, and the"
            " certificate does",
            err=True,
        )
