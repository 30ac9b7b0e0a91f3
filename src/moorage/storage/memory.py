"""Blobs in this process's memory: for tests, and as the proof that the seam holds more than files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Self

from moorage.errors import BlobUnknown, BlobUploadUnknown, UploadBusy
from moorage.oci.digest import Digest
from moorage.storage.blobs import UPLOAD_ID, Content, Staging


class MemoryContent:
    """A `Content` in memory."""

    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data
        self._size = len(data)

    @property
    def size(self) -> int:
        return self._size

    def fileno(self) -> int | None:
        return None

    def read(self, offset: int, length: int) -> bytes:
        if self._data is None:
            raise ValueError("this blob is closed")
        return self._data[offset : offset + length]

    def close(self) -> None:
        self._data = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Upload:
    """What the store keeps of an upload: its bytes, when they changed last, and whether somebody holds it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.changed = time.time()
        self.held = False


class MemoryStaging:
    """A `Staging` in memory."""

    def __init__(self, uploads: dict[str, _Upload], upload_id: str, upload: _Upload) -> None:
        upload.held = True
        self._uploads = uploads
        self._id = upload_id
        self._upload: _Upload | None = upload

    @property
    def size(self) -> int:
        return len(self._open().data)

    def write(self, data: bytes | memoryview) -> None:
        upload = self._open()
        upload.data += data
        upload.changed = time.time()

    def truncate(self, size: int) -> None:
        upload = self._open()
        if not 0 <= size <= len(upload.data):
            raise ValueError(f"cannot cut {len(upload.data)} staged bytes to {size}")
        del upload.data[size:]
        upload.changed = time.time()

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._open().data[offset : offset + length])

    def close(self) -> None:
        if self._upload is not None:
            self._upload.held = False
            self._upload = None

    def discard(self) -> None:
        if self._upload is not None:
            del self._uploads[self._id]
            self.close()

    def _open(self) -> _Upload:
        if self._upload is None:
            raise ValueError("this upload is closed")
        return self._upload

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class MemoryBlobStore:
    """A `BlobStore` for one process: the right to an upload does not reach others, and nothing outlives it."""

    def __init__(self) -> None:
        self._blobs: dict[str, tuple[Digest, bytes]] = {}
        self._uploads: dict[str, _Upload] = {}

    def locate(self, digest: Digest) -> str:
        return f"memory:{digest}"

    def stat(self, location: str) -> int | None:
        found = self._blobs.get(location)
        return len(found[1]) if found else None

    def open(self, location: str) -> Content:
        found = self._blobs.get(location)
        if found is None:
            raise BlobUnknown
        return MemoryContent(found[1])

    def stage(self, upload_id: str, *, new: bool) -> Staging:
        valid = UPLOAD_ID.fullmatch(upload_id) is not None
        if new and not valid:
            raise ValueError(f"not an upload id: {upload_id!r}")
        upload = self._uploads.get(upload_id)
        if new:
            if upload is not None:
                raise UploadBusy
            upload = self._uploads[upload_id] = _Upload()
        elif upload is None:
            raise BlobUploadUnknown
        elif upload.held:
            raise UploadBusy
        return MemoryStaging(self._uploads, upload_id, upload)

    async def commit(self, staging: Staging, digest: Digest) -> str:
        if not isinstance(staging, MemoryStaging):
            raise TypeError("this upload was staged by another store")
        location = self.locate(digest)
        self._blobs[location] = (digest, staging.read(0, staging.size))
        staging.discard()
        return location

    async def delete(self, location: str) -> bool:
        return self._blobs.pop(location, None) is not None

    def list(self) -> Iterator[tuple[str, Digest, int]]:
        for location, (digest, data) in list(self._blobs.items()):
            yield location, digest, len(data)

    def staged(self) -> Iterator[tuple[str, int, float]]:
        for upload_id, upload in list(self._uploads.items()):
            yield upload_id, len(upload.data), upload.changed
