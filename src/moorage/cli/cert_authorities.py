"""The commands of `moorage cert` for the private authorities."""

from __future__ import annotations

import click

from moorage.cli.cert_client import certificate_store
from moorage.cli.tables import echo_json, moment, rfc3339, table
from moorage.cli.volume import Volume, on_volume
from moorage.clock import SystemClock
from moorage.tls.private_ca import PrivateAuthority


@click.command("authorities", epilog="Example: moorage cert authorities")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@on_volume
def authorities(*, volume: Volume, as_json: bool) -> None:
    """List this server's private authorities, the newest first."""
    from cryptography import x509

    from moorage.tls.private_ca import fingerprint
    from moorage.tls.signing import microseconds, permitted_names

    found = []
    for text in _authority(volume).certificates():
        certificate = x509.load_pem_x509_certificate(text)
        made, ends = (microseconds(one) for one in (certificate.not_valid_before_utc, certificate.not_valid_after_utc))
        found.append((fingerprint(text), made, ends, permitted_names(certificate)))
    if as_json:
        echo_json(
            [
                {"fingerprint": shown, "begins": rfc3339(made), "expires": rfc3339(ends), "names": list(names)}
                for shown, made, ends, names in found
            ]
        )
        return
    rows = [(shown, moment(ends), ", ".join(names)) for shown, _, ends, names in found]
    click.echo(table(("SHA-256 FINGERPRINT", "EXPIRES (UTC)", "MAY SIGN"), rows))


@click.command("retire-authority", epilog="Example: moorage cert retire-authority 17:89:34:...")
@click.argument("fingerprint")
@on_volume
def retire_authority(*, volume: Volume, fingerprint: str) -> None:
    """Let an old private authority sign no more, from the next start of the server on.

    Clients that trust no other one are told then that the certificate is signed by an unknown authority.
    """
    wanted = "".join(fingerprint.split()).replace(":", "").upper()
    shown = ":".join(wanted[at : at + 2] for at in range(0, len(wanted), 2))
    _authority(volume).retire(shown)
    click.echo("retired; start the server again, and the next authority signs for its names", err=True)


def _authority(volume: Volume) -> PrivateAuthority:
    return PrivateAuthority(certificate_store(volume), SystemClock())
