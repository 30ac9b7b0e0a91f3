"""Reading a volume's repositories one by one: what the tree says of each, and what is to be done about it."""

from __future__ import annotations

from moorage.oci.name import RepositoryName
from moorage.registry.adopt.contents import Contents
from moorage.registry.adopt.findings import Report
from moorage.registry.adopt.plan import Plan, Planner, Rows
from moorage.storage.tree import ClassicTree
from moorage.storage.tree_facts import Known, Parts, RepositoryLinks


class RepositoryReader:
    """Reads repositories and plans them; what is found goes to *report*.

    *since*, in nanoseconds, is when we last wrote into the tree. *dry_run* measures all blobs, and gives none a second
    name; *thorough* reads what links hold, also where their status says enough.
    """

    def __init__(
        self,
        tree: ClassicTree,
        contents: Contents,
        report: Report,
        since: int,
        *,
        dry_run: bool = False,
        thorough: bool = False,
    ) -> None:
        self._tree = tree
        self._contents = contents
        self._since = since
        self._dry_run = dry_run
        self._thorough = thorough
        self._counted: set[bytes] = set()
        self.report = report
        self._planner = self._make_planner()

    def take_report(self) -> Report:
        """What was found since this was called last."""
        report, self.report = self.report, Report()
        self._planner = self._make_planner()
        return report

    def links(self, name: RepositoryName, known: Known, parts: Parts | None) -> RepositoryLinks:
        """What the tree says of the repository; *known* and *parts* as in `ClassicTree.repository`."""
        since = 0 if self._thorough else self._since
        links = self._tree.repository(name, known, since, parts, believe=not (self._thorough or self._dry_run))
        for trouble in links.troubles:
            self.report.tell_tree(trouble)
        self._count(links)
        if self._dry_run:
            self._measure(links)
        return links

    def plan(self, name: RepositoryName, links: RepositoryLinks, rows: Rows, *, first: bool) -> Plan:
        """What is to be done about the repository; see `Planner.plan`."""
        return self._planner.plan(name, links, rows, first=first)

    def _make_planner(self) -> Planner:
        return Planner(self._tree, self._contents, self.report, self._since, dry_run=self._dry_run)

    def _count(self, links: RepositoryLinks) -> None:
        report = self.report
        report.repositories += links.present
        report.tags += len(links.tags)
        report.manifests += len(links.revisions)
        report.links += links.files
        report.uploads += len(links.uploads)
        report.upload_bytes += sum(links.uploads)
        report.referrers_tags += sum(len(tag) == 71 and tag.startswith("sha256-") for tag in links.tags)

    def _measure(self, links: RepositoryLinks) -> None:
        for digest in links.layers:
            if digest.key not in self._counted:
                self._counted.add(digest.key)
                size = self._contents.blob(digest)
                if isinstance(size, int):
                    self.report.blobs += 1
                    self.report.bytes += size
