"""Upload sessions: begin, go on, finish, cancel, from whichever worker.

A session is a row, so any worker can go on with it; its bytes are staged in the store under the same id, and the
store's lock on them keeps two requests from interleaving. The row is written after the bytes: bytes beyond the row's
offset are cut off before the session goes on.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from moorage.clock import Clock
from moorage.errors import (
    BlobUploadUnknown,
    DigestInvalid,
    MoorageError,
    RangeInvalid,
    SizeInvalid,
    TooLarge,
    TooManyRequests,
    UploadBusy,
)
from moorage.metadata import blobs, outbox, repositories, uploads
from moorage.metadata.database import Database, Reader
from moorage.metadata.uploads import Upload
from moorage.oci.digest import Digest, hasher
from moorage.oci.name import RepositoryName
from moorage.registry.gates import Gates, Limits
from moorage.registry.overlap import HashThread, Overlap
from moorage.registry.progress import RunningDigests, digest_of
from moorage.storage.blobs import BlobStore, Staging

if TYPE_CHECKING:
    from hashlib import _Hash


# From here on an upload is hashed in a thread: what is smaller is done before a thread has begun (arbitrary).
_OVERLAP_BYTES = 4 * 1024 * 1024


class ByteSource(Protocol):
    """Bytes that a client is sending."""

    @property
    def length(self) -> int | None:
        """How many were announced, None if it was not said."""
        ...

    async def receive(self, sink: Callable[[memoryview], None]) -> int:
        """Give every byte to *sink* in order; raises ClientGone when they stop."""
        ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """The inclusive range that a client says its bytes are, `Content-Range: first-last`."""

    first: int
    last: int


class _Receiver:
    """Stages and hashes bytes as they come; *offset* is where both have come to once `settle` was called."""

    def __init__(self, staging: Staging, running: _Hash, most: int | None, thread: HashThread) -> None:
        self.staging = staging
        self.running = running
        self.offset = staging.size
        self._most = most
        self._thread = thread
        self._ahead = self.offset + _OVERLAP_BYTES
        self._update: Callable[[memoryview], None] = running.update
        self._overlap: Overlap | None = None

    def __call__(self, data: memoryview) -> None:
        if self._most is not None and self.offset + len(data) > self._most:
            raise TooLarge(f"a blob may have at most {self._most} bytes")
        # Written first: a disk that is full must not leave the digest ahead of the bytes.
        self.staging.write(data)
        self._update(data)
        self.offset += len(data)
        if self.offset >= self._ahead and self._overlap is None:
            self._begin_overlap()

    def _begin_overlap(self) -> None:
        self._overlap = self._thread.take(self.running)
        if self._overlap is not None:
            self._update = self._overlap.update
        else:
            self._ahead += _OVERLAP_BYTES

    def settle(self) -> None:
        """Everything has come: *running* is the digest of all of it."""
        if self._overlap is not None:
            self._overlap.settle()
            self._overlap = None
            self._update = self.running.update


class Uploads:
    """Pushes of blobs."""

    def __init__(
        self, database: Database, store: BlobStore, clock: Clock, gates: Gates, limits: Limits, boot: str
    ) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._gates = gates
        self._limits = limits
        self._boot = boot
        self._running = RunningDigests()
        self._hashing = HashThread()

    async def begin(self, repository: RepositoryName, principal: str, algorithm: str = "sha256") -> str:
        """Open a session and return its id. Raises TooManyRequests when the principal has too many open."""
        self._gates.require_write()
        now = self._clock.now()
        upload = Upload(
            id=secrets.token_hex(16),
            repository=repository,
            principal=principal,
            algorithm=algorithm,
            offset=0,
            digest=None,
            boot=self._boot,
            started_at=now,
            updated_at=now,
        )

        async def work(transaction: Reader) -> None:
            if await uploads.count(transaction, principal) >= self._limits.uploads_per_principal:
                raise TooManyRequests("too many uploads are open; finish or cancel some", retry_after=60)
            await uploads.add(transaction, upload)

        await self._database.write(work, durable=False)
        return upload.id

    async def find(self, repository: RepositoryName, principal: str, upload_id: str) -> Upload:
        """The session. Raises BlobUploadUnknown where it is not this repository's and this principal's."""
        return _theirs(await uploads.find(self._database, upload_id), repository, principal, upload_id)

    async def status(self, repository: RepositoryName, principal: str, upload_id: str) -> int:
        """How many bytes of the session are kept. Raises BlobUploadUnknown."""
        upload = await self.find(repository, principal, upload_id)
        if not upload.offset:
            return 0
        try:
            upload, staging = await self._enter(repository, principal, upload_id)
        except UploadBusy:
            return upload.offset
        staging.close()
        return upload.offset

    async def append(
        self, repository: RepositoryName, principal: str, upload_id: str, source: ByteSource, chunk: Chunk | None
    ) -> int:
        """Stage the source's bytes after those that are there and return how many there are now.

        Raises RangeInvalid when *chunk* does not begin there, SizeInvalid when it has another length than the source,
        UploadBusy while another request writes. What was received before the client went, or the disk was full, stays.
        """
        self._gates.require_write()
        upload, staging = await self._enter(repository, principal, upload_id)
        try:
            _check_order(upload, chunk, source.length)
            running = await self._resume(upload, staging)
            await self._take_in(upload, staging, running, source, chunk)
            await self._note(upload_id, staging.size, running)
            return staging.size
        finally:
            staging.close()

    async def finish(
        self,
        repository: RepositoryName,
        principal: str,
        upload_id: str,
        digest: Digest,
        source: ByteSource,
        chunk: Chunk | None,
    ) -> None:
        """Stage the source's bytes as the last, and make the whole the repository's blob of that *digest*.

        Raises what `append` does, and DigestInvalid when the content has another digest: the session ends with it.
        """
        self._gates.require_write()
        upload, staging = await self._enter(repository, principal, upload_id)
        try:
            _check_order(upload, chunk, source.length)
            if await self._take_last(upload, staging, digest.algorithm, source, chunk) != digest.hex:
                await self._end(upload_id, staging)
                raise DigestInvalid(detail={"digest": str(digest)})
            await self._commit(repository, staging, digest, upload_id)
        finally:
            staging.close()

    async def push(self, repository: RepositoryName, digest: Digest, source: ByteSource) -> None:
        """Push a blob whose bytes and digest come in one request. Raises DigestInvalid, SizeInvalid, TooLarge."""
        self._gates.require_write()
        staging = self._store.stage(secrets.token_hex(16), new=True)
        receiver = _Receiver(staging, hasher(digest.algorithm), self._limits.blob_bytes, self._hashing)
        try:
            self._check_announced(0, source.length)
            try:
                await source.receive(receiver)
            finally:
                receiver.settle()
            if receiver.running.hexdigest() != digest.hex:
                raise DigestInvalid(detail={"digest": str(digest)})
            await self._commit(repository, staging, digest, None)
        except BaseException:
            staging.discard()
            raise
        finally:
            staging.close()

    async def cancel(self, repository: RepositoryName, principal: str, upload_id: str) -> None:
        """End the session and drop its bytes. Raises BlobUploadUnknown, UploadBusy."""
        _, staging = await self._enter(repository, principal, upload_id)
        await self._end(upload_id, staging)

    async def mount(
        self, repository: RepositoryName, digest: Digest, ranges: tuple[tuple[str, str | None], ...]
    ) -> bool:
        """Link a blob that a repository with a name in one of *ranges*, [low, high), has; False where none has it."""
        self._gates.require_write()
        blob = None
        for low, high in ranges:
            blob = blob or await blobs.find_in_range(self._database, low, high, digest)
        if blob is None:
            return False
        _, size, location = blob
        await self._database.write(lambda transaction: self._link(transaction, repository, digest, size, location))
        return True

    async def _enter(self, repository: RepositoryName, principal: str, upload_id: str) -> tuple[Upload, Staging]:
        """The session as it is once its bytes are locked, and those bytes, cut to what the row says."""
        staging = await self._stage(repository, principal, upload_id)
        try:
            upload = await uploads.find(self._database, upload_id)
            if upload is None:  # ended meanwhile: these are nobody's bytes
                staging.discard()
            upload = _theirs(upload, repository, principal, upload_id)
            if staging.size < upload.offset:  # the machine stopped before they were on the disk
                upload = upload._replace(offset=staging.size, digest=None)
                await self._advance(upload_id, staging.size, None)
            elif staging.size > upload.offset:
                staging.truncate(upload.offset)
        except BaseException:
            staging.close()
            raise
        return upload, staging

    async def _stage(self, repository: RepositoryName, principal: str, upload_id: str) -> Staging:
        """The session's bytes, locked; most sessions have some, so the row is looked at only where there are none."""
        try:
            return self._store.stage(upload_id, new=False)
        except UploadBusy:
            await self.find(repository, principal, upload_id)
            raise
        except BlobUploadUnknown:
            upload = await self.find(repository, principal, upload_id)
            if upload.offset:
                # Committed by a process that stopped before it could say so, or lost: it cannot go on.
                await self._remove(upload_id)
                raise
        return self._store.stage(upload_id, new=True)

    async def _resume(self, upload: Upload, staging: Staging) -> _Hash:
        running = self._running.take(upload.id, upload.offset)
        if running is not None and running.hexdigest() == upload.digest:
            return running
        if upload.offset == 0:
            return hasher(upload.algorithm)
        return await asyncio.to_thread(digest_of, staging, upload.algorithm, upload.offset)

    async def _take_in(
        self, upload: Upload, staging: Staging, running: _Hash, source: ByteSource, chunk: Chunk | None
    ) -> None:
        """Receive; after a failure, note how far it came, but not of a chunk that has a wrong length: it is cut off."""
        self._check_announced(upload.offset, source.length)
        receiver = _Receiver(staging, running, self._limits.blob_bytes, self._hashing)
        try:
            try:
                received = await source.receive(receiver)
            finally:
                receiver.settle()
        except MoorageError:
            await self._note(upload.id, receiver.offset, running)
            raise
        if chunk is not None and received != chunk.last - chunk.first + 1:
            raise SizeInvalid("the chunk's length is not that of its Content-Range")

    async def _take_last(
        self, upload: Upload, staging: Staging, algorithm: str, source: ByteSource, chunk: Chunk | None
    ) -> str:
        """Receive the rest and return the whole's digest, in hex.

        Many clients name sha512 only here; then the staged bytes are read once more.
        """
        if source.length != 0:
            running = await self._resume(upload, staging)
            await self._take_in(upload, staging, running, source, chunk)
        elif algorithm == upload.algorithm:
            if upload.digest is not None and upload.boot == self._boot:
                return upload.digest
            running = await self._resume(upload, staging)
        if algorithm != upload.algorithm:
            running = await asyncio.to_thread(digest_of, staging, algorithm, staging.size)
        return running.hexdigest()

    def _check_announced(self, offset: int, length: int | None) -> None:
        most = self._limits.blob_bytes
        if most is not None and length is not None and offset + length > most:
            raise TooLarge(f"a blob may have at most {most} bytes")

    async def _note(self, upload_id: str, offset: int, running: _Hash) -> None:
        await self._advance(upload_id, offset, running.hexdigest())
        # Not before the row says so: it may stay behind, and then other bytes come to lie there.
        self._running.keep(upload_id, offset, running)

    async def _advance(self, upload_id: str, offset: int, digest: str | None) -> None:
        now = self._clock.now()
        await self._database.write(
            lambda transaction: uploads.advance(transaction, upload_id, offset, digest, self._boot, now), durable=False
        )

    async def _remove(self, upload_id: str) -> None:
        self._running.drop(upload_id)
        await self._database.write(lambda transaction: uploads.remove(transaction, upload_id), durable=False)

    async def _end(self, upload_id: str, staging: Staging) -> None:
        await self._remove(upload_id)
        staging.discard()

    async def _commit(
        self, repository: RepositoryName, staging: Staging, digest: Digest, upload_id: str | None
    ) -> None:
        """First the bytes are durable, then the row says so; a crash between leaves only garbage."""
        size = staging.size
        location = await self._store.commit(staging, digest)

        async def work(transaction: Reader) -> None:
            await self._link(transaction, repository, digest, size, location)
            if upload_id is not None:
                await uploads.remove(transaction, upload_id)

        await self._database.write(work)
        if upload_id is not None:
            self._running.drop(upload_id)

    async def _link(
        self, transaction: Reader, repository: RepositoryName, digest: Digest, size: int, location: str
    ) -> None:
        now = self._clock.now()
        repository_id = await repositories.ensure(transaction, repository, now)
        blob_id = await blobs.add(transaction, digest, size, location, now)
        await blobs.link(transaction, repository_id, blob_id, now)
        await outbox.note(transaction, outbox.Kind.LAYER, repository, digest.key)


def _theirs(upload: Upload | None, repository: RepositoryName, principal: str, upload_id: str) -> Upload:
    if upload is None or upload.repository != repository or upload.principal != principal:
        raise BlobUploadUnknown(detail={"upload": upload_id})
    return upload


def _check_order(upload: Upload, chunk: Chunk | None, length: int | None) -> None:
    """A chunk begins where the last one ended (distribution-spec, "Pushing a blob in chunks")."""
    if chunk is None:
        return
    if chunk.first != upload.offset:
        raise RangeInvalid(f"the upload has {upload.offset} bytes; the next chunk must begin there", upload.offset)
    if length is not None and length != chunk.last - chunk.first + 1:
        raise SizeInvalid("the chunk's length is not that of its Content-Range")
