"""`moorage cert`: the certificates of this server, and those that it issues to clients."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from moorage.cli.cert_authorities import authorities, retire_authority
from moorage.cli.cert_client import clients, issue_client, revoke_client
from moorage.cli.cert_facts import Entry, as_json, entries, parsed, plan_in_words, require_owner
from moorage.cli.cert_get import obtain, renew
from moorage.cli.tables import echo_json, moment, table
from moorage.cli.volume import Volume, on_volume
from moorage.clock import SystemClock
from moorage.durable import make_directory, write_file
from moorage.errors import ConfigurationError, UserError
from moorage.tls import renewal, state
from moorage.tls.files import pair_at
from moorage.tls.pem import Chain, certificates_alone, key_alone, read_file, read_pair
from moorage.tls.state import State
from moorage.tls.store import CertificateStore


@click.group(epilog="Example: moorage cert list")
def cert() -> None:
    """Get, renew, show, import and export certificates, and issue those of clients."""


cert.add_command(obtain)
cert.add_command(renew)
cert.add_command(issue_client)
cert.add_command(revoke_client)
cert.add_command(clients)
cert.add_command(authorities)
cert.add_command(retire_authority)


@cert.command("list", epilog="Example: moorage cert list --json")
@click.option("--json", "as_json_", is_flag=True, help="Print JSON, for programs.")
@on_volume
def list_(*, volume: Volume, as_json_: bool) -> None:
    """List the certificates: for what, from whom, until when, when they are renewed, and what has failed."""
    now = SystemClock().now()
    found = entries(volume, now)
    if as_json_:
        echo_json([as_json(entry, now) for entry in found])
        return
    rows = [
        (entry.title, entry.issuer, entry.expires, entry.left(now), entry.renewal(now), entry.condition(now))
        for entry in found
    ]
    click.echo(table(("NAME", "ISSUER", "EXPIRES (UTC)", "LEFT", "RENEWAL (UTC)", "STATE"), rows))
    for entry in found:
        if (failure := entry.failure_in_words()) is not None:
            click.echo(f"\n{entry.title}: {failure}")


@cert.command(epilog="Example: moorage cert show registry.example.com")
@click.option("--json", "as_json_", is_flag=True, help="Print JSON, for programs.")
@click.argument("name")
@on_volume
def show(*, volume: Volume, name: str, as_json_: bool) -> None:
    """Show all about one certificate."""
    now = SystemClock().now()
    entry = _found(volume, name, now)
    if as_json_:
        echo_json(as_json(entry, now))
        return
    for label, text in _lines(volume, entry, now):
        click.echo(f"{label and label + ':':<14}{text}")


@cert.command(
    "import", epilog="Example: moorage cert import registry.example.com --certificate chain.pem --key key.pem"
)
@click.option(
    "--certificate",
    required=True,
    type=click.Path(path_type=Path),
    help="The PEM file with the certificate and its chain, or certbot's folder with fullchain.pem and privkey.pem.",
)
@click.option(
    "--key", type=click.Path(path_type=Path), help="The PEM file with its private key; certbot's folder has its own."
)
@click.argument("name")
@on_volume
def import_(*, volume: Volume, name: str, certificate: Path, key: Path | None) -> None:
    """Put a certificate that was made elsewhere in the place of the one for NAME.

    It is in force within a second where the server shows its own certificates, and renewed in its time.
    """
    name = parsed(name)
    pair = pair_at(certificate, key)
    if certificate.is_dir() and not pair.chain.exists():
        read_file(certificate)  # Which says that it is a folder.
    if key is None and not certificate.is_dir() and b"PRIVATE KEY" not in read_file(certificate):
        raise UserError(f"a certificate needs its key: name the file with --key, for {certificate}")
    chain_text, key_text = read_file(pair.chain), read_file(pair.key)
    chain = read_pair(chain_text, key_text, chain_source=str(pair.chain), key_source=str(pair.key))
    now = SystemClock().now()
    _require_good(chain, name, str(pair.chain), now)
    require_owner(volume.folders)
    store = CertificateStore(volume.folders.tls)
    make_directory(volume.folders.ours)
    store.put(name, certificates_alone(chain_text), key_alone(key_text), now=now)
    state.save(store, name, renewal.with_certificate(State(), chain.leaf))
    click.echo(f"imported the certificate for {name}, good until {moment(chain.leaf.not_after)} UTC", err=True)
    for warning in chain.warnings:
        click.echo(f"moorage: {pair.chain}: {warning}", err=True)
    if name not in volume.settings.tls.domains:
        click.echo(
            f"moorage: the server shows it once tls.domains has {name} (moorage serve --domain {name})", err=True
        )


@cert.command(epilog="Example: moorage cert export registry.example.com --to /srv/tls")
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder for fullchain.pem and privkey.pem; made if it is not there.",
)
@click.option("--force", is_flag=True, help="Also in place of files that are there already.")
@click.argument("name")
@on_volume
def export(*, volume: Volume, name: str, folder: Path, force: bool) -> None:
    """Write a certificate and its key to files with certbot's names, for another program."""
    entry = _found(volume, name, SystemClock().now())
    if entry.pair is None or entry.chain is None:
        raise UserError(f"there is no certificate for {entry.title} yet")
    for file in ("privkey.pem", "fullchain.pem"):
        if not force and (folder / file).exists():
            raise UserError(f"{folder / file} is there already; --force writes another in its place")
    chain, key = read_file(entry.pair.chain), read_file(entry.pair.key)
    make_directory(folder)
    # The key first: who reloads when fullchain.pem changes finds both.
    write_file(folder / "privkey.pem", key_alone(key), 0o600)
    write_file(folder / "fullchain.pem", certificates_alone(chain))
    click.echo(f"wrote {folder / 'fullchain.pem'} and {folder / 'privkey.pem'}", err=True)


