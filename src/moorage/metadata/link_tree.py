"""What is known of the classic link tree: until when it was ours alone, and what of it is yet to be adopted."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, func, null, select, update

from moorage.metadata.database import Reader, Statement
from moorage.metadata.schema import blobs, link_tree, manifests, repositories, repository_blobs, unadopted
from moorage.oci.digest import Digest
from moorage.oci.name import RepositoryName


class TreeState(NamedTuple):
    """The row of `link_tree`; times in microseconds."""

    seen_at: int
    listed: bool
    compared_at: int
    wanted_at: int
    holder: str | None


_STATE = Statement(
    lambda insert: select(
        link_tree.c.seen_at, link_tree.c.listed, link_tree.c.compared_at, link_tree.c.wanted_at, link_tree.c.holder
    )
)
_SEEN = Statement(
    lambda insert: update(link_tree).where(link_tree.c.holder == bindparam("me")).values(seen_at=bindparam("now"))
)
_LISTED = Statement(lambda insert: update(link_tree).values(listed=1))
_BEGIN = Statement(lambda insert: update(link_tree).values(holder=null()))
_COMPARED = Statement(
    lambda insert: update(link_tree).values(
        holder=bindparam("me"), compared_at=bindparam("begun"), seen_at=bindparam("now")
    )
)
_WANT = Statement(lambda insert: update(link_tree).values(wanted_at=bindparam("now")))
_NEXT = Statement(
    lambda insert: (
        select(unadopted.c.repository)
        .where(unadopted.c.repository > bindparam("after"))
        .order_by(unadopted.c.repository)
        .limit(bindparam("count"))
    )
)
_COUNT = Statement(lambda insert: select(func.count()).select_from(unadopted))
_ANY = Statement(lambda insert: select(unadopted.c.repository).limit(1))
_IS_WAITING = Statement(
    lambda insert: select(unadopted.c.repository).where(unadopted.c.repository == bindparam("repository"))
)
_ANY_MANIFEST = Statement(lambda insert: select(manifests.c.id).limit(1))
_ANY_BLOB = Statement(lambda insert: select(repository_blobs.c.blob_id).limit(1))
_BLOBS_BETWEEN = Statement(
    lambda insert: select(blobs.c.id, blobs.c.digest, blobs.c.location).where(
        blobs.c.digest >= bindparam("low"), blobs.c.digest < bindparam("high")
    )
)
_OF_TYPE = Statement(
    lambda insert: (
        select(repositories.c.name, manifests.c.digest)
        .select_from(manifests.join(repositories, repositories.c.id == manifests.c.repository_id))
        .where(manifests.c.media_type == bindparam("media_type"))
        .order_by(repositories.c.name, manifests.c.digest)
    )
)


async def state(reader: Reader) -> TreeState:
    """What is known of the tree."""
    rows = await reader.rows(_STATE, {})
    if not rows:
        return TreeState(0, listed=True, compared_at=0, wanted_at=0, holder=None)
    seen_at, listed, compared_at, wanted_at, holder = rows[0]
    return TreeState(seen_at, bool(listed), compared_at, wanted_at, holder)


async def advance(transaction: Reader, me: str, now: int) -> None:
    """Say that all changes until *now* were ours; nothing unless *me* has compared the tree and kept it since."""
    await transaction.rows(_SEEN, {"me": me, "now": now})


async def set_listed(transaction: Reader) -> None:
    """Say that the names of everything to adopt are known."""
    await transaction.rows(_LISTED, {})


async def begin(transaction: Reader) -> None:
    """Say that nobody knows the tree until it has been compared."""
    await transaction.rows(_BEGIN, {})


async def set_compared(transaction: Reader, me: str, *, begun: int, now: int) -> None:
    """Say that *me* has compared the tree with the database from *begun* to *now*, and keeps it."""
    await transaction.rows(_COMPARED, {"me": me, "begun": begun, "now": now})


async def want(transaction: Reader, now: int) -> None:
    """Ask whoever keeps the tree to compare it again."""
    await transaction.rows(_WANT, {"now": now})


async def waiting(reader: Reader, *, after: str, count: int) -> list[RepositoryName]:
    """Up to *count* names above *after* of repositories to adopt, in order."""
    rows = await reader.rows(_NEXT, {"after": after, "count": count})
    return [RepositoryName(row[0]) for row in rows]


async def waiting_count(reader: Reader) -> int:
    """How many repositories are yet to be adopted."""
    return int((await reader.rows(_COUNT, {}))[0][0])


async def is_any_waiting(reader: Reader) -> bool:
    """Whether a repository is yet to be adopted."""
    return bool(await reader.rows(_ANY, {}))


async def is_waiting(reader: Reader, repository: RepositoryName) -> bool:
    """Whether this one is."""
    return bool(await reader.rows(_IS_WAITING, {"repository": repository}))


async def has_content(reader: Reader) -> bool:
    """Whether any repository has a manifest or a blob."""
    return bool(await reader.rows(_ANY_MANIFEST, {}) or await reader.rows(_ANY_BLOB, {}))


async def blobs_between(reader: Reader, low: bytes, high: bytes) -> list[tuple[int, bytes, str]]:
    """Ids, digests' keys and locations of the blobs with keys in [*low*, *high*)."""
    return [(row[0], row[1], row[2]) for row in await reader.rows(_BLOBS_BETWEEN, {"low": low, "high": high})]


async def of_type(reader: Reader, media_type: str) -> list[str]:
    """The manifests of a type, each as `repository@digest`; all manifests are looked at."""
    rows = await reader.rows(_OF_TYPE, {"media_type": media_type})
    return [f"{row[0]}@{Digest.from_key(row[1])}" for row in rows]
