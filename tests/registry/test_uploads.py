"""Upload sessions: what is kept of what arrived, whoever goes on with it, and whatever stopped in between."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from moorage.errors import (
    BlobUnknown,
    BlobUploadUnknown,
    ClientGone,
    DigestInvalid,
    RangeInvalid,
    SizeInvalid,
    TooLarge,
    TooManyRequests,
    Unsupported,
    UploadBusy,
)
from moorage.metadata import uploads as rows
from moorage.metadata.database import Database
from moorage.oci.digest import Digest
from moorage.oci.name import parse_name
from moorage.registry.gates import Gates, Limits
from moorage.registry.uploads import Chunk, Uploads
from moorage.storage.blobs import UPLOAD_ID, Staging
from moorage.storage.memory import MemoryBlobStore
from tests.registry.house import ALICE, BOB, EVERYWHERE, OTHER, REPOSITORY, House, Sent, cut_off

FIRST, SECOND, THIRD = b"first ", b"second ", b"third"
WHOLE = FIRST + SECOND + THIRD
DIGEST = Digest.of(WHOLE)
LAST = "last"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("announced", ["sha256", "sha512"])
@pytest.mark.parametrize("last", [b"", THIRD], ids=["empty PUT", "last bytes in PUT"])
@pytest.mark.parametrize("same", [True, False], ids=["one worker", "another worker each"])
def test_pieces_become_a_blob(algorithm: str, announced: str, last: bytes, same: bool, house: House) -> None:  # noqa: FBT001
    """By either digest, announced or not, and on whichever worker each piece arrives."""
    digest = Digest.of(WHOLE, algorithm)

    async def scenario(database: Database) -> bytes:
        fixed = house.uploads(database)

        def worker() -> Uploads:
            return fixed if same else house.uploads(database)

        upload = await worker().begin(REPOSITORY, ALICE, announced)
        pieces = [FIRST, SECOND] if last else [FIRST, SECOND, THIRD]
        for piece in pieces:
            await worker().append(REPOSITORY, ALICE, upload, Sent(piece), None)
        await worker().finish(REPOSITORY, ALICE, upload, digest, Sent(last), None)
        return await house.read(database, digest)

    assert house.run(scenario) == WHOLE
    assert list(house.store.staged()) == []


def test_an_id_is_one_that_the_store_takes(house: House) -> None:
    """128 random bits, and no two alike."""

    async def scenario(database: Database) -> list[str]:
        return [await house.uploads(database).begin(REPOSITORY, ALICE) for _ in range(20)]

    ids = house.run(scenario)
    assert len(set(ids)) == 20
    assert all(UPLOAD_ID.fullmatch(upload) for upload in ids)


Move = Callable[[House, Database, str], Awaitable[object]]
MOVES: dict[str, Move] = {
    "find": lambda house, database, upload: house.uploads(database).find(OTHER, BOB, upload),
    "status": lambda house, database, upload: house.uploads(database).status(OTHER, BOB, upload),
    "append": lambda house, database, upload: house.uploads(database).append(OTHER, BOB, upload, Sent(b"x"), None),
    "finish": lambda house, database, upload: house.uploads(database).finish(
        OTHER, BOB, upload, Digest.of(FIRST), Sent(), None
    ),
    "cancel": lambda house, database, upload: house.uploads(database).cancel(OTHER, BOB, upload),
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize(("repository", "principal"), [("lib/base", BOB), ("lib/other", ALICE)])
def test_a_session_is_one_repositorys_and_one_principals(
    move: str, repository: str, principal: str, house: House
) -> None:
    """To everybody else it is not there, and they leave it as it is."""

    async def scenario(database: Database) -> int:
        uploads = house.uploads(database)
        upload = await uploads.begin(parse_name(repository), principal)
        await uploads.append(parse_name(repository), principal, upload, Sent(FIRST), None)
        with pytest.raises(BlobUploadUnknown):
            await MOVES[move](house, database, upload)
        return await uploads.status(parse_name(repository), principal, upload)

    assert house.run(scenario) == len(FIRST)


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("upload", ["", "..", "a" * 32, "../" + "a" * 29, "é", "a\nb"])
def test_an_id_that_was_never_given_is_unknown(move: str, upload: str, house: House) -> None:
    """Whatever it looks like."""

    async def scenario(database: Database) -> None:
        with pytest.raises(BlobUploadUnknown):
            await MOVES[move](house, database, upload)

    house.run(scenario)


def test_a_principal_may_have_so_many_open(house: House) -> None:
    """One more is TooManyRequests; another principal has a number of their own, and a finished one counts no more."""
    house.limits = Limits(uploads_per_principal=2)

    async def scenario(database: Database) -> None:
        uploads = house.uploads(database)
        opened = [await uploads.begin(REPOSITORY, ALICE) for _ in range(2)]
        with pytest.raises(TooManyRequests) as refused:
            await uploads.begin(OTHER, ALICE)
        assert refused.value.retry_after > 0
        await uploads.begin(REPOSITORY, BOB)
        await uploads.cancel(REPOSITORY, ALICE, opened[0])
        await uploads.begin(REPOSITORY, ALICE)

    house.run(scenario)


def test_what_came_before_the_client_went_is_kept(house: House) -> None:
    """Also of a closing request; and the whole is right in the end."""

    async def scenario(database: Database) -> bytes:
        uploads = house.uploads(database)
        upload = await uploads.begin(REPOSITORY, ALICE)
        with pytest.raises(ClientGone):
            await uploads.append(REPOSITORY, ALICE, upload, cut_off(FIRST), None)
        assert await uploads.status(REPOSITORY, ALICE, upload) == len(FIRST)
        with pytest.raises(ClientGone):
            await uploads.finish(REPOSITORY, ALICE, upload, DIGEST, cut_off(SECOND), None)
        assert await uploads.status(REPOSITORY, ALICE, upload) == len(FIRST + SECOND)
        await uploads.finish(REPOSITORY, ALICE, upload, DIGEST, Sent(THIRD), None)
        return await house.read(database, DIGEST)

    assert house.run(scenario) == WHOLE


async def send(uploads: Uploads, upload: str, sent: Sent, chunk: Chunk, *, ends: bool) -> None:
    """Send a chunk with the closing request or before it."""
    if ends:
        await uploads.finish(REPOSITORY, ALICE, upload, DIGEST, sent, chunk)
    else:
        await uploads.append(REPOSITORY, ALICE, upload, sent, chunk)


@pytest.mark.parametrize("first", [0, 5, 7, 100])
@pytest.mark.parametrize("ends", [False, True], ids=["append", "finish"])
def test_a_chunk_that_begins_elsewhere_is_refused(first: int, ends: bool, house: House) -> None:  # noqa: FBT001
    """RangeInvalid, nothing is taken in, and the session goes on."""

    async def scenario(database: Database) -> bytes:
        uploads = house.uploads(database)
        upload = await uploads.begin(REPOSITORY, ALICE)
        await uploads.append(REPOSITORY, ALICE, upload, Sent(FIRST), Chunk(0, 5))
        chunk = Chunk(first, first + len(SECOND) - 1)
        with pytest.raises(RangeInvalid):
            await send(uploads, upload, Sent(SECOND), chunk, ends=ends)
        assert await uploads.append(REPOSITORY, ALICE, upload, Sent(SECOND), Chunk(6, 12)) == 13
        await uploads.finish(REPOSITORY, ALICE, upload, DIGEST, Sent(THIRD), Chunk(13, 17))
        return await house.read(database, DIGEST)

    assert house.run(scenario) == WHOLE


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("length", [len(SECOND) - 1, len(SECOND) + 1])
@pytest.mark.parametrize("ends", [False, True], ids=["append", "finish"])
def test_nothing_of_a_chunk_of_another_length_is_kept(
    announced: bool,  # noqa: FBT001
    length: int,
    ends: bool,  # noqa: FBT001
    house: House,
) -> None:
    """SizeInvalid, whether that shows before or after it came; the next chunk begins where this one should have."""

    async def scenario(database: Database) -> bytes:
        uploads = house.uploads(database)
        upload = await uploads.begin(REPOSITORY, ALICE)
        await uploads.append(REPOSITORY, ALICE, upload, Sent(FIRST), None)
        sent, chunk = Sent(SECOND, announced=announced), Chunk(6, 5 + length)
        with pytest.raises(SizeInvalid):
            await send(uploads, upload, sent, chunk, ends=ends)
        assert await uploads.status(REPOSITORY, ALICE, upload) == 6
        await uploads.finish(REPOSITORY, ALICE, upload, DIGEST, Sent(SECOND, THIRD), Chunk(6, 17))
        return await house.read(database, DIGEST)

    assert house.run(scenario) == WHOLE


def test_a_blob_has_a_largest_size(house: House) -> None:
    """TooLarge as soon as it is told, or has come; what was there before stays."""
    house.limits = Limits(blob_bytes=10)

    async def scenario(database: Database) -> None:
        uploads = house.uploads(database)
        with pytest.raises(TooLarge):
            await uploads.push(REPOSITORY, DIGEST, Sent(WHOLE))
        with pytest.raises(TooLarge):
            await uploads.push(REPOSITORY, DIGEST, Sent(WHOLE, announced=False))
        upload = await uploads.begin(REPOSITORY, ALICE)
        await uploads.append(REPOSITORY, ALICE, upload, Sent(FIRST), None)
        for announced in (True, False):
            with pytest.raises(TooLarge):
                await uploads.append(REPOSITORY, ALICE, upload, Sent(SECOND, announced=announced), None)
            with pytest.raises(TooLarge):
                await uploads.finish(REPOSITORY, ALICE, upload, DIGEST, Sent(SECOND, announced=announced), None)
        await uploads.finish(REPOSITORY, ALICE, upload, Digest.of(FIRST + b"four"), Sent(b"four"), None)
        assert await house.read(database, Digest.of(FIRST + b"four")) == FIRST + b"four"

    house.run(scenario)
    assert [size for _, _, size in house.store.list()] == [10]
    assert list(house.store.staged()) == []


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_another_digest_ends_the_session(algorithm: str, house: House) -> None:
    """DigestInvalid, and neither bytes nor row stay behind."""

    async def scenario(database: Database) -> None:
        uploads = house.uploads(database)
        wrong = Digest.of(b"wrong", algorithm)
        upload = await uploads.begin(REPOSITORY, ALICE)
        await uploads.append(REPOSITORY, ALICE, upload, Sent(FIRST), None)
        with pytest.raises(DigestInvalid):
            await uploads.finish(REPOSITORY, ALICE, upload, wrong, Sent(SECOND), None)
        with pytest.raises(BlobUploadUnknown):
            await uploads.status(REPOSITORY, ALICE, upload)
        with pytest.raises(DigestInvalid):
            await uploads.push(REPOSITORY, wrong, Sent(FIRST))
        with pytest.raises(BlobUnknown):
            await house.read(database, wrong)
        assert await rows.count(database, ALICE) == 0

    house.run(scenario)
    assert list(house.store.staged()) == []
    assert list(house.store.list()) == []


@pytest.mark.parametrize("sent", [cut_off(FIRST), Sent(FIRST, then=TooLarge())], ids=["gone", "too large"])
def test_nothing_stays_of_a_failed_push_in_one_request(sent: Sent, house: House) -> None:
    """There is no session to go on with."""

    async def scenario(database: Database) -> None:
        with pytest.raises((ClientGone, TooLarge)):
            await house.uploads(database).push(REPOSITORY, DIGEST, sent)

    house.run(scenario)
    assert list(house.store.staged()) == []


def test_a_cancelled_session_is_gone(house: House) -> None:
    """Bytes and row; the second time it is unknown."""

    async def scenario(database: Database) -> None:
        uploads = house.uploads(database)
        for data in (b"", FIRST):
            upload = await uploads.begin(REPOSITORY, ALICE)
            await uploads.append(REPOSITORY, ALICE, upload, Sent(data), None)
            await uploads.cancel(REPOSITORY, ALICE, upload)
            with pytest.raises(BlobUploadUnknown):
                await uploads.cancel(REPOSITORY, ALICE, upload)
        assert await rows.count(database, ALICE) == 0

    house.run(scenario)
    assert list(house.store.staged()) == []


@pytest.mark.parametrize("move", ["begin", "append", "finish", "push", "mount"])
def test_a_read_only_registry_takes_nothing(move: str, house: House) -> None:
    """Unsupported, and what was begun before stays for later."""

    async def scenario(database: Database) -> None:
        upload = await house.uploads(database).begin(REPOSITORY, ALICE)
        house.gates = Gates(read_only=True)
        uploads = house.uploads(database)
        moves: dict[str, Callable[[], Awaitable[object]]] = {
            "begin": lambda: uploads.begin(REPOSITORY, ALICE),
            "append": lambda: uploads.append(REPOSITORY, ALICE, upload, Sent(FIRST), None),
            "finish": lambda: uploads.finish(REPOSITORY, ALICE, upload, DIGEST, Sent(WHOLE), None),
            "push": lambda: uploads.push(REPOSITORY, DIGEST, Sent(WHOLE)),
            "mount": lambda: uploads.mount(REPOSITORY, DIGEST, EVERYWHERE),
        }
        with pytest.raises(Unsupported):
            await moves[move]()
        assert await uploads.status(REPOSITORY, ALICE, upload) == 0

    house.run(scenario)
    assert list(house.store.list()) == []


# Two at once.


class Slow:
    """A client that waits before its last piece until it is let go on."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self.length = sum(map(len, pieces))
        self.waits = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def receive(self, sink: Callable[[memoryview], None]) -> int:
        """See `ByteSource`."""
        for piece in self._pieces[:-1]:
            sink(memoryview(piece))
        self.waits.set()
        await self.may_go_on.wait()
        sink(memoryview(self._pieces[-1]))
        return self.length


