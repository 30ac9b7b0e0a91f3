"""A whole volume: its link tree is held against the database, and both are made to say the same."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from moorage.clock import Clock
from moorage.errors import Unavailable
from moorage.metadata import audit, bulk, link_tree
from moorage.metadata.database import Database, Reader
from moorage.metadata.outbox import Kind
from moorage.oci.digest import ALGORITHMS, Digest
from moorage.oci.media_types import OCI_ARTIFACT
from moorage.oci.name import RepositoryName
from moorage.registry.adopt.ahead import Task, is_worthwhile, read_ahead
from moorage.registry.adopt.changes import Noted, carry_out, deleted_tags, narrowed, read_rows
from moorage.registry.adopt.contents import Contents
from moorage.registry.adopt.findings import Fault, Report
from moorage.registry.adopt.parts import MOST_CHANGES, batches
from moorage.registry.adopt.plan import Plan, Rows
from moorage.registry.adopt.reader import RepositoryReader
from moorage.registry.check.part import NoProgress, Progress
from moorage.storage.tree import ClassicTree
from moorage.storage.tree_facts import CONTENT, PARTS, Parts, Trouble

# Seconds after which a step ends, so that links are written and leases kept between two.
_STEP_SECONDS: Final = 0.5
# Where the tree is so far behind, it is not compared with anything.
_MOST_NOTED: Final = 100_000
_NAMES: Final = 5000
_PAGE: Final = 500
# File systems that keep whole seconds only are right too, with times rounded down like this.
_SECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Volume:
    """What is compared. *me* names this process in the database; *manifest_bytes* bounds a manifest."""

    database: Database
    tree: ClassicTree
    clock: Clock
    me: str
    manifest_bytes: int


class _Step:
    """Plans of one step, carried out by *commit* in batches."""

    def __init__(self, commit: Callable[[list[Plan]], Awaitable[None]]) -> None:
        self._commit = commit
        self._plans: list[Plan] = []
        self._links = 0
        self._until = time.monotonic() + _STEP_SECONDS

    async def add(self, plan: Plan, links: int) -> bool:
        """Take a plan that *links* led to; True when the step has taken long enough."""
        self._links += links
        if not plan.is_empty:
            self._plans.append(plan)
        if self._links >= MOST_CHANGES:
            await self._flush()
        return time.monotonic() >= self._until

    async def end(self) -> None:
        """Carry out what is left of it, and begin another."""
        await self._flush()
        self._until = time.monotonic() + _STEP_SECONDS

    async def _flush(self) -> None:
        plans, self._plans, self._links = self._plans, [], 0
        for batch in batches(plans, MOST_CHANGES):
            await self._commit(batch)


class Comparison:
    """One comparison of the tree with the database, in steps.

    *dry_run* only reports. *verify* reads all blobs that are new, else only their sizes are looked at. *thorough* reads
    also the tags that nobody has written since we did, as it seems by their times. Nobody else may
    write links while a step runs; between two, whoever keeps the tree may. What was done stays done when it is given
    up in the middle, and the next one goes through it quickly.
    """

    def __init__(
        self,
        volume: Volume,
        *,
        dry_run: bool = False,
        verify: bool = False,
        thorough: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.report = Report()
        self.total = 0
        self.done = 0
        self._volume = volume
        self._database = volume.database
        self._tree = volume.tree
        self._dry_run = dry_run
        self._verify = verify
        self._thorough = thorough
        self._progress = progress or NoProgress()
        self._contents = Contents(volume.tree, volume.manifest_bytes, verify=verify)
        self._closed: list[str] = []

    async def run(self) -> Report:
        """Go through all steps."""
        async for _ in self.steps():
            pass
        return self.report

    async def steps(self) -> AsyncGenerator[None, None]:
        """Go through the tree, then through what only the database has; each step takes about half a second.

        Raises Unavailable where database or disk cannot be used at all.
        """
        begun = self._volume.clock.now()
        state = await link_tree.state(self._database)
        since = state.seen_at // _SECOND * _SECOND * 1000
        if not self._dry_run:
            await self._database.write(link_tree.begin)
        names: dict[RepositoryName, Parts] = {}
        for name, parts in self._names():
            names[name] = parts
            if len(names) % _NAMES == 0:
                yield
        if await self._is_unmounted(names):
            return
        if not state.listed and not self._dry_run:
            await self._list(names)
        yield
        async for _ in self._blobs(since):
            yield
        waiting = await self._waiting()
        self.total = len(names)
        self._progress.step("repositories", self.total)
        async for _ in self._repositories(names, waiting, since):
            yield
        async for _ in self._repositories_of_database(names, waiting, since):
            yield
        if self._dry_run:
            self.report.stranded = await link_tree.of_type(self._database, OCI_ARTIFACT)
        else:
            await self._finish(begun)

    def _names(self) -> Iterator[tuple[RepositoryName, Parts]]:
        def trouble(found: Trouble) -> None:
            above, _, part = found.path.rpartition("/")
            self._closed.append(f"{above if part in PARTS else found.path}/")
            self.report.tell_tree(found)

        return self._tree.names(trouble)

    async def _is_unmounted(self, names: dict[RepositoryName, Parts]) -> bool:
        """Whether the tree is empty, and should not be: then nothing in it can be believed."""
        if any(parts & CONTENT for parts in names.values()) or not await link_tree.has_content(self._database):
            return False
        if await audit.noted(self._database):
            return False
        self.report.tell(Fault.TREE_EMPTY, "repositories")
        return True

    async def _list(self, names: dict[RepositoryName, Parts]) -> None:
        """Put the names of all repositories that were there first into the database, so that none seems to lack."""
        found = [name for name, parts in names.items() if parts & CONTENT]
        now = self._volume.clock.now()
        for start in range(0, len(found), _NAMES):
            some = found[start : start + _NAMES]

            async def work(transaction: Reader, some: list[RepositoryName] = some) -> None:
                await bulk.add_unadopted(transaction, some)
                await bulk.ensure_repositories(transaction, some, now)

            await self._database.write(work)
        await self._database.write(link_tree.set_listed)

    async def _waiting(self) -> set[RepositoryName]:
        waiting: set[RepositoryName] = set()
        after = ""
        while page := await link_tree.waiting(self._database, after=after, count=_PAGE):
            waiting.update(page)
            after = page[-1]
        return waiting

    async def _repositories(
        self, names: dict[RepositoryName, Parts], waiting: set[RepositoryName], since: int
    ) -> AsyncIterator[None]:
        """Every repository of the tree."""
        step = _Step(self._commit)
        closed = {path.removeprefix("repositories/")[:-1] for path in self._closed}
        left = {name: parts for name, parts in names.items() if name not in closed}
        async with aclosing(self._plans(left, waiting, since)) as plans:
            async for plan, files in plans:
                self.done += 1
                self._progress.advance()
                if await step.add(plan, files):
                    await step.end()
                    yield
        await step.end()

    async def _plans(
        self, left: dict[RepositoryName, Parts], waiting: set[RepositoryName], since: int
    ) -> AsyncGenerator[tuple[Plan, int], None]:
        """What is to be done about each repository, and how many link files say so."""
        if await self._is_fresh(waiting):
            some = left
        else:
            some = {name: parts for name, parts in left.items() if name in waiting}
        if is_worthwhile(len(some)):
            async with aclosing(read_ahead(self._task(first=bool(waiting)), some)) as frames:
                async for read, report in frames:
                    self.report.add(report)
                    for plan, files in read:
                        left.pop(plan.repository)
                        yield plan, files
        reader = self._reader(since)
        for name, parts in left.items():
            yield await self._plan(reader, name, parts, first=name in waiting)

    async def _is_fresh(self, waiting: set[RepositoryName]) -> bool:
        """Whether a dry run need not look for any repository in the database."""
        return self._dry_run and not waiting and not await link_tree.has_content(self._database)

    def _task(self, *, first: bool) -> Task:
        return Task(
            self._tree.root,
            self._volume.manifest_bytes,
            first=first,
            dry_run=self._dry_run,
            verify=self._verify,
            thorough=self._thorough,
        )

    def _reader(self, since: int) -> RepositoryReader:
        return RepositoryReader(
            self._tree, self._contents, self.report, since, dry_run=self._dry_run, thorough=self._thorough
        )

    async def _repositories_of_database(
        self, names: dict[RepositoryName, Parts], waiting: set[RepositoryName], since: int
    ) -> AsyncIterator[None]:
        """What the tree does not have, or had not when its names were read."""
        reader, step = self._reader(since), _Step(self._commit)
        closed, after = tuple(self._closed), 0
        while page := await audit.repository_page(self._database, after=after, count=_PAGE):
            for _, text in page:
                name = RepositoryName(text)
                if name in names or f"repositories/{name}/".startswith(closed):
                    continue
                if await step.add(*await self._plan(reader, name, None, first=name in waiting)):
                    await step.end()
                    yield
            after = page[-1][0]
        await step.end()

    async def _plan(
        self, reader: RepositoryReader, name: RepositoryName, parts: Parts | None, *, first: bool
    ) -> tuple[Plan, int]:
        """Plan one repository: first the rows are read and then the tree, which is never ahead of them."""
        rows = Rows() if first else await read_rows(self._database, name)
        links = reader.links(name, rows.known, parts)
        if not first and links.tags.keys() - rows.tags.keys():
            rows.deleted = await deleted_tags(self._database, name)
        return reader.plan(name, links, rows, first=first), links.files

    async def _commit(self, plans: list[Plan]) -> None:
        now = self._volume.clock.now()

        async def work(transaction: Reader) -> list[Plan]:
            return await carry_out(transaction, plans, await _noted(transaction), now)

        if self._dry_run:
            noted = await _noted(self._database)
            done = [narrowed(plan, noted) for plan in plans]
        else:
            done = await self._database.write(work)
        for plan in done:
            self._tally(plan)

    async def _blobs(self, since: int) -> AsyncIterator[None]:
        """Let go of blobs whose files another registry's garbage collection has removed.

        First of all, so that nobody is told that he need not push them.
        """
        begun = time.monotonic()
        for place, algorithm in enumerate(ALGORITHMS, 1):
            for number in range(256):
                there = self._tree.shard(algorithm, number, since)
                if there is None:
                    continue
                low = bytes((place, number))
                high = bytes((place, number + 1)) if number < 255 else bytes((place + 1,))
                for blob_id, key, location in await link_tree.blobs_between(self._database, low, high):
                    digest = Digest.from_key(key)
                    if digest.hex not in there and location == self._tree.location(digest):
                        await self._release(blob_id, digest, key)
                if time.monotonic() - begun >= _STEP_SECONDS:
                    yield
                    begun = time.monotonic()

    async def _release(self, blob_id: int, digest: Digest, key: bytes) -> None:
        if self._dry_run:
            self.report.lost += 1
            return

        async def work(transaction: Reader) -> bool:
            if any(kind == Kind.LAYER and noted == key for kind, _, noted in await _noted(transaction)):
                return False
            if self._tree.size_of(digest) is not None:  # somebody pushed it anew
                return False
            await audit.release_blob(transaction, blob_id)
            return True

        self.report.lost += await self._database.write(work)

    async def _finish(self, begun: int) -> None:
        now = self._volume.clock.now()

        async def work(transaction: Reader) -> None:
            await link_tree.set_compared(transaction, self._volume.me, begun=begun, now=now)

        await self._database.write(work)

    def _tally(self, plan: Plan) -> None:
        report = self.report
        report.added.repositories += plan.new and plan.present and plan.last
        report.added.tags += len(plan.tags)
        report.added.manifests += len(plan.manifests)
        report.added.blobs += len(plan.blobs)
        report.moved += len(plan.moved)
        report.removed.tags += len(plan.gone_tags)
        report.removed.manifests += len(plan.gone_revisions)
        report.removed.blobs += len(plan.gone_layers)
        report.rewritten += len(plan.rewrite)


async def _noted(reader: Reader) -> Noted:
    noted = await bulk.noted(reader, most=_MOST_NOTED)
    if noted is None:
        raise Unavailable("the link tree is far behind the database; it is compared when it has caught up")
    return noted
