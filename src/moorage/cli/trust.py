"""`moorage trust`: makes the clients of this machine trust a registry's private authority."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from moorage.errors import UserError
from moorage.trust.certificates import Certificate, confirmed, parse_fingerprints, show_fingerprint
from moorage.trust.content import KEPT
from moorage.trust.fetch import fetch_authority, what_is_wrong
from moorage.trust.install import (
    CLIENTS,
    Done,
    Machine,
    found_clients,
    install,
    refresh_command,
    this_machine,
    undo,
)
from moorage.trust.place import Place, parse_place
from moorage.trust.steps import step

_ALL_FOUND = "all-found"
_OTHER_FINGERPRINT = (
    "the server at {place} has no authority with this fingerprint, so nothing was changed. Either the fingerprint was"
    " copied wrong, or is that of another server or of an authority that this one no longer uses; or somebody between"
    " you and the server answers in its place. Compare with what moorage cert authorities says on the server's own"
    " terminal, not with what a page says"
)

_EPILOG = """\b
Examples:
  moorage trust registry.example.com
  sudo moorage trust --client docker registry.example.com:5000
  moorage trust --client podman --fingerprint "$FINGERPRINT" 10.0.0.5:5000
  sudo moorage trust --client docker --undo registry.example.com:5000
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--client",
    "clients",
    type=click.Choice((*CLIENTS, _ALL_FOUND)),
    multiple=True,
    default=(_ALL_FOUND,),
    show_default=True,
    help="Which client is to trust it; may be repeated. system: every program of this machine.",
)
@click.option(
    "--fingerprint",
    metavar="SHA256",
    help="The authority's fingerprint, from the server's terminal; several with commas. Not given: it is asked for.",
)
@click.option("--undo", "undoing", is_flag=True, help="Take away what was written, and put back what was there.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    default=Path("/"),
    help="Write below this folder, for a machine whose files lie there; its store is then not brought up to date.",
)
@click.argument("host", metavar="HOST[:PORT]")
def trust(*, clients: tuple[str, ...], fingerprint: str | None, undoing: bool, root: Path, host: str) -> None:
    """Make this machine's clients trust a registry's private authority.

    The authority's certificate is fetched from the registry and believed only if its SHA-256 fingerprint is the one
    that you paste. HOST[:PORT] is written as in the names of images. all-found are docker, podman and containerd, as
    far as they are installed here.
    """
    if not sys.platform.startswith("linux"):
        raise UserError(f"this command knows Linux only; for this system follow https://{host}/trust")
    try:
        place = parse_place(host)
    except ValueError as error:
        raise UserError(str(error)) from None
    machine = this_machine(root)
    chosen = _chosen(clients, machine, undoing=undoing)
    if undoing:
        done = _with_rights(lambda: undo(chosen, place, machine), fingerprint)
        _say(done, "is not as we wrote it, and stays", "Take out of it:")
        if not done:
            click.echo(f"there is nothing of ours for {place.label}")
        return
    authority = _confirmed_authority(place, fingerprint)
    digests = ",".join(one.fingerprint for one in authority)
    done = _with_rights(lambda: install(chosen, place, authority, machine), digests)
    _say(done, "was written by somebody else, and stays", "Add to it:")
    _say_what_to_do(chosen, place, machine)
    _warn(place, authority)


def _chosen(clients: Sequence[str], machine: Machine, *, undoing: bool) -> list[str]:
    chosen = [client for client in CLIENTS if client in clients]
    if _ALL_FOUND not in clients:
        return chosen
    # What was written before the client was removed is to go too.
    found = [client for client in CLIENTS if client != "system"] if undoing else found_clients(machine)
    if not found and not chosen:
        raise UserError(
            "neither docker nor podman nor containerd is installed here; say which one is meant, as in --client docker"
        )
    return [client for client in CLIENTS if client in chosen or client in found]


def _confirmed_authority(place: Place, fingerprint: str | None) -> tuple[Certificate, ...]:
    if fingerprint is None and not sys.stdin.isatty():
        raise UserError("there is no terminal to ask for the fingerprint: give it with --fingerprint")
    wanted = None if fingerprint is None else _parsed(fingerprint)
    offered = fetch_authority(place)
    if wanted is None:
        # Only after it is clear that there is something to compare, and never with the digits to compare shown.
        text = click.prompt("SHA-256 fingerprint, from the server's terminal", default="", show_default=False, err=True)
        wanted = _parsed(text)
    try:
        authority = confirmed(offered, wanted)
    except LookupError:
        raise UserError(_OTHER_FINGERPRINT.format(place=place.label)) from None
    for one in authority:
        click.echo(f"confirmed: {show_fingerprint(one.fingerprint)}")
    if len(offered) > len(authority):
        click.echo(
            f"note: the server offers {len(offered) - len(authority)} more, which your fingerprint does not confirm and"
            " which was left out; a server that changes its authority shows both fingerprints",
            err=True,
        )
    return authority


def _parsed(text: str) -> tuple[str, ...]:
    try:
        return parse_fingerprints(text)
    except ValueError as error:
        raise UserError(f"{error}; nothing was changed") from None


def _with_rights(work: Callable[[], list[Done]], fingerprint: str | None) -> list[Done]:
    """*work*; where it lacks rights, the line with which it would have them."""
    try:
        return work()
    except PermissionError as error:
        line = _again(fingerprint)
        raise UserError(f"{error.filename} cannot be written by this user, so nothing was changed; {line}") from None


def _again(fingerprint: str | None) -> str:
    if this_machine(Path("/")).is_root:
        return "is it mounted read-only?"
    words = [str(Path(sys.argv[0]).absolute()), *sys.argv[1:]]
    if fingerprint is not None and not any(word.startswith("--fingerprint") for word in words):
        at = words.index("trust") + 1 if "trust" in words else len(words)
        words[at:at] = ["--fingerprint", fingerprint]
    return f"run this: sudo {shlex.join(words)}"


def _say(done: Sequence[Done], left: str, advice: str) -> None:
    for one in done:
        if one.what == "replaced":
            click.echo(f"{one.path}: written; what was there is kept as {one.path.name}{KEPT}")
        elif one.what == "left":
            click.echo(f"{one.path}: {left}" + (f". {advice}\n{one.add}" if one.add else ""), err=True)
        else:
            click.echo(f"{one.path}: {one.what}")


def _say_what_to_do(clients: Sequence[str], place: Place, machine: Machine) -> None:
    for client in clients:
        told = step(place, client)
        click.echo(f"{client}: {told.restart}")
        if told.use:
            click.echo("then: " + told.use.splitlines()[0])
    if "system" in clients and machine.root != Path("/"):
        click.echo(f"system: run there: {' '.join(refresh_command(machine))}")


def _warn(place: Place, authority: Sequence[Certificate]) -> None:
    if reason := what_is_wrong(place, authority):
        click.echo(f"warning: clients will still refuse {place.label}: {reason}", err=True)
