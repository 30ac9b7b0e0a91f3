"""What every blob store keeps to: the contract of `moorage.storage.blobs`, sentence by sentence."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from moorage.errors import BlobUnknown, BlobUploadUnknown, UploadBusy
from moorage.oci.digest import Digest
from moorage.storage.blobs import BlobStore
from tests.storage.stores import STORES, new_id, push, read

ABSENT = Digest.of(b"never pushed")


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """Each store in turn, empty."""
    return STORES[request.param](tmp_path)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 1000], ids=["empty", "one byte", "256 kB"])
def test_committed_bytes_read_back(store: BlobStore, data: bytes, algorithm: str) -> None:
    """What was committed is there, at the place that `locate` names, with its size and every byte."""
    digest = Digest.of(data, algorithm)

    location = push(store, data, algorithm)

    assert location == store.locate(digest)
    assert store.stat(location) == len(data)
    assert read(store, location) == data
    assert list(store.list()) == [(location, digest, len(data))]


def test_what_is_not_there(store: BlobStore) -> None:
    """A blob that nobody committed has no size, cannot be opened, and deleting it changes nothing."""
    location = store.locate(ABSENT)

    assert store.stat(location) is None
    with pytest.raises(BlobUnknown):
        store.open(location)
    assert asyncio.run(store.delete(location)) is False
    assert list(store.list()) == []


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 10, b"0123456789"),
        (0, 0, b""),
        (3, 4, b"3456"),
        (8, 100, b"89"),
        (10, 1, b""),
        (1000, 1, b""),
    ],
)
def test_reads_of_a_part(store: BlobStore, offset: int, length: int, expected: bytes) -> None:
    """A read gives the bytes asked for, fewer at the end and none behind it."""
    location = push(store, b"0123456789")

    with store.open(location) as content, store.stage(new_id(), new=True) as staging:
        staging.write(b"0123456789")

        assert content.read(offset, length) == expected
        assert staging.read(offset, length) == expected


def test_descriptor_for_sendfile(store: BlobStore) -> None:
    """Where a descriptor is offered, the blob's bytes and no others are behind it."""
    location = push(store, b"0123456789")

    with store.open(location) as content:
        descriptor = content.fileno()
        found = None if descriptor is None else os.pread(descriptor, 100, 0)

    assert found in (None, b"0123456789")


def test_closed_content(store: BlobStore) -> None:
    """A closed blob gives nothing, and closing it again does no harm."""
    content = store.open(store.locate(Digest.of(b"x"))) if push(store, b"x") else None
    assert content is not None

    content.close()
    content.close()

    with pytest.raises(ValueError, match="closed"):
        content.read(0, 1)


def test_open_blob_outlives_delete(store: BlobStore) -> None:
    """Who reads a blob while it is deleted, and pushed anew, reads on."""
    location = push(store, b"0123456789")

    with store.open(location) as content:
        deleted = asyncio.run(store.delete(location))
        after = content.read(0, 100)

    assert deleted is True
    assert after == b"0123456789"
    assert store.stat(location) is None
    assert push(store, b"0123456789") == location
    assert read(store, location) == b"0123456789"


def test_same_blob_twice(store: BlobStore) -> None:
    """Committing what is there already succeeds, and there is one blob."""
    first = push(store, b"same")

    second = push(store, b"same")

    assert first == second
    assert len(list(store.list())) == 1
    assert list(store.staged()) == []


def test_same_blob_at_once(store: BlobStore) -> None:
    """Simultaneous commits of one blob all succeed, and while they run nobody reads anything but the whole blob."""
    data = os.urandom(100_000)
    digest = Digest.of(data)

    async def commit() -> str:
        with store.stage(new_id(), new=True) as staging:
            staging.write(data)
            return await store.commit(staging, digest)

    async def look() -> int:
        seen = 0
        while seen < 50:
            seen += 1
            if store.stat(store.locate(digest)) is not None:
                assert read(store, store.locate(digest)) == data
            await asyncio.sleep(0)
        return seen

    async def both() -> list[object]:
        return list(await asyncio.gather(*(commit() for _ in range(12)), look()))

    results = asyncio.run(both())

    assert set(results[:-1]) == {store.locate(digest)}
    assert read(store, store.locate(digest)) == data
    assert list(store.staged()) == []


def test_upload_across_holders(store: BlobStore) -> None:
    """An upload goes on where it was closed, and the committed blob is everything that was written."""
    upload = new_id()
    with store.stage(upload, new=True) as staging:
        staging.write(b"01234")
        staging.write(memoryview(b"56789")[:3])

    with store.stage(upload, new=False) as staging:
        size = staging.size
        held = staging.read(0, 100)
        staging.write(b"")
        staging.write(b"end")
        location = asyncio.run(store.commit(staging, Digest.of(b"01234567end")))

    assert (size, held) == (8, b"01234567")
    assert read(store, location) == b"01234567end"


