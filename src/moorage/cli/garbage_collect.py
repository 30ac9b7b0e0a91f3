"""`moorage garbage-collect`, and `registry garbage-collect` as scripts for distribution call it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from moorage.app import Application, Folders
from moorage.cli.progress import ProgressLine
from moorage.cli.settings_options import chosen_settings, settings_source
from moorage.cli.tables import number, size
from moorage.cli.volume import Volume, refuse_foreign_root, volume_options
from moorage.durable import FolderLock
from moorage.errors import DataError, UserError
from moorage.metadata import link_tree
from moorage.oci.digest import Digest
from moorage.registry.check.part import Counts
from moorage.registry.sweep import Sweep, Unused


@click.command(
    "garbage-collect",
    epilog="Example: moorage garbage-collect --dry-run --delete-untagged --data /srv/registry",
)
@click.option("-d", "--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option(
    "-m", "--delete-untagged", is_flag=True, help="Also remove manifests that no tag leads to, not even by an index."
)
@click.option("-q", "--quiet", is_flag=True, help="Say only how much it was.")
@settings_source
@volume_options
def garbage_collect(
    file: Path | None,
    config: Path | None,
    *,
    classic: bool,
    data: str | None,
    database: str | None,
    dry_run: bool,
    delete_untagged: bool,
    quiet: bool,
) -> None:
    """Remove what nothing uses any more, while the server is stopped.

    That is: blobs that no manifest of their repository names, and files that a crash has left. What has a tag, the
    children of an index that has one, and what refers to either (signatures, for one) is always kept. FILE is a
    configuration of distribution (config.yml).
    """
    settings = chosen_settings(file, config, classic=classic, options={"data": data, "database": database}).settings
    volume = Volume(settings, Folders(settings.data))
    if not dry_run:
        refuse_foreign_root(volume)
    unused = asyncio.run(_sweep(volume, dry_run=dry_run, untagged=delete_untagged, quiet=quiet))
    if unused.kept and unused.files:
        raise DataError(
            f"{number(len(unused.files), 'file')} had to stay: the link files name things that the database does not"
            " know, see moorage check"
        )


async def _sweep(volume: Volume, *, dry_run: bool, untagged: bool, quiet: bool) -> Unused:
    await volume.require_database()
    volume.require_tree()
    with FolderLock(volume.folders.lock):
        application = Application(volume.settings)
        try:
            await _require_adopted(application)
            with ProgressLine() as progress:
                while not dry_run and await application.links().work_off():
                    pass
                sweep = Sweep(application.subject(progress, Counts()), untagged=untagged)
                unused = await sweep.find()
                if not dry_run:
                    await sweep.remove(unused, application.links().work_off)
        finally:
            await application.database.close()
    _tell(unused, dry_run=dry_run, quiet=quiet)
    return unused


async def _require_adopted(application: Application) -> None:
    """Raises UserError where a volume is adopted in part: what its other part uses cannot be known."""
    left = await link_tree.waiting_count(application.database)
    if left:
        raise UserError(
            f"of this volume {number(left, 'repository is', 'repositories are')} yet to be taken over: give the command"
            " moorage adopt first, or let the server run until it has"
        )


def _tell(unused: Unused, *, dry_run: bool, quiet: bool) -> None:
    """In the words that scripts look for in distribution's output, and then what it came to."""
    if not quiet:
        for part in unused.parts:
            for manifest in part.manifests:
                click.echo(f"manifest eligible for deletion: {part.repository}@{Digest.from_key(manifest.key)}")
        for file in unused.files:
            click.echo(f"blob eligible for deletion: {file.digest}  {size(file.size)}")
    blobs, manifests = number(len(unused.files), "blob"), number(unused.manifests, "manifest")
    click.echo(f"{number(unused.marked, 'blob')} marked, {blobs} and {manifests} eligible for deletion")
    if dry_run:
        click.echo(f"a dry run: nothing was removed; it would free {size(unused.bytes)}")
    elif not unused.kept:
        click.echo(f"removed {blobs} and {manifests}, freed {size(unused.bytes)}")
