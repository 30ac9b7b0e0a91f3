"""`moorage adopt`."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import click

from moorage.app import Application, Folders
from moorage.cli.adopt_report import as_json, tell, verdict
from moorage.cli.progress import ProgressLine
from moorage.cli.tables import echo_json
from moorage.cli.volume import Volume, on_volume, owner
from moorage.clock import SystemClock
from moorage.durable import FolderLock, is_locked, make_directory
from moorage.errors import DataError, StartRefused, UserError
from moorage.metadata import link_tree
from moorage.metadata.database import Database
from moorage.metadata.migrate import bring_up_to_date, revision
from moorage.metadata.open import SqliteFile, locate, open_database
from moorage.registry.adopt.findings import Report
from moorage.registry.adopt.volume import Comparison
from moorage.registry.adopt.volume import Volume as Compared
from moorage.storage.tree import ClassicTree

# How often a server is asked whether it is done, in seconds; it looks twice a second itself.
_POLL: Final = 0.25
# Where the classic tree lies in the folder that people name.
_BELOW: Final = ("docker", "registry", "v2")


@click.command(epilog="Example: moorage adopt --dry-run /var/lib/registry")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("-n", "--dry-run", is_flag=True, help="Only report; nothing is written anywhere.")
@click.option("--verify", is_flag=True, help="Read every blob that is new, and not its size alone.")
@click.option("--json", "json", is_flag=True, help="Print JSON, for programs.")
@click.option("-a", "--all", "everything", is_flag=True, help="Tell of everything, where many things are alike.")
@on_volume
def adopt(path: Path | None, *, volume: Volume, dry_run: bool, verify: bool, json: bool, everything: bool) -> None:
    """Take over what registry:2 or registry:3 wrote into a volume, or changed in it since Moorage ran on it last.

    PATH is the volume, the data folder if it is not given. First comes a report: what there is, what is broken, and
    what is done about each; then it is done. Nothing in the volume is removed or rewritten. A server does the same when
    it starts; beside one that runs, this asks it for that, and waits. The exit code is 0 if nothing was broken.
    """
    if path is not None:
        data = _volume_of(path)
        volume = Volume(volume.settings.model_copy(update={"data": data}), Folders(data))
    _look_at(volume)
    if not dry_run:
        _require_writable(volume)
    asyncio.run(_adopt(volume, dry_run=dry_run, verify=verify, json=json, everything=everything))


async def _adopt(volume: Volume, *, dry_run: bool, verify: bool, json: bool, everything: bool) -> None:
    report = await _survey(volume, verify=verify)
    if not json:
        for line in tell(report, volume.folders.data, everything=everything):
            click.echo(line)
    if not dry_run:
        if is_locked(volume.folders.lock):
            await _ask_server(volume)
        else:
            done = await _do(volume, verify=verify)
            done.blobs, done.bytes, done.links = report.blobs, report.bytes, report.links
            done.stranded = report.stranded
            report = done
    if json:
        echo_json(as_json(report, volume.folders.data, done=not dry_run))
    else:
        click.echo(verdict(report, dry_run=dry_run))
    if report.broken:
        raise DataError(f"{report.broken} things are broken, see above")


async def _survey(volume: Volume, *, verify: bool) -> Report:
    """What there is, and what would be done. Nothing is written."""
    async with _database(volume) as database:
        with ProgressLine() as progress:
            compared = _compared(volume, database, me="survey")
            return await Comparison(compared, dry_run=True, verify=verify, thorough=True, progress=progress).run()


async def _do(volume: Volume, *, verify: bool) -> Report:
    """Do it here, since no server runs; none can start meanwhile."""
    folders, settings = volume.folders, volume.settings
    for folder in (folders.ours, folders.uploads):
        make_directory(folder)
    os.chmod(folders.ours, 0o700)
    with FolderLock(folders.lock):
        await bring_up_to_date(settings.database, settings.data)
        application = Application(settings)
        try:
            while await application.links().work_off():
                pass
            with ProgressLine() as progress:
                comparison = Comparison(application.volume(), verify=verify, thorough=True, progress=progress)
                report = await comparison.run()
            while await application.links().work_off():
                pass
        finally:
            await application.database.close()
    return report


async def _ask_server(volume: Volume) -> None:
    """Have the server do it, and wait."""
    clock = SystemClock()
    await volume.require_database()
    database = open_database(volume.settings.database, volume.settings.data)
    try:
        wanted = clock.now()
        await database.write(lambda transaction: link_tree.want(transaction, wanted))
        with ProgressLine() as progress:
            left = total = await link_tree.waiting_count(database)
            progress.step("repositories", total)
            while (await link_tree.state(database)).compared_at < wanted:
                if not is_locked(volume.folders.lock):
                    raise StartRefused("the server has stopped; give the command again")
                await clock.sleep(_POLL)
                now = await link_tree.waiting_count(database)
                progress.advance(left - now)
                left = now
    finally:
        await database.close()


@asynccontextmanager
async def _database(volume: Volume) -> AsyncIterator[Database]:
    """The volume's database, or where it has none yet, an empty one that nobody keeps."""
    settings = volume.settings
    place = locate(settings.database, settings.data)
    missing = isinstance(place, SqliteFile) and not place.path.exists()
    with tempfile.TemporaryDirectory(prefix="moorage-adopt-") as temporary:
        if missing or await revision(settings.database, settings.data) is None:
            await bring_up_to_date(None, Path(temporary))
            database = open_database(None, Path(temporary))
        else:
            await volume.require_database()
            database = open_database(settings.database, settings.data)
        try:
            yield database
        finally:
            await database.close()


