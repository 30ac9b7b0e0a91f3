"""The digest of an upload so far, kept between its requests."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from moorage.oci.digest import hasher

if TYPE_CHECKING:
    from hashlib import _Hash

    from moorage.storage.blobs import Staging

# Reading back is only for what another worker hashed, or a restart forgot. Arbitrary, but bounded.
_READ_BYTES = 1 << 20
_REMEMBERED = 1024


def digest_of(staging: Staging, algorithm: str, size: int) -> _Hash:
    """Hash the first *size* staged bytes; blocking, for a thread."""
    running = hasher(algorithm)
    offset = 0
    while offset < size:
        data = staging.read(offset, min(_READ_BYTES, size - offset))
        if not data:
            break
        running.update(data)
        offset += len(data)
    return running


class RunningDigests:
    """Hash objects of uploads that this process worked on, by upload and the offset they have reached.

    A hash object cannot leave its process: on another worker, or after a restart, the staged bytes are read again.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[str, tuple[int, _Hash]] = OrderedDict()

    def take(self, upload_id: str, offset: int) -> _Hash | None:
        """The hash object if it stands exactly at *offset*; it is the caller's from then on."""
        held = self._held.pop(upload_id, None)
        return held[1] if held is not None and held[0] == offset else None

    def keep(self, upload_id: str, offset: int, running: _Hash) -> None:
        """Remember it for the upload's next request."""
        self._held[upload_id] = (offset, running)
        if len(self._held) > _REMEMBERED:
            self._held.popitem(last=False)

    def drop(self, upload_id: str) -> None:
        """Forget the upload."""
        self._held.pop(upload_id, None)
