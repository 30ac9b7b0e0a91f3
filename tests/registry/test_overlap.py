"""Large uploads are hashed in a thread while they arrive; nobody can tell by the digest."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.errors import ClientGone
from moorage.metadata.database import Database
from moorage.oci.digest import Digest
from moorage.registry.overlap import PIECE_BYTES, HashThread
from tests.registry.house import ALICE, REPOSITORY, House, Sent, cut_off

_NOISE = random.Random(1).randbytes(9 * 1024 * 1024 + 7)
_READ = 100_000


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 3 * PIECE_BYTES), max_size=12))
def test_digest_is_that_of_all_bytes_in_order(lengths: list[int]) -> None:
    """Whatever pieces the bytes come in, and also when the hash object has seen others before and after."""
    running, expected = hashlib.sha256(b"before"), hashlib.sha256(b"before")
    overlap = HashThread(1).take(running)
    assert overlap is not None

    start = 0
    for length in lengths:
        overlap.update(memoryview(_NOISE)[start : start + length])
        expected.update(_NOISE[start : start + length])
        start += length
    overlap.settle()
    running.update(b"after")
    expected.update(b"after")

    assert running.digest() == expected.digest()


def test_bytes_may_change_once_they_are_taken() -> None:
    """The caller's buffer is read into again at once, as a connection's is."""
    running = hashlib.sha256()
    overlap = HashThread(1).take(running)
    assert overlap is not None
    buffer = bytearray(PIECE_BYTES)

    for number in range(20):
        buffer[:] = bytes([number]) * PIECE_BYTES
        overlap.update(memoryview(buffer))
    overlap.settle()

    assert running.digest() == hashlib.sha256(b"".join(bytes([n]) * PIECE_BYTES for n in range(20))).digest()


def test_as_many_uploads_as_were_said_and_others_after_them() -> None:
    """The next one is told to hash by itself, until one of the first has ended."""
    thread = HashThread(2)
    taken = [thread.take(hashlib.sha256()) for _ in range(3)]

    assert [overlap is not None for overlap in taken] == [True, True, False]
    assert taken[0] is not None
    taken[0].settle()
    assert thread.take(hashlib.sha256()) is not None


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_large_upload_goes_on_after_its_client_went(algorithm: str, house: House) -> None:
    """What came before the break is kept with its digest, and the whole is a blob in the end."""
    digest = Digest.of(_NOISE, algorithm)
    cut = 5 * 1024 * 1024 + 3
    reads = [_NOISE[start : min(start + _READ, cut)] for start in range(0, cut, _READ)]

    async def scenario(database: Database) -> tuple[int, bytes]:
        uploads = house.uploads(database)
        upload = await uploads.begin(REPOSITORY, ALICE, algorithm)
        with pytest.raises(ClientGone):
            await uploads.append(REPOSITORY, ALICE, upload, cut_off(*reads), None)
        kept = await uploads.status(REPOSITORY, ALICE, upload)
        found = await uploads.find(REPOSITORY, ALICE, upload)
        assert found.digest == hashlib.new(algorithm, _NOISE[:kept]).hexdigest()
        await uploads.finish(REPOSITORY, ALICE, upload, digest, Sent(_NOISE[kept:]), None)
        return kept, await house.read(database, digest)

    assert house.run(scenario) == (cut, _NOISE)


def test_large_pushes_in_one_request_one_after_the_other(house: House) -> None:
    """Each gets its turn in the thread, whether it succeeds or breaks off."""
    digest = Digest.of(_NOISE)
    reads = [_NOISE[start : start + _READ] for start in range(0, len(_NOISE), _READ)]

    async def scenario(database: Database) -> bytes:
        uploads = house.uploads(database)
        for _ in range(5):
            with pytest.raises(ClientGone):
                await uploads.push(REPOSITORY, digest, cut_off(*reads[:60]))
        await uploads.push(REPOSITORY, digest, Sent(*reads))
        return await house.read(database, digest)

    assert house.run(scenario) == _NOISE
