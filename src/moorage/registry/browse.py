"""Listings: tags, the catalog, referrers; each a page of an index."""

from __future__ import annotations

from typing import NamedTuple

from moorage.errors import NameUnknown
from moorage.metadata import manifests, repositories, tags
from moorage.metadata.database import Database
from moorage.oci.digest import Digest
from moorage.oci.name import RepositoryName

# A client may stop reading a list at 4 MiB (oras does); a page of referrers stays below.
_REFERRERS_BYTES = 3 * 1024 * 1024
# A descriptor carries its manifest's annotations, 4 MiB of them at worst: what is in memory at once has to be bounded.
_REFERRERS_AT_ONCE = 32


class Page(NamedTuple):
    """Names in the protocol's order; *more* says whether there are others behind them."""

    names: list[str]
    more: bool


class Referrers(NamedTuple):
    """Descriptors as JSON; *last* is where the next page begins, None on the last one."""

    descriptors: list[bytes]
    last: Digest | None


class Browse:
    """Reads of lists."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tags(self, repository: RepositoryName, *, after: str, count: int) -> Page:
        """Up to *count* tags above *after*. Raises NameUnknown for a repository that never was."""
        repository_id = await repositories.find(self._database, repository)
        if repository_id is None:
            raise NameUnknown(detail={"name": repository})
        if count == 0:
            return Page([], more=False)
        return _page(await tags.page(self._database, repository_id, after=after, count=count + 1), count)

    async def catalog(self, ranges: tuple[tuple[str, str | None], ...], *, after: str, count: int) -> Page:
        """Up to *count* repository names above *after* in *ranges*, [low, high) each, in ascending order."""
        names: list[str] = []
        if count == 0:
            return Page([], more=False)
        for low, high in ranges:
            wanted = count + 1 - len(names)
            names += await repositories.page(self._database, after=after, low=low, high=high, count=wanted)
            if len(names) > count:
                break
        return _page(names, count)

    async def referrers(
        self,
        repository: RepositoryName,
        subject: Digest,
        *,
        artifact_type: str | None,
        after: Digest | None,
        count: int,
    ) -> Referrers:
        """Who names *subject*; an empty list for a subject or repository that is not there."""
        descriptors: list[bytes] = []
        held, last = 0, after
        while True:
            found = await manifests.referrers(
                self._database, repository, subject, artifact_type=artifact_type, after=last, count=_REFERRERS_AT_ONCE
            )
            for digest, descriptor in found:
                held += len(descriptor)
                if descriptors and (len(descriptors) == count or held > _REFERRERS_BYTES):
                    return Referrers(descriptors, last)
                descriptors.append(descriptor)
                last = digest
            if len(found) < _REFERRERS_AT_ONCE:
                return Referrers(descriptors, None)


def _page(names: list[str], count: int) -> Page:
    return Page(names[:count], more=len(names) > count)
