"""`moorage check`."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from functools import partial

import click

from moorage.app import Application
from moorage.cli.findings import tell
from moorage.cli.progress import ProgressLine
from moorage.cli.tables import number, size
from moorage.cli.volume import Volume, on_volume, refuse_foreign_root
from moorage.durable import FolderLock, is_locked
from moorage.errors import DataError, StartRefused
from moorage.registry.check.findings import Finding
from moorage.registry.check.part import Counts
from moorage.registry.check.volume import VolumeCheck

# A server writes links twice a second; what it is in the middle of is done after this.
_PATIENCE_SECONDS = 1.5


@click.command(epilog="Example: moorage check --repair --data /srv/registry")
@click.option("--repair", is_flag=True, help="Repair what can be; nothing that anybody pushed is ever removed.")
@click.option("--fast", is_flag=True, help="Do not read blobs, only measure them.")
@click.option("-a", "--all", "everything", is_flag=True, help="Tell of everything, where many things are alike.")
@on_volume
def check(*, volume: Volume, repair: bool, fast: bool, everything: bool) -> None:
    """Read back all that the registry promises, and say what is wrong.

    Each blob is there and hashes to its digest; each manifest is whole, and names what its repository has; each tag
    names a manifest; the link files say what the database says. It works beside a running server too, which has to
    stop only for files to be removed that no row names. The exit code is 0 if nothing is damaged, or nothing any more.
    """
    if repair:
        refuse_foreign_root(volume)
    findings, counts = asyncio.run(_check(volume, repair=repair, fast=fast))
    for line in tell(findings, everything=everything):
        click.echo(line)
    click.echo(_summary(counts))
    _judge(findings, repair=repair)


async def _check(volume: Volume, *, repair: bool, fast: bool) -> tuple[list[Finding], Counts]:
    await volume.require_database()
    volume.require_tree()
    application, counts = Application(volume.settings), Counts()
    try:
        with ProgressLine() as progress:
            subject = application.subject(progress, counts)
            served = partial(is_locked, volume.folders.lock)
            checked = VolumeCheck(subject, served=served, fast=fast, patience=_PATIENCE_SECONDS)
            findings = await checked.find()
            if repair and findings:
                with ExitStack() as until_repaired:
                    alone = _keep_servers_away(volume, until_repaired)
                    await checked.repair(application.links().work_off if alone else None)
    finally:
        await application.database.close()
    return findings, counts


def _keep_servers_away(volume: Volume, until: ExitStack) -> bool:
    """Take the server's place on the folder; False where one runs."""
    try:
        until.enter_context(FolderLock(volume.folders.lock))
    except StartRefused:
        return False
    return True


def _summary(counts: Counts) -> str:
    parts = [
        number(counts.repositories, "repository", "repositories"),
        number(counts.tags, "tag"),
        number(counts.manifests, "manifest"),
        number(counts.blobs, "blob") + (f" ({size(counts.read)} read back)" if counts.read else ""),
        number(counts.links, "link file"),
    ]
    return "checked " + ", ".join(parts)


def _judge(findings: list[Finding], *, repair: bool) -> None:
    """Say how it stands. Raises DataError where something is damaged."""
    damaged = [finding for finding in findings if not finding.harmless and not finding.repaired]
    if not damaged:
        click.echo("everything is in order" + (" now" if any(finding.repaired for finding in findings) else ""))
        return
    count = "1 thing is" if len(damaged) == 1 else f"{len(damaged)} things are"
    how = "" if repair or not any(finding.mendable for finding in damaged) else "; --repair mends what can be mended"
    raise DataError(f"{count} damaged, see above{how}")
