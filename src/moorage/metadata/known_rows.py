"""Answers that still hold, since nobody has committed since they were read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moorage.metadata.database import Row, Statement
from moorage.metadata.wal_stamp import WalStamp

# Arbitrary, but bounded: at most 64 MiB, if every answer is a manifest of the largest size that is kept.
_MOST_ANSWERS = 4096
_LARGEST_BYTES = 16 * 1024


class KnownRows:
    """Remembers the rows of single-row answers until the next commit of any process.

    A commit in the middle of a read cannot be missed: the stamp is read before the rows, so rows that are newer than
    their stamp are forgotten at the next look, and older ones cannot be.
    """

    def __init__(self, database: Path) -> None:
        """Raises OSError where the database has no WAL index; a connection to it must be open."""
        self._stamp = WalStamp(database)
        self._seen: bytes | None = None
        self._answers: dict[tuple[Statement, tuple[Any, ...]], Sequence[Row]] = {}

    def version(self) -> bytes | None:
        """See `Database.version`."""
        return self._stamp.read()

    def get(self, statement: Statement, values: tuple[Any, ...]) -> Sequence[Row] | None:
        """The rows that the statement would give, or None where that is not known."""
        stamp = self._stamp.read()
        if stamp is None or stamp != self._seen:
            self._answers.clear()
            self._seen = stamp
            return None
        return self._answers.get((statement, values))

    def put(self, statement: Statement, values: tuple[Any, ...], rows: Sequence[Row]) -> None:
        """Remember what was read after `get` had nothing."""
        if self._seen is None or len(rows) > 1 or len(self._answers) >= _MOST_ANSWERS:
            return
        if rows and any(type(value) is bytes and len(value) > _LARGEST_BYTES for value in rows[0]):
            return
        self._answers[statement, values] = rows