def test_two_requests_never_mix(house_on_disk: House) -> None:
    """While one writes, all others are told that it is busy, also on another worker; only its status may be asked."""
    house = house_on_disk

    async def scenario(database: Database) -> bytes:
        one, other = house.uploads(database), house.uploads(database)
        upload = await one.begin(REPOSITORY, ALICE)
        await one.append(REPOSITORY, ALICE, upload, Sent(FIRST), None)
        slow = Slow(SECOND, THIRD)
        writing = asyncio.create_task(one.append(REPOSITORY, ALICE, upload, slow, None))
        await slow.waits.wait()
        for worker in (one, other):
            with pytest.raises(UploadBusy):
                await worker.append(REPOSITORY, ALICE, upload, Sent(b"x"), None)
            with pytest.raises(UploadBusy):
                await worker.finish(REPOSITORY, ALICE, upload, DIGEST, Sent(), None)
            with pytest.raises(UploadBusy):
                await worker.cancel(REPOSITORY, ALICE, upload)
            assert await worker.status(REPOSITORY, ALICE, upload) == len(FIRST)
        slow.may_go_on.set()
        assert await writing == len(WHOLE)
        await other.finish(REPOSITORY, ALICE, upload, DIGEST, Sent(), None)
        return await house.read(database, DIGEST)

    assert house.run(scenario) == WHOLE