def test_one_holder_at_a_time(store: BlobStore) -> None:
    """While one holds an upload, nobody else gets it; once it is closed, the next one does."""
    upload = new_id()

    with store.stage(upload, new=True):
        with pytest.raises(UploadBusy):
            store.stage(upload, new=False)
        with pytest.raises(UploadBusy):
            store.stage(upload, new=True)

    with store.stage(upload, new=False) as staging:
        assert staging.size == 0
        with pytest.raises(UploadBusy):
            store.stage(upload, new=False)


def test_new_upload_over_an_old_one(store: BlobStore) -> None:
    """A new upload never takes over what another has left under its id."""
    upload = new_id()
    with store.stage(upload, new=True) as staging:
        staging.write(b"kept")

    with pytest.raises(UploadBusy):
        store.stage(upload, new=True)

    with store.stage(upload, new=False) as staging:
        assert staging.read(0, 10) == b"kept"


@pytest.mark.parametrize("end", ["discard", "commit"])
def test_gone_uploads(store: BlobStore, end: str) -> None:
    """A discarded or committed upload is gone, its holder cannot use it, and ending it again does no harm."""
    upload = new_id()
    staging = store.stage(upload, new=True)
    staging.write(b"x")

    if end == "discard":
        staging.discard()
    else:
        asyncio.run(store.commit(staging, Digest.of(b"x")))

    with pytest.raises(BlobUploadUnknown):
        store.stage(upload, new=False)
    with pytest.raises(ValueError, match="closed"):
        staging.write(b"y")
    with pytest.raises(ValueError, match="closed"):
        staging.read(0, 1)
    with pytest.raises(ValueError, match="closed"):
        staging.truncate(0)
    staging.discard()
    staging.close()
    assert list(store.staged()) == []


def test_truncated_upload(store: BlobStore) -> None:
    """Truncating forgets the tail, writing goes on from there, and nothing can be cut to more than it is."""
    with store.stage(new_id(), new=True) as staging:
        staging.write(b"0123456789")

        staging.truncate(4)
        staging.write(b"xy")

        assert staging.size == 6
        assert staging.read(0, 100) == b"0123xy"
        for size in (7, -1):
            with pytest.raises(ValueError, match="cannot cut"):
                staging.truncate(size)


@pytest.mark.parametrize(
    "upload",
    [
        "",
        ".",
        "..",
        "x" * 31,
        "x" * 33,
        "../" + "x" * 29,
        "x" * 31 + "\n",
        "x" * 32 + "\n",
        "x" * 31 + "é",
        "x" * 31 + "/",
    ],
)
def test_invalid_upload_ids(store: BlobStore, upload: str) -> None:
    """An id that does not match the grammar names no upload, and none can be made under it."""
    with pytest.raises(BlobUploadUnknown):
        store.stage(upload, new=False)
    with pytest.raises(ValueError, match="not an upload id"):
        store.stage(upload, new=True)


def test_list_of_staged_uploads(store: BlobStore) -> None:
    """Every unfinished upload is listed, held or not, with its size and the time of its last change."""
    before = time.time()
    first, second = new_id(), new_id()
    with store.stage(first, new=True) as staging:
        staging.write(b"12345")
    held = store.stage(second, new=True)

    found = {upload: (size, changed) for upload, size, changed in store.staged()}

    assert {upload: size for upload, (size, _) in found.items()} == {first: 5, second: 0}
    # File systems round times down to their tick.
    assert all(before - 0.1 <= changed <= time.time() for _, changed in found.values())
    held.close()


def test_list_while_it_changes(store: BlobStore) -> None:
    """A listing that is under way takes blobs and uploads that go or come."""
    locations = [push(store, bytes([number])) for number in range(10)]
    listing = store.list()
    first = next(listing)

    for location in locations:
        if location != first[0]:
            asyncio.run(store.delete(location))
    push(store, b"new")
    rest = list(listing)

    assert {location for location, _, _ in [first, *rest]} <= {*locations, store.locate(Digest.of(b"new"))}


def test_cancelled_commit(store: BlobStore) -> None:
    """Cancelling who waits for a commit, and closing the upload, harms neither the store nor the blob."""
    data = os.urandom(200_000)

    async def cancel() -> None:
        with store.stage(new_id(), new=True) as staging:
            staging.write(data)
            task = asyncio.create_task(store.commit(staging, Digest.of(data)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancel())
    location = push(store, data)

    assert read(store, location) == data


def test_upload_of_another_store(store: BlobStore, tmp_path: Path) -> None:
    """An upload that another kind of store staged is refused."""
    others = [make(tmp_path / "other") for make in STORES.values()]
    other = next(candidate for candidate in others if type(candidate) is not type(store))

    with other.stage(new_id(), new=True) as staging, pytest.raises(TypeError, match="another store"):
        asyncio.run(store.commit(staging, ABSENT))
