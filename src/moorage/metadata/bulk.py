"""Many rows at once, of what an adopted tree holds; what is there already is left as it is.

A statement takes many rows where there are many: on another machine's server each is a round trip, and SQLite too takes
half the time for rows that come together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import Column, ColumnElement, Table, bindparam, delete, select
from sqlalchemy.sql.elements import ClauseElement

from moorage.metadata.database import Reader, Row, Statement
from moorage.metadata.schema import (
    blobs,
    manifest_references,
    manifests,
    outbox,
    repositories,
    repository_blobs,
    tag_history,
    tags,
    unadopted,
)

T = TypeVar("T")

# Rows of one statement (measured: more than 64 gain nothing on SQLite).
_SIZES: Final = (64, 8, 1)


class BlobLink(NamedTuple):
    """A blob of a repository: its digest's key, its size in bytes and where it lies."""

    key: bytes
    size: int
    location: str


class ManifestRow(NamedTuple):
    """A row of `manifests` without its repository; *references* are the keys of what the manifest names."""

    key: bytes
    media_type: str
    size: int
    artifact_type: str | None
    subject: bytes | None
    referrer: bytes | None
    created_at: int
    body: bytes
    references: Sequence[bytes]


class _Insert:
    """INSERT of many rows of *table*, whose *columns* the caller gives in this order; it gives back *returning*."""

    def __init__(self, table: Table, columns: Sequence[str], returning: Sequence[str] = ()) -> None:
        self._columns = columns
        self._returning = [table.c[name] for name in returning]
        self._places = [f"{name}_{place}" for place in range(_SIZES[0]) for name in columns]
        self._statements = [(size, Statement(partial(self._build, table, size))) for size in _SIZES]

    def _build(self, table: Table, size: int, insert: Any) -> ClauseElement:
        rows: list[dict[str, Any]] = [
            {name: bindparam(f"{name}_{place}") for name in self._columns} for place in range(size)
        ]
        statement = insert(table).values(rows).on_conflict_do_nothing()
        chosen: ClauseElement = statement.returning(*self._returning) if self._returning else statement
        return chosen

    async def run(self, transaction: Reader, rows: Sequence[Row]) -> list[Row]:
        """Insert the rows; of those that were not there, what is to be given back."""
        new: list[Row] = []
        for statement, chunk in _chunks(self._statements, rows):
            # Zipped and not spelt out: the dictionary is half of the cost otherwise.
            new += await transaction.rows(statement, dict(zip(self._places, chain.from_iterable(chunk), strict=False)))
        return new


class _Among:
    """A statement about the rows whose *column* is one of many values; *build* makes it of the condition."""

    def __init__(self, column: Column[Any], build: Callable[[ColumnElement[bool]], ClauseElement]) -> None:
        self._statements = [(size, Statement(partial(self._build, column, build, size))) for size in _SIZES]

    @staticmethod
    def _build(
        column: Column[Any], build: Callable[[ColumnElement[bool]], ClauseElement], size: int, insert: Any
    ) -> ClauseElement:
        return build(column.in_([bindparam(f"v_{place}") for place in range(size)]))

    async def run(self, reader: Reader, values: Sequence[Any]) -> list[Row]:
        """Its rows for all *values*."""
        found: list[Row] = []
        for statement, chunk in _chunks(self._statements, values):
            found += await reader.rows(statement, {f"v_{place}": value for place, value in enumerate(chunk)})
        return found


def _chunks(statements: Sequence[tuple[int, Statement]], rows: Sequence[T]) -> Iterator[tuple[Statement, Sequence[T]]]:
    start = 0
    for size, statement in statements:
        while len(rows) - start >= size:
            yield statement, rows[start : start + size]
            start += size