def test_two_sessions_may_finish_the_same_blob_at_once(house_on_disk: House) -> None:
    """Both are told that it is there, and it is, once."""
    house = house_on_disk

    async def scenario(database: Database) -> bytes:
        workers = [house.uploads(database) for _ in range(4)]
        opened = [await worker.begin(REPOSITORY, ALICE) for worker in workers]
        await asyncio.gather(
            *(
                worker.finish(REPOSITORY, ALICE, upload, DIGEST, Sent(FIRST, SECOND, THIRD), None)
                for worker, upload in zip(workers, opened, strict=True)
            ),
            *(worker.push(REPOSITORY, DIGEST, Sent(WHOLE)) for worker in workers),
        )
        return await house.read(database, DIGEST)

    assert house.run(scenario) == WHOLE
    assert [digest for _, digest, _ in house.store.list()] == [DIGEST]
    assert list(house.store.staged()) == []


# What a process that dies leaves behind, and what the next one makes of it.


async def begun(house: House, database: Database) -> str:
    """A session with FIRST in it."""
    uploads = house.uploads(database)
    upload = await uploads.begin(REPOSITORY, ALICE)
    await uploads.append(REPOSITORY, ALICE, upload, Sent(FIRST), None)
    return upload


async def ends_well(house: House, database: Database, upload: str, rest: bytes, boot: str = "later") -> None:
    """A new worker takes *rest* and closes the session as WHOLE."""
    await house.uploads(database, boot).append(REPOSITORY, ALICE, upload, Sent(rest), None)
    await house.uploads(database, boot).finish(REPOSITORY, ALICE, upload, DIGEST, Sent(), None)
    assert await house.read(database, DIGEST) == WHOLE


