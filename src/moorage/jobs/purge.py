"""Removing uploads that nobody goes on with."""

from __future__ import annotations

import logging

from moorage.clock import Clock
from moorage.errors import BlobUploadUnknown, UploadBusy
from moorage.metadata import uploads
from moorage.metadata.database import Database
from moorage.storage.blobs import BlobStore

_log = logging.getLogger("moorage.jobs")

_BATCH = 200
# Bytes staged without a session belong to a push in one request; a day later nobody is still sending it.
_ORPHAN_SECONDS = 24 * 3600


class UploadPurge:
    """Ends sessions untouched for *age* seconds; *dry_run* only says which."""

    def __init__(self, database: Database, store: BlobStore, clock: Clock, *, age: float, dry_run: bool) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._age = age
        self._dry_run = dry_run

    async def sweep(self) -> bool:
        """End one batch of stale sessions, then drop bytes without a session; True when there may be more."""
        before = self._clock.now() - int(self._age * 1_000_000)
        stale = await uploads.stale(self._database, before=before, count=_BATCH)
        ended = 0
        for upload in stale:
            _log.info("upload %s to %s has rested too long", upload.id, upload.repository)
            if not self._dry_run and self._discard(upload.id):
                await self._end(upload.id)
                ended += 1
        if not stale:
            await self._drop_orphans()
        return len(stale) == _BATCH and ended > 0

    async def _end(self, upload_id: str) -> None:
        await self._database.write(lambda transaction: uploads.remove(transaction, upload_id), durable=False)

    def _discard(self, upload_id: str) -> bool:
        """Remove the staged bytes; False while a request holds them."""
        try:
            self._store.stage(upload_id, new=False).discard()
        except BlobUploadUnknown:
            return True
        except UploadBusy:
            return False
        return True

    async def _drop_orphans(self) -> None:
        oldest = self._clock.now() / 1_000_000 - max(self._age, _ORPHAN_SECONDS)
        for upload_id, size, touched in self._store.staged():
            if touched < oldest and await uploads.find(self._database, upload_id) is None:
                _log.info("%d staged bytes of %s belong to no upload", size, upload_id)
                if not self._dry_run:
                    self._discard(upload_id)
