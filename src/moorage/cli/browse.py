"""`moorage ls` and `moorage rm`."""

from __future__ import annotations

import sys
from typing import Final

import click

from moorage.cli.tables import echo_json, moment, rfc3339, size, table
from moorage.cli.volume import Volume, on_volume, who
from moorage.clock import SystemClock
from moorage.errors import DigestInvalid, ManifestUnknown, NameInvalid, NameUnknown, TagInvalid, UserError
from moorage.metadata import blobs, manifests
from moorage.metadata.database import Database
from moorage.metadata.inventory import RepositoryFacts
from moorage.oci.digest import Digest
from moorage.oci.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_ARTIFACT, OCI_INDEX, OCI_MANIFEST
from moorage.oci.name import RepositoryName, parse_name
from moorage.oci.reference import Tag, parse_tag
from moorage.registry.delete import Delete
from moorage.registry.gates import Gates
from moorage.registry.inventory import Inventory, TaggedManifest

_KINDS: Final = {
    OCI_MANIFEST: "OCI image",
    OCI_INDEX: "OCI index",
    OCI_ARTIFACT: "OCI artifact",
    DOCKER_MANIFEST: "Docker image",
    DOCKER_LIST: "Docker list",
}

_MOST_SHOWN: Final = 20
"""Of the tags that go with a manifest, before the question is asked (arbitrary)."""


@click.command(epilog="Example: moorage ls tools/busybox")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs: exact sizes, times and media types.")
@click.argument("repository", required=False)
@on_volume
def ls(*, volume: Volume, repository: str | None, as_json: bool) -> None:
    """List the repositories, or the tags of one."""
    if repository is None:
        _list_repositories(volume, as_json=as_json)
    else:
        _list_tags(volume, _repository(repository), as_json=as_json)


def _list_repositories(volume: Volume, *, as_json: bool) -> None:
    async def work(database: Database) -> list[RepositoryFacts]:
        return [facts async for facts in Inventory(database).repositories()]

    found = volume.run(work)
    if as_json:
        echo_json(
            [{"name": one.name, "tags": one.tags, "size": one.size, "pushed": rfc3339(one.pushed_at)} for one in found]
        )
        return
    rows = [(one.name, str(one.tags), size(one.size), moment(one.pushed_at)) for one in found]
    click.echo(table(("REPOSITORY", "TAGS", "SIZE", "PUSHED (UTC)"), rows, right=(1, 2)))


def _list_tags(volume: Volume, repository: RepositoryName, *, as_json: bool) -> None:
    async def work(database: Database) -> list[TaggedManifest]:
        try:
            return [one async for one in Inventory(database).tags(repository)]
        except NameUnknown:
            raise UserError(f"there is no repository {repository}; moorage ls lists those there are") from None

    found = volume.run(work)
    if as_json:
        echo_json(
            [
                {
                    "tag": one.tag,
                    "digest": str(one.digest),
                    "mediaType": one.media_type,
                    "size": one.size,
                    "pushed": rfc3339(one.pushed_at),
                }
                for one in found
            ]
        )
        return
    rows = [
        (one.tag, _KINDS.get(one.media_type, one.media_type), size(one.size), moment(one.pushed_at), str(one.digest))
        for one in found
    ]
    click.echo(table(("TAG", "TYPE", "SIZE", "PUSHED (UTC)", "DIGEST"), rows, right=(2,)))


@click.command(epilog="Example: moorage rm tools/busybox:1")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.argument("reference")
@on_volume
def rm(*, volume: Volume, reference: str, yes: bool) -> None:
    """Remove a tag, or a manifest by its digest with all its tags.

    REFERENCE is REPOSITORY:TAG or REPOSITORY@DIGEST. A tag goes alone: what it names can still be pulled by digest.
    This is the operator's own hand, and works also where clients may not delete.
    """
    repository, target = _reference(reference)
    goes = volume.run(lambda database: _what_goes(database, repository, target))
    if not yes:
        _confirm(goes)

    async def work(database: Database) -> None:
        delete = Delete(database, SystemClock(), Gates())
        if isinstance(target, Digest):
            await delete.manifest(repository, target, who())
        else:
            await delete.tag(repository, target, who())

    try:
        volume.run(work)
    except ManifestUnknown:
        raise UserError(f"{reference} is gone already") from None
    click.echo(f"removed {goes[0]}", err=True)


async def _what_goes(database: Database, repository: RepositoryName, target: Tag | Digest) -> list[str]:
    """What a removal takes away, a line each, the thing itself first. Raises UserError where there is nothing."""
    if not isinstance(target, Digest):
        found = await manifests.stat(database, repository, target)
        if found is None:
            raise UserError(f"there is no {repository}:{target}; moorage ls {repository} lists what there is")
        return [f"the tag {repository}:{target}, which names {found.digest}"]
    try:
        tags = await Inventory(database).tags_of(repository, target)
    except ManifestUnknown:
        if await blobs.find(database, repository, target) is not None:
            raise UserError(f"{target} is a blob of {repository}; remove the manifests that name it") from None
        raise UserError(f"there is no manifest {target} in {repository}") from None
    lines = [f"the manifest {repository}@{target}", *[f"its tag {tag}" for tag in tags[:_MOST_SHOWN]]]
    if len(tags) > _MOST_SHOWN:
        lines.append(f"and {len(tags) - _MOST_SHOWN} more tags of it")
    indexes = await Inventory(database).named_by(repository, target)
    return [*lines, *[f"which the index {index} names: that will not be whole any more" for index in indexes]]


def _confirm(goes: list[str]) -> None:
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask on: say --yes to remove " + ", ".join(goes))
    click.echo("This removes\n" + "\n".join(f"  {line}" for line in goes), err=True)
    if not click.confirm("Remove it?", err=True):
        raise UserError("nothing was removed")


def _reference(text: str) -> tuple[RepositoryName, Tag | Digest]:
    """REPOSITORY:TAG or REPOSITORY@DIGEST. Raises UserError."""
    name, at, digest = text.partition("@")
    try:
        if at:
            return _repository(name), Digest.parse(digest)
        name, colon, tag = text.rpartition(":")
        if not colon or "/" in tag:
            raise UserError(f"say which tag or digest: {text}:TAG, or {text}@sha256:...")
        return _repository(name), parse_tag(tag)
    except (DigestInvalid, TagInvalid) as error:
        raise UserError(error.message) from None


def _repository(text: str) -> RepositoryName:
    try:
        return parse_name(text)
    except NameInvalid as error:
        first, slash, rest = text.partition("/")
        if slash and ":" in first:
            raise UserError(f"leave the registry's address away: {rest}") from None
        if ":" in text:
            raise UserError(f"a repository has no tag: {text.partition(':')[0]}") from None
        raise UserError(error.message) from None