def _found(volume: Volume, name: str, now: int) -> Entry:
    """Raises UserError."""
    known = entries(volume, now)
    wanted = name if name == "files" else parsed(name)
    for entry in known:
        if wanted == entry.title_name:
            return entry
    near = difflib.get_close_matches(wanted, [entry.title_name for entry in known], n=1)
    raise UserError(
        f"there is no certificate for {wanted!r}; "
        + (f"did you mean {near[0]}?" if near else "moorage cert list names those that there are")
    )


def _require_good(chain: Chain, name: str, source: str, now: int) -> None:
    """Raises ConfigurationError for what clients would refuse."""
    leaf = chain.leaf
    if (why := leaf.out_of_time(now)) is not None:
        raise ConfigurationError(f"the certificate {why}", source=source)
    if not leaf.covers(name):
        near = difflib.get_close_matches(name, leaf.names, n=1)
        raise ConfigurationError(
            f"the certificate is for {', '.join(leaf.names) or 'no name'}, and not for {name}"
            + (f"; did you mean {near[0]}?" if near else ""),
            source=source,
        )


def _lines(volume: Volume, entry: Entry, now: int) -> list[tuple[str, str]]:
    known, chain = entry.state, entry.chain
    lines = [("name", entry.title_name)]
    if chain is not None and entry.pair is not None:
        leaf = chain.leaf
        lines += [
            ("for", ", ".join(leaf.names) or "no name"),
            ("issuer", leaf.issuer + (f", from {known.issuer}" if known.issuer else "")),
            ("serial", f"{leaf.serial:x}"),
            ("SHA-256", leaf.fingerprint),
            ("key", leaf.key),
            ("valid from", f"{moment(leaf.not_before)} UTC"),
            ("valid until", f"{moment(leaf.not_after)} UTC ({entry.left(now)} left)"),
        ]
        lines += [("chain", f"{one.subject}, by {one.issuer}, until {moment(one.not_after)}") for one in chain.rest]
        lines += [("warning", warning) for warning in chain.warnings]
        lines += [("files", str(entry.pair.chain)), ("", str(entry.pair.key))]
    else:
        lines.append(("certificate", entry.complaint or "none yet"))
    if entry.title_name in volume.settings.tls.domains:
        lines.append(("profile", volume.settings.acme.profile or "the authority's own choice"))
    lines.append(("renewal", plan_in_words(entry, now)))
    if known.advice is not None:
        window = f"{moment(known.advice.start)} to {moment(known.advice.end)} UTC"
        lines.append(("window", f"the authority wants it renewed from {window}"))
        lines += [("", known.advice.explanation)] if known.advice.explanation else []
    if (failure := entry.failure_in_words()) is not None:
        lines.append(("failed", failure))
    return lines
