"""`moorage cert obtain` and `moorage cert renew`: what the server does by itself, now."""

from __future__ import annotations

import asyncio
import difflib
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import click

from moorage.app import Folders
from moorage.certificates import acme_keeper, is_leaf, keepers
from moorage.cli.cert_facts import parsed, require_owner
from moorage.cli.exit_codes import exit_code
from moorage.cli.settings_options import config_option, options_for
from moorage.cli.volume import Volume
from moorage.clock import SystemClock
from moorage.durable import FolderLock, is_locked, make_directory
from moorage.errors import CertificateFailed, StartRefused, UserError
from moorage.jobs.certificates import LEASE
from moorage.jobs.lease import Leased, holder_name
from moorage.metadata.open import SqliteFile, locate, open_database
from moorage.server.door import Door
from moorage.settings.listen import TcpAddress, parse_address
from moorage.settings.model import Settings
from moorage.settings.native import from_environment, load_native
from moorage.tls import state
from moorage.tls.keeper import Keeper
from moorage.tls.pem import day
from moorage.tls.store import CertificateStore

Hold = Callable[[Callable[[], Awaitable[bool]]], Awaitable[bool]]

_LOOK_SECONDS: Final = 1.0
_OPTIONS: Final = ("data", "database", "tls.plain_listen", "acme.")


