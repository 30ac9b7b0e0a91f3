"""Repositories that are too large for one transaction."""

from __future__ import annotations

from dataclasses import fields

import pytest
from sqlalchemy import func, select

from moorage.app import Application
from moorage.metadata import link_tree
from moorage.metadata.database import Database, Statement
from moorage.metadata.schema import tag_history
from moorage.oci.name import RepositoryName, parse_name
from moorage.oci.reference import parse_tag
from moorage.registry.adopt.changes import carry_out
from moorage.registry.adopt.contents import Contents
from moorage.registry.adopt.findings import Report
from moorage.registry.adopt.parts import batches
from moorage.registry.adopt.plan import Plan, Planner, Rows
from moorage.registry.adopt.volume import Comparison
from moorage.storage.tree_facts import Known
from tests.adopt.volume import Adopted

NAME = parse_name("team/app")
SMALL = parse_name("team/small")
MOST = 7
NOW = 1
EVENTS = Statement(lambda insert: select(func.count()).select_from(tag_history))


def large(volume: Adopted) -> dict[str, str]:
    """A repository of twenty images, each with a layer of its own and two tags; what each tag names."""
    tags: dict[str, str] = {}
    for number in range(20):
        digest = volume.image(NAME, f"a{number}", b"layer %d" % number, config=b"{}")
        volume.tag(NAME, f"b{number}", digest)
        tags |= {f"a{number}": digest, f"b{number}": digest}
    volume.image(SMALL, "1", b"layer")
    return tags


def plan_of(application: Application, name: RepositoryName) -> Plan:
    """What is to be done to adopt the repository."""
    tree = application.volume().tree
    planner = Planner(tree, Contents(tree, 1 << 20), Report(), 0)
    return planner.plan(name, tree.repository(name, Known(), 0), Rows(), first=True)


async def list_names(application: Application) -> None:
    """Begin an adoption, and give it up once the names are known."""
    steps = Comparison(application.volume()).steps()
    await anext(steps)
    await steps.aclose()


async def events(application: Application) -> int:
    """How often tags were set, as their histories tell."""
    return int((await application.database.rows(EVENTS, {}))[0][0])


async def do(database: Database, batch: list[Plan]) -> int:
    """Carry out one batch in a transaction; how many plans of it were done."""
    return len(await database.write(lambda transaction: carry_out(transaction, batch, (), NOW)))


@pytest.mark.parametrize("most", [1, 2, 7, 40, 61, 62, 1000])
def test_all_parts_are_the_plan(volume: Adopted, most: int) -> None:
    """Each change is in one part, none has more than it may, and the last alone ends the repository."""
    large(volume)

    async def work(application: Application) -> tuple[Plan, list[list[Plan]]]:
        plan = plan_of(application, NAME)
        return plan, list(batches([plan, plan_of(application, SMALL)], most))

    plan, made = volume.run(work)

    of_name = [part for batch in made for part in batch if part.repository == NAME]
    for field in fields(Plan):
        value = getattr(plan, field.name)
        if isinstance(value, list):
            assert [item for part in of_name for item in getattr(part, field.name)] == value
    assert all(len(part.blobs) + len(part.manifests) + len(part.tags) <= most for part in of_name)
    assert [part.last for part in of_name] == [False] * (len(of_name) - 1) + [True]
    assert made[-1][-1].repository == SMALL


def test_what_is_half_adopted_is_on_the_list(volume: Adopted) -> None:
    """Until its last part is done a repository waits to be adopted, so it is served whole to whoever asks for it."""
    tags = large(volume)

    async def work(application: Application) -> tuple[list[RepositoryName], list[RepositoryName]]:
        await list_names(application)
        database = application.database
        for batch in list(batches([plan_of(application, NAME)], MOST))[:-1]:
            await do(database, batch)
        before = await link_tree.waiting(database, after="", count=10)
        await application.registry().intake.require(NAME)
        return before, await link_tree.waiting(database, after="", count=10)

    assert volume.run(work) == ([NAME, SMALL], [SMALL])
    assert volume.tags(NAME) == tags


def test_what_was_adopted_meanwhile_is_left_alone(volume: Adopted) -> None:
    """Where somebody needed the repository before its last part was done, the other parts do nothing."""
    large(volume)

    async def work(application: Application) -> int:
        await list_names(application)
        first, *others = list(batches([plan_of(application, NAME)], MOST))
        await do(application.database, first)
        await application.registry().intake.require(NAME)
        await application.registry().delete.tag(NAME, parse_tag("a3"), "user:ann")
        return sum([await do(application.database, batch) for batch in others])

    assert volume.run(work) == 0
    assert "a3" not in volume.tags(NAME)


def test_half_a_repository_is_not_adopted_twice(volume: Adopted) -> None:
    """After an adoption was killed between two parts, the next one ends it, and no history is told twice."""
    tags = large(volume)

    async def work(application: Application) -> None:
        await list_names(application)
        for batch in list(batches([plan_of(application, NAME)], MOST))[:-3]:
            await do(application.database, batch)

    volume.run(work)
    volume.adopt()

    assert volume.tags(NAME) == tags
    assert volume.adopt().changes == 0
    assert volume.run(events) == len(tags) + 1