@pytest.mark.parametrize("boot", ["this boot", "later"])
def test_bytes_that_no_row_counts_are_cut_off(boot: str, house_on_disk: House) -> None:
    """Died while it received: the row is behind the bytes, and the client is told the row."""
    house = house_on_disk

    async def scenario(database: Database) -> None:
        upload = await begun(house, database)
        with house.store.stage(upload, new=False) as staging:
            staging.write(b"torn")
        assert await house.uploads(database, boot).status(REPOSITORY, ALICE, upload) == len(FIRST)
        await ends_well(house, database, upload, SECOND + THIRD, boot)

    house.run(scenario)


def test_a_receiver_that_is_killed_leaves_a_session_that_goes_on(house: House) -> None:
    """The same, by a task that is ended in the middle of receiving."""

    async def scenario(database: Database) -> None:
        upload = await begun(house, database)
        slow = Slow(SECOND, THIRD)
        task = asyncio.create_task(house.uploads(database).append(REPOSITORY, ALICE, upload, slow, None))
        await slow.waits.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert await house.uploads(database).status(REPOSITORY, ALICE, upload) == len(FIRST)
        await ends_well(house, database, upload, SECOND + THIRD)

    house.run(scenario)


@pytest.mark.parametrize("kept", [0, 3])
def test_bytes_that_a_power_cut_took_are_asked_for_again(kept: int, house_on_disk: House) -> None:
    """The row is ahead of the bytes: the client is told what is really there, by GET and by 416."""
    house = house_on_disk

    async def scenario(database: Database) -> None:
        upload = await begun(house, database)
        with house.store.stage(upload, new=False) as staging:
            staging.truncate(kept)
        uploads = house.uploads(database, "later")
        assert await uploads.status(REPOSITORY, ALICE, upload) == kept
        with pytest.raises(RangeInvalid):
            await uploads.append(REPOSITORY, ALICE, upload, Sent(SECOND), Chunk(6, 12))
        assert await uploads.status(REPOSITORY, ALICE, upload) == kept
        await ends_well(house, database, upload, WHOLE[kept:])

    house.run(scenario)