def _compared(volume: Volume, database: Database, *, me: str) -> Compared:
    limit = volume.settings.http.limits.manifest_bytes
    return Compared(database, ClassicTree(volume.folders.tree), SystemClock(), me, limit)


def _volume_of(path: Path) -> Path:
    """The data folder, also where its tree or a folder on the way there was named."""
    for parts in (_BELOW, _BELOW[:2], _BELOW[:1]):
        if path.absolute().parts[-len(parts) :] == parts and not path.joinpath(*_BELOW).is_dir():
            return Path(*path.absolute().parts[: -len(parts)])
    return path


def _look_at(volume: Volume) -> None:
    """Raises UserError where there is no volume, or none that can be served."""
    data, tree = volume.folders.data, volume.folders.tree
    if not os.access(data, os.R_OK | os.X_OK) and data.exists():
        raise UserError(f"{data} cannot be read by this user{_as_its_owner(data)}")
    if not tree.is_dir():
        raise UserError(
            f"{data} is no volume of a registry: there is no folder {tree}; name the one that is mounted at"
            " /var/lib/registry, or that storage.filesystem.rootdirectory names"
        )
    device = os.stat(tree).st_dev
    for name in ("blobs", "repositories"):
        folder = tree / name
        if folder.exists() and os.stat(folder).st_dev != device:
            how = f"points to {os.readlink(folder)}" if folder.is_symlink() else "is mounted there"
            raise UserError(
                f"{folder} {how}, on another file system than {tree}, and uploads could not be moved into it: put the"
                f" whole of {data} on one, and mount that (mount --bind)"
            )


def _require_writable(volume: Volume) -> None:
    """Raises UserError where this user cannot, or should not, leave files here."""
    folders = volume.folders
    nearest = folders.ours if folders.ours.exists() else folders.data
    for folder in (nearest, folders.tree):
        if not os.access(folder, os.W_OK | os.X_OK):
            why = "is mounted read-only" if _is_read_only(folder) else "cannot be written by this user"
            raise UserError(f"{folder} {why}{_as_its_owner(folder)}; --dry-run reports without writing")
    user = owner(nearest)
    if os.geteuid() == 0 and user not in {None, "root"}:
        raise UserError(f"{folders.data} belongs to {user}: do it as that user, sudo -u {user} ...")


def _is_read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _as_its_owner(folder: Path) -> str:
    user = owner(folder)
    return f": sudo -u {user} ..." if user else ""
