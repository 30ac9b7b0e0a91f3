"""The database by itself: its own structures, and its foreign keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from moorage.errors import Unavailable
from moorage.metadata import integrity
from moorage.metadata.database import Reader
from moorage.registry.check.findings import DatabaseDamaged, Finding, RowsWithoutParent
from moorage.registry.check.part import Subject, WriteLinks

# How SQLite says so (sqlite.org/rescode.html, SQLITE_CORRUPT and SQLITE_NOTADB).
_DAMAGED: Final = ("malformed", "not a database")


class Integrity:
    """The part of a check that asks the engine; *fast* leaves the indexes out."""

    def __init__(self, subject: Subject, *, fast: bool) -> None:
        self._subject = subject
        self._fast = fast

    async def find(self) -> list[Finding]:
        """Ask once for everything."""
        self._subject.progress.step("database", 1)
        try:
            said = await integrity.complaints(self._subject.database, quick=self._fast)
            orphans = await integrity.orphans(self._subject.database)
        except Unavailable as error:
            if not any(word in str(error.detail) for word in _DAMAGED):
                raise
            return [DatabaseDamaged(str(error.detail))]
        self._subject.progress.advance()
        return [*[DatabaseDamaged(text) for text in said], *[RowsWithoutParent(*orphan) for orphan in orphans]]

    async def still(self, finding: Finding) -> bool:
        """Ask again."""
        if isinstance(finding, DatabaseDamaged):
            return True
        assert isinstance(finding, RowsWithoutParent)
        for orphan in await integrity.orphans(self._subject.database):
            if (orphan.table, orphan.column) == (finding.table, finding.column):
                finding.rows = orphan.rows
                return True
        return False

    async def repair(self, findings: Sequence[Finding], write_links: WriteLinks | None) -> None:
        """Remove links of which one end is gone."""
        for finding in findings:
            if isinstance(finding, RowsWithoutParent) and finding.mendable:
                table, column = finding.table, finding.column

                async def work(transaction: Reader, table: str = table, column: str = column) -> None:
                    await integrity.remove_orphans(transaction, table, column)

                await self._subject.database.write(work)
                finding.repaired = not await self.still(finding)
