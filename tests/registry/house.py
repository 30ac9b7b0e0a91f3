"""A registry without a server: its parts on real stores and a real database, and what a client sends them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from moorage.errors import ClientGone
from moorage.metadata.database import Database
from moorage.metadata.open import open_database
from moorage.oci.digest import Digest
from moorage.oci.media_types import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from moorage.oci.name import parse_name
from moorage.registry.browse import Browse
from moorage.registry.delete import Delete
from moorage.registry.gates import Gates, Limits
from moorage.registry.pull import Pull
from moorage.registry.push import Push
from moorage.registry.recent import RecentBytes
from moorage.registry.uploads import Uploads
from moorage.registry.validation import Validation
from moorage.storage.blobs import BlobStore
from moorage.storage.memory import MemoryBlobStore

T = TypeVar("T")

REPOSITORY = parse_name("lib/base")
OTHER = parse_name("lib/other")
EVERYWHERE = (("", None),)
ALICE, BOB = "users:alice", "users:bob"
BOOT = "this boot"


class StandingClock:
    """A clock that moves by a microsecond each time somebody looks."""

    def __init__(self) -> None:
        self.time = 1_000_000

    def now(self) -> int:
        """Microseconds."""
        self.time += 1
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Return at once, later."""
        self.time += int(seconds * 1_000_000)


class Sent:
    """What a client sends in one request: *pieces*, and then its end, or *then*, what goes wrong."""

    def __init__(self, *pieces: bytes, announced: bool = True, then: Exception | None = None) -> None:
        self._pieces = pieces
        self._then = then
        self.length = sum(len(piece) for piece in pieces) if announced else None

    async def receive(self, sink: Callable[[memoryview], None]) -> int:
        """See `ByteSource`."""
        for piece in self._pieces:
            await asyncio.sleep(0)
            sink(memoryview(piece))
        if self._then is not None:
            raise self._then
        return sum(len(piece) for piece in self._pieces)


def cut_off(*pieces: bytes) -> Sent:
    """A client that goes away in the middle."""
    return Sent(*pieces, announced=False, then=ClientGone("gone"))


@dataclass
class House:
    """One registry, as many workers of it as are asked for."""

    data: Path
    store: BlobStore = field(default_factory=MemoryBlobStore)
    clock: StandingClock = field(default_factory=StandingClock)
    gates: Gates = field(default_factory=Gates)
    limits: Limits = field(default_factory=Limits)
    validation: Validation = field(default_factory=Validation)

    def run(self, scenario: Callable[[Database], Awaitable[T]]) -> T:
        """Run *scenario* in an event loop of its own."""

        async def main() -> T:
            database = open_database(None, self.data)
            try:
                return await scenario(database)
            finally:
                await database.close()

        return asyncio.run(main())

    def uploads(self, database: Database, boot: str = BOOT) -> Uploads:
        """A worker's uploads; another boot is after the machine was started anew."""
        return Uploads(database, self.store, self.clock, self.gates, self.limits, boot)

    def push(self, database: Database) -> Push:
        """Pushes of manifests."""
        return Push(database, self.clock, self.gates, self.limits, self.validation)

    def pull(self, database: Database) -> Pull:
        """Pulls."""
        return Pull(database, self.store, RecentBytes(1 << 20, 1 << 10))

    def browse(self, database: Database) -> Browse:
        """Lists."""
        return Browse(database)

    def delete(self, database: Database) -> Delete:
        """Deletes."""
        return Delete(database, self.clock, self.gates)

    async def put_blob(self, database: Database, data: bytes, repository: str = REPOSITORY) -> Digest:
        """Push a blob in one request."""
        digest = Digest.of(data)
        await self.uploads(database).push(parse_name(repository), digest, Sent(data))
        return digest

    async def put(
        self, database: Database, document: dict[str, Any], *tags: str, repository: str = REPOSITORY
    ) -> Digest:
        """Push a manifest by its digest, and name it."""
        body = encode(document)
        digest = Digest.of(body)
        names: Any = tags
        await self.push(database).manifest(parse_name(repository), digest, document["mediaType"], body, names, ALICE)
        return digest

    async def read(self, database: Database, digest: Digest, repository: str = REPOSITORY) -> bytes:
        """A blob's bytes, as that repository sees it."""
        pull = self.pull(database)
        content = pull.content(await pull.blob(parse_name(repository), digest))
        if isinstance(content, bytes):
            return content
        with content:
            return content.read(0, content.size)


def encode(document: dict[str, Any]) -> bytes:
    """The JSON that is pushed."""
    return json.dumps(document).encode("utf-8")


def descriptor(data: bytes, media_type: str = OCI_LAYER, **more: Any) -> dict[str, Any]:
    """The descriptor of *data*."""
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data), **more}


def image(config: bytes, *layers: bytes, **more: Any) -> dict[str, Any]:
    """An image manifest; *more* replaces or adds members."""
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, OCI_CONFIG),
        "layers": [descriptor(layer) for layer in layers],
        **more,
    }


def index(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An image index; *more* replaces or adds members."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries), **more}