_REPOSITORIES = _Insert(repositories, ("name", "created_at"))
_UNADOPTED = _Insert(unadopted, ("repository",))
_BLOBS = _Insert(blobs, ("digest", "size", "location", "created_at"))
_LINKS = _Insert(repository_blobs, ("repository_id", "blob_id", "linked_at"))
_MANIFESTS = _Insert(
    manifests,
    (
        "repository_id",
        "digest",
        "media_type",
        "size",
        "artifact_type",
        "subject",
        "referrer",
        "created_at",
        "body",
    ),
    ("repository_id", "digest", "id"),
)
_REFERENCES = _Insert(manifest_references, ("manifest_id", "digest"))
_TAGS = _Insert(tags, ("repository_id", "name", "manifest_id", "updated_at"), ("repository_id", "name"))
_HISTORY = _Insert(tag_history, ("repository_id", "name", "digest", "at", "principal"))
_NOTES = _Insert(outbox, ("kind", "repository", "key"))
_KNOWN = _Among(repositories.c.name, lambda these: select(repositories.c.name, repositories.c.id).where(these))
_BLOB_IDS = _Among(blobs.c.digest, lambda these: select(blobs.c.digest, blobs.c.id).where(these))
_WAITING = _Among(unadopted.c.repository, lambda these: select(unadopted.c.repository).where(these))
_TAKE = _Among(unadopted.c.repository, lambda these: delete(unadopted).where(these).returning(unadopted.c.repository))
_NOTED = Statement(lambda insert: select(outbox.c.kind, outbox.c.repository, outbox.c.key).limit(bindparam("count")))


async def add_unadopted(transaction: Reader, names: Sequence[str]) -> None:
    """Put the repositories that the database does not have on the list of those to adopt."""
    known = {row[0] for row in await _KNOWN.run(transaction, names)}
    await _UNADOPTED.run(transaction, [(name,) for name in names if name not in known])


async def take(transaction: Reader, names: Sequence[str]) -> set[str]:
    """Take repositories off the list, to adopt them in this transaction; those that were on it."""
    return {row[0] for row in await _TAKE.run(transaction, names)}


async def waiting(transaction: Reader, names: Sequence[str]) -> set[str]:
    """Those of the repositories that are on the list."""
    return {row[0] for row in await _WAITING.run(transaction, names)}


async def ensure_repositories(transaction: Reader, names: Sequence[str], now: int) -> dict[str, int]:
    """The repositories' ids; they are made if they are new."""
    known = {row[0]: row[1] for row in await _KNOWN.run(transaction, names)}
    new = [name for name in names if name not in known]
    if new:
        await _REPOSITORIES.run(transaction, [(name, now) for name in new])
        known.update({row[0]: row[1] for row in await _KNOWN.run(transaction, new)})
    return known


async def add_blobs(transaction: Reader, links: Sequence[tuple[int, BlobLink]], now: int) -> None:
    """Let repositories, by their ids, see blobs, whose bytes are durable where the links say."""
    stored = {link.key: link for _, link in links}
    await _BLOBS.run(transaction, [(*link, now) for link in stored.values()])
    ids = {row[0]: row[1] for row in await _BLOB_IDS.run(transaction, list(stored))}
    await _LINKS.run(transaction, [(repository_id, ids[link.key], now) for repository_id, link in links])


async def add_manifests(transaction: Reader, rows: Sequence[tuple[int, ManifestRow]]) -> dict[tuple[int, bytes], int]:
    """Manifests of repositories, by their ids, and what they name; the ids of those manifests that were not there.

    They are found by the repository's id and the digest's key.
    """
    new = await _MANIFESTS.run(transaction, [(repository_id, *row[:-1]) for repository_id, row in rows])
    ids = {(row[0], row[1]): row[2] for row in new}
    named = [(ids.get((repository_id, row.key)), row.references) for repository_id, row in rows]
    await _REFERENCES.run(transaction, [(known, key) for known, keys in named if known is not None for key in keys])
    return ids


async def add_tags(transaction: Reader, rows: Sequence[tuple[int, str, int, int]]) -> set[tuple[int, str]]:
    """Set tags: the repository's id, the name, the manifest's id, the time; ids and names of those that are new.

    The others stay what they are.
    """
    return {(row[0], row[1]) for row in await _TAGS.run(transaction, rows)}


async def add_history(transaction: Reader, rows: Sequence[tuple[int, str, bytes | None, int, str]]) -> None:
    """What tags have named: the repository's id, the tag, the digest's key, the time, by whom."""
    await _HISTORY.run(transaction, rows)


async def note(transaction: Reader, rows: Sequence[tuple[int, str, bytes]]) -> None:
    """Ask for links to be looked at again."""
    await _NOTES.run(transaction, rows)


async def noted(reader: Reader, *, most: int) -> set[tuple[int, str, bytes]] | None:
    """What the link tree has yet to learn: kinds, repositories and keys; None where it is more than *most*."""
    rows = await reader.rows(_NOTED, {"count": most + 1})
    return None if len(rows) > most else {(row[0], row[1], row[2]) for row in rows}
