"""The SQL that this process gives to its databases, as the drivers see it."""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

import asyncpg
import pytest

_MOST_SHOWN = 20


class Spent(NamedTuple):
    """SQL in its order; what begins and ends transactions is among it."""

    texts: tuple[str, ...]

    @property
    def transactions(self) -> int:
        """How many were committed."""
        return sum(text == "COMMIT" for text in self.texts)

    @property
    def statements(self) -> int:
        """How many statements there were, those of transactions left out."""
        return sum(not text.startswith(("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")) for text in self.texts)

    def __str__(self) -> str:
        lines = ["    " + " ".join(text.split())[:160] for text in self.texts[:_MOST_SHOWN]]
        left = len(self.texts) - len(lines)
        return "\n".join([*lines, f"    and {left} more"] if left else lines)


class SqlLog:
    """Listens to every connection that is made from now on, in whichever thread it is used."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._texts: list[str] = []
        make_sqlite, make_asyncpg = sqlite3.connect, asyncpg.connect

        def connect_sqlite(*given: Any, **named: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = make_sqlite(*given, **named)
            connection.set_trace_callback(self._note)
            return connection

        async def connect_asyncpg(*given: Any, **named: Any) -> asyncpg.Connection:
            connection = await make_asyncpg(*given, **named)
            connection.add_query_logger(lambda record: self._note(record.query))
            return connection

        monkeypatch.setattr(sqlite3, "connect", connect_sqlite)
        monkeypatch.setattr(asyncpg, "connect", connect_asyncpg)

    def _note(self, text: str) -> None:
        # What a new connection is told, and what the triggers of a statement run.
        if not text.startswith(("PRAGMA", "--")):
            self._texts.append(text)

    def take(self) -> Spent:
        """What came since the last time."""
        spent, self._texts[:] = Spent((*self._texts,)), []
        return spent