def test_a_digest_of_before_a_power_cut_is_not_trusted(house_on_disk: House) -> None:
    """The right length of other bytes: the content is hashed again, and refused."""
    house = house_on_disk

    async def scenario(database: Database) -> None:
        upload = await begun(house, database)
        with house.store.stage(upload, new=False) as staging:
            staging.truncate(0)
            staging.write(b"\0" * len(FIRST))
        with pytest.raises(DigestInvalid):
            await house.uploads(database, "later").finish(REPOSITORY, ALICE, upload, Digest.of(FIRST), Sent(), None)
        with pytest.raises(BlobUnknown):
            await house.read(database, Digest.of(FIRST))

    house.run(scenario)


@pytest.mark.parametrize("move", ["status", "append", "finish", "cancel"])
def test_a_session_whose_bytes_were_committed_is_over(move: str, house_on_disk: House) -> None:
    """Died between the commit and its row: the blob is garbage, the session unknown, and the push begins anew."""
    house = house_on_disk

    async def scenario(database: Database) -> None:
        upload = await begun(house, database)
        await house.store.commit(house.store.stage(upload, new=False), Digest.of(FIRST))
        uploads = house.uploads(database, "later")
        moves: dict[str, Callable[[], Awaitable[object]]] = {
            "status": lambda: uploads.status(REPOSITORY, ALICE, upload),
            "append": lambda: uploads.append(REPOSITORY, ALICE, upload, Sent(SECOND), None),
            "finish": lambda: uploads.finish(REPOSITORY, ALICE, upload, Digest.of(FIRST), Sent(), None),
            "cancel": lambda: uploads.cancel(REPOSITORY, ALICE, upload),
        }
        with pytest.raises(BlobUploadUnknown):
            await moves[move]()
        with pytest.raises(BlobUnknown):
            await house.read(database, Digest.of(FIRST))
        assert await rows.count(database, ALICE) == 0, "the row went with its bytes"
        await uploads.push(REPOSITORY, Digest.of(FIRST), Sent(FIRST))
        assert await house.read(database, Digest.of(FIRST)) == FIRST

    house.run(scenario)


