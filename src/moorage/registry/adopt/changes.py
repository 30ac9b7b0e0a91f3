"""Doing what a plan says, in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from moorage.metadata import audit, blobs, bulk, manifests, repositories, tags
from moorage.metadata.database import Reader
from moorage.metadata.outbox import Kind
from moorage.oci.digest import Digest
from moorage.oci.name import RepositoryName
from moorage.oci.reference import Tag
from moorage.registry.adopt.plan import NewTag, Plan, Rows

PRINCIPAL: Final = "volume:adopted"
"""Who did it, in the tags' histories: another registry, that did not say for whom."""

Noted = Collection[tuple[int, str, bytes]]
Numbered = tuple[int, Plan]
Ids = Mapping[tuple[int, bytes], int]
Event = tuple[int, str, bytes, int, str]


async def read_rows(reader: Reader, repository: RepositoryName) -> Rows:
    """What the database has of the repository."""
    repository_id = await repositories.find(reader, repository)
    if repository_id is None:
        return Rows()
    return Rows(
        exists=True,
        layers={Digest.from_key(key) for key in await audit.layers(reader, repository_id)},
        revisions={Digest.from_key(key) for key in await audit.revisions(reader, repository_id)},
        tags={
            Tag(name): Digest.from_key(key) for name, key in (await audit.tag_targets(reader, repository_id)).items()
        },
    )


async def deleted_tags(reader: Reader, repository: RepositoryName) -> dict[Tag, int]:
    """When tags of the repository were last deleted here, in microseconds."""
    repository_id = await repositories.find(reader, repository)
    if repository_id is None:
        return {}
    return {Tag(name): at for name, at in (await tags.deleted(reader, repository_id)).items()}


async def carry_out(transaction: Reader, plans: Sequence[Plan], noted: Noted, now: int) -> list[Plan]:
    """Do what the plans say, and return those that were done: another process may have adopted some meanwhile.

    Keys in *noted* are left alone: their truth has changed since the plans were made.
    """
    waiting = await bulk.take(transaction, [plan.repository for plan in plans if plan.first and plan.last])
    waiting |= await bulk.waiting(transaction, [plan.repository for plan in plans if plan.first and not plan.last])
    done = [plan for plan in plans if not plan.first or plan.repository in waiting]
    wanted = [plan for plan in done if plan.present or not (plan.first or plan.new)]
    ids = await bulk.ensure_repositories(transaction, [plan.repository for plan in wanted], now)
    mine = [(ids[plan.repository], narrowed(plan, noted) if noted else plan) for plan in wanted]
    await bulk.add_blobs(transaction, [(place, link) for place, plan in mine for link in plan.blobs], now)
    added = await bulk.add_manifests(transaction, [(place, row) for place, plan in mine for row in plan.manifests])
    await _set_tags(transaction, mine, added)
    for repository_id, plan in mine:
        await _remove(transaction, repository_id, plan, now)
    rewrite = [(int(kind), plan.repository, key) for _, plan in mine for kind, key in plan.rewrite]
    await bulk.note(transaction, rewrite)
    return done


def narrowed(plan: Plan, noted: Noted) -> Plan:
    """What of the plan nobody has changed here since the database was read for it."""
    name = plan.repository

    def free(kind: Kind, key: bytes) -> bool:
        return (int(kind), name, key) not in noted

    return replace(
        plan,
        blobs=[link for link in plan.blobs if free(Kind.LAYER, link.key)],
        manifests=[row for row in plan.manifests if free(Kind.REVISION, row.key)],
        tags=[tag for tag in plan.tags if free(Kind.TAG, tag.name.encode("ascii"))],
        moved=[tag for tag in plan.moved if free(Kind.TAG, tag.name.encode("ascii"))],
        gone_layers=[digest for digest in plan.gone_layers if free(Kind.LAYER, digest.key)],
        gone_revisions=[digest for digest in plan.gone_revisions if free(Kind.REVISION, digest.key)],
        gone_tags=[tag for tag in plan.gone_tags if free(Kind.TAG, tag.encode("ascii"))],
    )


async def _set_tags(transaction: Reader, mine: Sequence[Numbered], ids: Ids) -> None:
    """Set tags; a manifest that was deleted here since the plan was made has none."""
    rows, history = [], []
    for repository_id, plan in mine:
        for tag in plan.tags:
            manifest_id = await _manifest_id(transaction, repository_id, tag, ids)
            if manifest_id is not None:
                rows.append((repository_id, tag.name, manifest_id, tag.at))
                history += _events(repository_id, tag.name, [*tag.history, (tag.key, tag.at)])
    # An adoption that was killed between two parts of a repository has left tags, with what they named.
    new = await bulk.add_tags(transaction, rows)
    await bulk.add_history(transaction, [event for event in history if event[:2] in new])
    for repository_id, plan in mine:
        for tag in plan.moved:
            manifest_id = await _manifest_id(transaction, repository_id, tag, ids)
            if manifest_id is not None:
                await bulk.add_history(transaction, _events(repository_id, tag.name, tag.history))
                digest = Digest.from_key(tag.key)
                await tags.set_tag(transaction, repository_id, tag.name, manifest_id, digest, PRINCIPAL, tag.at)


async def _manifest_id(reader: Reader, repository_id: int, tag: NewTag, ids: Ids) -> int | None:
    known = ids.get((repository_id, tag.key))
    if known is None:
        found = await manifests.find(reader, repository_id, Digest.from_key(tag.key))
        known = found[0] if found else None
    return known


def _events(repository_id: int, tag: Tag, named: Sequence[tuple[bytes, int]]) -> list[Event]:
    return [(repository_id, tag, key, at, PRINCIPAL) for key, at in named]


async def _remove(transaction: Reader, repository_id: int, plan: Plan, now: int) -> None:
    for tag in plan.gone_tags:
        await tags.remove(transaction, repository_id, tag, PRINCIPAL, now)
    for digest in plan.gone_revisions:
        found = await manifests.find(transaction, repository_id, digest)
        if found is not None:
            await tags.remove_all(transaction, found[0], PRINCIPAL, now)
            await manifests.remove(transaction, found[0])
    for digest in plan.gone_layers:
        await blobs.unlink(transaction, repository_id, digest)
