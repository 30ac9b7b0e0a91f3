"""What a crash leaves: sessions without bytes, bytes without a session, blob files without a row. None is served."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from moorage.errors import BlobUploadUnknown, Unavailable, UploadBusy
from moorage.metadata import audit, manifests, uploads
from moorage.metadata.database import Reader
from moorage.oci.digest import Digest
from moorage.oci.referrers_tag import LONGEST_HEAD, read_mark, tag_of
from moorage.registry.check.findings import BytesUnclaimed, FilesUnnamed, Finding, SessionLost
from moorage.registry.check.manifests import Manifests
from moorage.registry.check.part import Subject, WriteLinks

_log = logging.getLogger("moorage.registry")

_PAGE: Final = 500
# Bytes without a session belong to a push in one request, which holds a lock on them, but not from the first instant
# on; nobody who writes or waits to lock leaves them alone for so long (arbitrary).
_REST_SECONDS: Final = 60


class Leftovers:
    """The part of a check that looks for garbage, after *manifests* and links; *keep* tells whether files must stay."""

    def __init__(self, subject: Subject, manifests: Manifests, keep: Callable[[], bool]) -> None:
        self._subject = subject
        self._database = subject.database
        self._store = subject.store
        self._manifests = manifests
        self._keep = keep

    async def find(self) -> list[Finding]:
        """Hold all sessions against all staged bytes, and all files against all rows."""
        self._subject.progress.step("files", (await audit.blob_totals(self._database))[0] + len(self._manifests.keys))
        staged = {upload_id: (size, touched) for upload_id, size, touched in self._store.staged()}
        found: list[Finding] = []
        after = ""
        while page := await audit.upload_page(self._database, after=after, count=_PAGE):
            for upload in page:
                if upload.id not in staged and upload.offset:
                    found.append(SessionLost(upload.id, upload.repository, upload.offset))
                staged.pop(upload.id, None)
            after = page[-1].id
        oldest = self._subject.clock.now() / 1_000_000 - _REST_SECONDS
        found += [BytesUnclaimed(upload_id, size) for upload_id, (size, touched) in staged.items() if touched < oldest]
        files = await self._unnamed()
        return [*found, FilesUnnamed(files, kept=self._keep())] if files else found

    async def _unnamed(self) -> list[tuple[str, Digest, int]]:
        files = []
        try:
            for location, digest, size in self._store.list():
                self._subject.progress.advance()
                if digest.key in self._manifests.keys or await audit.has_blob(self._database, digest.key):
                    continue
                if not await self._lists_referrers(digest):
                    files.append((location, digest, size))
        except Unavailable as error:
            # It is told of the blobs that are behind it; here it only hides garbage.
            _log.debug("the files cannot all be listed: %s", error.__cause__)
        return files

    async def _lists_referrers(self, digest: Digest) -> bool:
        """Whether it is a list that we write for other registries, and that its tag in the tree names, or will."""
        head = self._subject.links.manifest_blob(digest, LONGEST_HEAD)
        mark = read_mark(head) if head else None
        tag = tag_of(mark[1]) if mark else None
        if mark is None or tag is None:
            return False
        named = self._subject.links.tag(mark[0], tag)
        if named is not None:
            return named == digest
        return bool(await manifests.referrers(self._database, *mark, artifact_type=None, after=None, count=1))

    async def still(self, finding: Finding) -> bool:
        """Look at the same session, bytes or files anew."""
        if isinstance(finding, SessionLost):
            upload = await uploads.find(self._database, finding.upload_id)
            staged = {upload_id for upload_id, _, _ in self._store.staged()}
            return upload is not None and upload.offset > 0 and upload.id not in staged
        if isinstance(finding, BytesUnclaimed):
            return await uploads.find(self._database, finding.upload_id) is None and self._is_idle(finding.upload_id)
        assert isinstance(finding, FilesUnnamed)
        await self._manifests.catch_up()
        finding.kept = self._keep()
        finding.files = [
            (location, digest, size)
            for location, digest, size in finding.files
            if digest.key not in self._manifests.keys
            and not await audit.has_blob(self._database, digest.key)
            and self._store.stat(location) is not None
            and not await self._lists_referrers(digest)
        ]
        return bool(finding.files)

    async def repair(self, findings: Sequence[Finding], write_links: WriteLinks | None) -> None:
        """Remove it; files only while no server runs, which might be committing the same content just now."""
        for finding in findings:
            if isinstance(finding, SessionLost):
                await self._end(finding.upload_id)
                finding.repaired = True
            elif isinstance(finding, BytesUnclaimed):
                finding.repaired = self._discard(finding.upload_id)
            elif isinstance(finding, FilesUnnamed) and write_links is not None:
                await self._sweep(finding)

    async def _sweep(self, finding: FilesUnnamed) -> None:
        if await self.still(finding) and not finding.kept:
            for location, _, _ in finding.files:
                await self._store.delete(location)
            finding.repaired = True

    async def _end(self, upload_id: str) -> None:
        async def work(transaction: Reader) -> None:
            await uploads.remove(transaction, upload_id)

        await self._database.write(work)

    def _is_idle(self, upload_id: str) -> bool:
        """Whether the bytes are there, and no request holds them."""
        try:
            self._store.stage(upload_id, new=False).close()
        except (BlobUploadUnknown, UploadBusy):
            return False
        return True

    def _discard(self, upload_id: str) -> bool:
        try:
            self._store.stage(upload_id, new=False).discard()
        except BlobUploadUnknown:
            return True
        except UploadBusy:
            return False
        return True