def test_a_closing_request_that_died_after_the_commit_can_be_sent_again(house_on_disk: House) -> None:
    """The client has everything in its PUT: the session, whose row says that nothing is there, takes it anew."""
    house = house_on_disk

    async def scenario(database: Database) -> None:
        upload = await house.uploads(database).begin(REPOSITORY, ALICE)
        with house.store.stage(upload, new=True) as staging:
            staging.write(WHOLE)
            await house.store.commit(staging, DIGEST)
        await house.uploads(database, "later").finish(REPOSITORY, ALICE, upload, DIGEST, Sent(WHOLE), None)
        assert await house.read(database, DIGEST) == WHOLE

    house.run(scenario)


class Interrupted(MemoryBlobStore):
    """A store in which, just when a request has locked its bytes, another process ends every session."""

    def __init__(self, database: Path) -> None:
        super().__init__()
        self.database = database
        self.interrupts = False

    def stage(self, upload_id: str, *, new: bool) -> Staging:
        """See `BlobStore`."""
        staging = super().stage(upload_id, new=new)
        if self.interrupts:
            with closing(sqlite3.connect(self.database)) as connection, connection:
                connection.execute("DELETE FROM uploads")
        return staging


@pytest.mark.parametrize("before", [(), (Sent(FIRST),)], ids=["new bytes", "old bytes"])
def test_bytes_of_a_session_that_ends_meanwhile_do_not_stay(before: tuple[Sent, ...], house: House) -> None:
    """Whoever has locked them and then finds no row removes them: they are nobody's."""
    store = Interrupted(house.data / "moorage" / "moorage.db")
    house.store = store

    async def scenario(database: Database) -> None:
        uploads = house.uploads(database)
        upload = await uploads.begin(REPOSITORY, ALICE)
        for sent in before:
            await uploads.append(REPOSITORY, ALICE, upload, sent, None)
        store.interrupts = True
        with pytest.raises(BlobUploadUnknown):
            await uploads.append(REPOSITORY, ALICE, upload, Sent(SECOND), None)

    house.run(scenario)
    assert list(store.staged()) == []


def test_a_hash_that_another_worker_has_gone_beyond_is_not_used(house: House) -> None:
    """One worker has hashed up to here; the bytes came to be others since, with the same length."""

    async def scenario(database: Database) -> None:
        stale, other = house.uploads(database), house.uploads(database)
        upload = await stale.begin(REPOSITORY, ALICE)
        await stale.append(REPOSITORY, ALICE, upload, Sent(b"x" * len(FIRST)), None)
        with house.store.stage(upload, new=False) as staging:
            staging.truncate(0)
        assert await other.status(REPOSITORY, ALICE, upload) == 0
        await other.append(REPOSITORY, ALICE, upload, Sent(FIRST), None)
        await stale.finish(REPOSITORY, ALICE, upload, DIGEST, Sent(SECOND + THIRD), None)
        assert await house.read(database, DIGEST) == WHOLE

    house.run(scenario)


# Mounts.


def test_a_mount_links_what_a_range_of_names_has(house: House) -> None:
    """And nothing that lies outside it."""

    async def scenario(database: Database) -> None:
        digest = await house.put_blob(database, WHOLE, "lib/base")
        uploads = house.uploads(database)
        for ranges in (
            (),
            (("a", "b"),),
            (("lib/base\0", None),),
            (("lib/bas", "lib/base"),),
            (("m", None), ("", "a")),
        ):
            assert not await uploads.mount(OTHER, digest, ranges)
        assert not await uploads.mount(OTHER, Digest.of(b"nobody has it"), EVERYWHERE)
        with pytest.raises(BlobUnknown):
            await house.read(database, digest, OTHER)
        assert await uploads.mount(OTHER, digest, (("a", "b"), ("lib/base", "lib/base\0")))
        assert await house.read(database, digest, OTHER) == WHOLE

    house.run(scenario)