@click.command(
    params=options_for(*_OPTIONS),
    epilog="Example: moorage cert obtain registry.example.com --dry-run",
)
@config_option
@click.option("--dry-run", is_flag=True, help="Try it at the authority's staging server, and store nothing.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
def obtain(names: tuple[str, ...], *, config: Path | None, dry_run: bool, **options: Any) -> int:
    """Get certificates for names that have none, or none that lasts; by default for all in `tls.domains`.

    The server does this by itself. It answers the authority's challenges if it runs; else the command does, on
    `tls.plain_listen`.
    """
    return _get(names, config, options, dry_run=dry_run, new=True)


@click.command(
    params=options_for(*_OPTIONS),
    epilog="Example: moorage cert renew registry.example.com --force --data /srv/registry",
)
@config_option
@click.option("--force", is_flag=True, help="Also certificates that are not due yet.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
def renew(names: tuple[str, ...], *, config: Path | None, force: bool, **options: Any) -> int:
    """Renew the certificates that are due, after asking their authority; by default all of this server.

    The server does this by itself, and shows the new ones within a second.
    """
    return _get(names, config, options, force=force)


def _get(
    names: Sequence[str],
    config: Path | None,
    options: Mapping[str, Any],
    *,
    force: bool = False,
    dry_run: bool = False,
    new: bool = False,
) -> int:
    """*new*: also for names that this server never had a certificate for."""
    wanted = tuple(dict.fromkeys(parsed(name) for name in names))
    for warning in from_environment(os.environ)[1]:
        click.echo(f"moorage: {warning}", err=True)
    given = {name.replace("__", "."): value for name, value in options.items()}
    settings = load_native(config, os.environ, given).settings
    folders = Folders(settings.data)
    store = CertificateStore(folders.tls)
    if settings.tls.certificate is not None:
        raise UserError(f"tls.certificate names {settings.tls.certificate}: whatever made it renews it")
    chosen = settings
    if not settings.tls.domains and (public := _public(settings, store, wanted, new=new)):
        chosen = load_native(config, os.environ, {**given, "tls.domains": list(public)}).settings
    require_owner(folders)
    served = is_locked(folders.lock)
    clock = SystemClock()
    domains = chosen.tls.domains
    kept = [acme_keeper(chosen, domains, store, clock, served=served)] if domains else keepers(chosen, store, clock)
    work = _work(kept, wanted)
    if not settings.tls.domains:
        _require_same_authority(work, store)
    with _progress():
        return asyncio.run(_run(Volume(chosen, folders), work, served=served, force=force, dry_run=dry_run))


def _public(settings: Settings, store: CertificateStore, wanted: Sequence[str], *, new: bool) -> Sequence[str]:
    """The names to ask an ACME server for where the settings name none. Raises UserError."""
    ours = [name for name in store.names() if not is_leaf(name)]
    if wanted:
        public = [name for name in wanted if not is_leaf(name)]
        for name in public:
            if not new and name not in ours:
                raise UserError(f"there is no certificate for {name}{_near(name, ours)}; moorage cert obtain gets one")
        return public
    if settings.certificates_from == "private":
        return ()
    kept = [name for name in ours if state.load(store, name).tried]
    if not kept:
        raise UserError("no setting names a domain: say which (NAME), or give the server's own --config and --data")
    return kept


def _near(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _work(kept: Sequence[Keeper], wanted: Sequence[str]) -> list[tuple[Keeper, str]]:
    """Who keeps each of the names that are *wanted*, or each of all. Raises UserError."""
    known = {name: keeper for keeper in kept for name in keeper.names()}
    for name in wanted:
        if name not in known:
            what = _near(name, known) or f": {', '.join(known) or 'it has none'}"
            raise UserError(f"{name} is not among the names of this server (tls.domains){what}")
    return [(known[name], name) for name in wanted or known]


def _require_same_authority(work: Sequence[tuple[Keeper, str]], store: CertificateStore) -> None:
    """Raises UserError where a server was told on its command line what this command was not."""
    for keeper, name in work:
        tried = state.load(store, name).tried
        if tried and tried != keeper.issuer.title:
            raise UserError(
                f"the certificate for {name} is from {tried}, and these settings name {keeper.issuer.title}: give the"
                " server's own --config, or the same --acme-directory"
            )


async def _run(volume: Volume, work: Sequence[tuple[Keeper, str]], *, served: bool, force: bool, dry_run: bool) -> int:
    errors: list[CertificateFailed] = []

    async def each() -> bool:
        for keeper, name in work:
            try:
                await _one(keeper, name, force=force, dry_run=dry_run)
            except CertificateFailed as error:
                click.echo(f"moorage: {name}: {error}", err=True)
                errors.append(error)
        return True

    async with AsyncExitStack() as stack:
        hold = await stack.enter_async_context(_alone(volume))
        if not served and any(not is_leaf(name) for _, name in work):
            await _open_door(stack, volume)
        if not await hold(each):
            raise UserError("another process has taken over getting certificates: give the command again")
    return exit_code(errors[-1]) if errors else 0


async def _one(keeper: Keeper, name: str, *, force: bool, dry_run: bool) -> None:
    """Raises CertificateFailed."""
    if dry_run:
        _say(f"asking {keeper.staging.title if keeper.staging else 'nobody'} for a certificate for {name}")
        facts = await keeper.rehearse(name)
        click.echo(f"{name}: {facts.issuer} would issue a certificate, good until {day(facts.not_after)}")
        return
    before = keeper.look(name)
    _say(f"asking {keeper.issuer.title} about {name}")
    kept = await keeper.renew(name, force=force)
    step = keeper.step(kept)
    assert kept.facts is not None
    if before.facts is not None and before.facts.fingerprint == kept.facts.fingerprint:
        click.echo(
            f"{name}: good until {day(kept.facts.not_after)}, to be renewed about {day(step.at)}; nothing is due"
        )
        return
    click.echo(f"{name}: a new certificate by {kept.facts.issuer} is in place, good until {day(kept.facts.not_after)}")


@asynccontextmanager
async def _alone(volume: Volume) -> AsyncIterator[Hold]:
    """Keep all others from getting certificates: by the lease, or where no server ever ran, by the folder's lock."""
    settings, folders = volume.settings, volume.folders
    place = locate(settings.database, settings.data)
    if isinstance(place, SqliteFile) and not place.path.exists():
        make_directory(folders.ours)
        with FolderLock(folders.lock):
            yield _at_once
        return
    await volume.require_database()
    database = open_database(settings.database, settings.data)
    clock = SystemClock()

    async def nothing() -> bool:
        return False

    lease = Leased(LEASE, nothing, interval=_LOOK_SECONDS, database=database, clock=clock, holder=holder_name())
    try:
        if not await lease.take():
            click.echo("moorage: another process is getting certificates; waiting until it has ended", err=True)
            while not await lease.take():
                await clock.sleep(_LOOK_SECONDS)
        try:
            yield lease.hold
        finally:
            await lease.give_up()
    finally:
        await database.close()


async def _at_once(chore: Callable[[], Awaitable[bool]]) -> bool:
    return await chore()


async def _open_door(stack: AsyncExitStack, volume: Volume) -> None:
    """Answer challenges where no server does. Raises UserError and StartRefused."""
    settings = volume.settings
    if settings.acme.challenge == "dns-01" or (settings.acme.challenge == "auto" and settings.acme.dns.method):
        return
    if settings.acme.challenge == "tls-alpn-01":
        raise UserError("only a running server answers tls-alpn-01: start it, and it gets the certificate by itself")
    try:
        await stack.enter_async_context(Door(settings.tls.plain_listen, CertificateStore(volume.folders.tls)))
    except StartRefused as error:
        who = _who_listens(settings.tls.plain_listen)
        raise StartRefused(f"{error}; {who}" if who else str(error)) from None
    _say(f"no server runs on {volume.folders.data}: answering challenges on {', '.join(settings.tls.plain_listen)}")


def _who_listens(addresses: Sequence[str]) -> str:
    """The processes that have the ports of *addresses*, as far as this user may see them."""
    from moorage.doctor.processes import listening, owners

    ports = {address.port for text in addresses if isinstance(address := parse_address(text), TcpAddress)}
    found = owners(one for one in listening() if one.port in ports)
    names = sorted({str(process) for processes in found.values() for process in processes})
    return f"it is {', '.join(names)}" if names else ""


@contextmanager
def _progress() -> Iterator[None]:
    """Show on a terminal what goes on, and elsewhere what nobody foresaw."""
    logger = logging.getLogger("moorage.tls")
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.INFO if sys.stderr.isatty() else logging.ERROR)
    handler.setFormatter(logging.Formatter("moorage: %(message)s"))
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _say(text: str) -> None:
    """On a terminal: people wait, programs do not."""
    if sys.stderr.isatty():
        click.echo(f"moorage: {text} ...", err=True)
