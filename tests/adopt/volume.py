"""A foreign volume, adopted without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from moorage.app import Application
from moorage.metadata import link_tree
from moorage.metadata.migrate import bring_up_to_date
from moorage.oci.name import parse_name
from moorage.registry.adopt.findings import Report
from moorage.registry.adopt.volume import Comparison
from moorage.registry.inventory import Inventory
from moorage.settings.model import Settings
from tests.adopt.foreign import Foreign

T = TypeVar("T")


@dataclass(frozen=True)
class Adopted(Foreign):
    """A volume with a database of ours, which is made when it is needed; *database* names one on a server."""

    database: str | None = None

    def run(self, work: Callable[[Application], Awaitable[T]]) -> T:
        """Run *work* as one process of a server would."""

        async def main() -> T:
            await bring_up_to_date(self.database, self.data)
            application = Application(Settings(data=self.data, database=self.database))
            try:
                return await work(application)
            finally:
                await application.database.close()

        return asyncio.run(main())

    def adopt(self, *, dry_run: bool = False, verify: bool = False, thorough: bool = False) -> Report:
        """What the chore does once after a start; links that are due are written before and after it."""

        async def work(application: Application) -> Report:
            await self._write_links(application)
            comparison = Comparison(application.volume(), dry_run=dry_run, verify=verify, thorough=thorough)
            report = await comparison.run()
            await self._write_links(application)
            return report

        return self.run(work)

    def write_links(self) -> None:
        """Let the tree follow the database, as after a clean stop."""
        self.run(self._write_links)

    async def _write_links(self, application: Application) -> None:
        while await application.links().work_off():
            pass

    def tags(self, repository: str) -> dict[str, str]:
        """The repository's tags, and what each names; none where there is no such repository."""

        async def work(application: Application) -> dict[str, str]:
            found = Inventory(application.database).tags(parse_name(repository))
            return {tagged.tag: str(tagged.digest) async for tagged in found}

        return self.run(work)

    def repositories(self) -> list[str]:
        """The names of all repositories."""

        async def work(application: Application) -> list[str]:
            return [facts.name async for facts in Inventory(application.database).repositories()]

        return self.run(work)

    def seen(self) -> int:
        """Until when the tree was ours alone."""

        async def work(application: Application) -> int:
            return (await link_tree.state(application.database)).seen_at

        return self.run(work)


def at(data: Path, database: str | None = None) -> Adopted:
    """The volume in the folder *data*."""
    return Adopted(data, database)
