"""A small volume, made without a server: for the tests of what works on volumes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from moorage.app import Application
from moorage.metadata.migrate import bring_up_to_date
from moorage.oci.digest import Digest
from moorage.oci.name import RepositoryName, parse_name
from moorage.oci.reference import parse_reference
from moorage.settings.model import Settings
from tests.content import INDEX, MANIFEST, encode, image, index, noise

T = TypeVar("T")

DEMO = parse_name("tools/demo")
OTHER = parse_name("other")
CONFIG = b'{"os":"linux","architecture":"amd64"}'
LAYER = noise(300_000, 1)
SHARED = noise(5_000, 2)
IMAGE = encode(image(CONFIG, LAYER, SHARED))
IMAGE_DIGEST = Digest.of(IMAGE)
MULTI = encode(index({"mediaType": MANIFEST, "digest": str(IMAGE_DIGEST), "size": len(IMAGE)}))
SIGNATURE = encode(
    image(
        b"{}",
        artifactType="application/example.signature",
        annotations={"by": "nobody"},
        subject={"mediaType": MANIFEST, "digest": str(IMAGE_DIGEST), "size": len(IMAGE)},
    )
)
OTHER_IMAGE = encode(image(b"{}", SHARED))


class Bytes:
    """A `ByteSource` of bytes that are all there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length: int | None = len(data)

    async def receive(self, sink: Callable[[memoryview], None]) -> int:
        sink(memoryview(self._data))
        return len(self._data)


@dataclass(frozen=True)
class Volume:
    """A data folder, and its database where that is not its SQLite file."""

    data: Path
    database: str | None = None

    @property
    def tree(self) -> Path:
        return self.data / "docker" / "registry" / "v2"

    def blob(self, data: bytes) -> Path:
        """The file of some content."""
        digest = Digest.of(data)
        return self.tree / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex / "data"

    def link(self, repository: RepositoryName, kind: str, data: bytes) -> Path:
        """The link file of a blob (`_layers`) or a manifest (`_manifests/revisions`)."""
        digest = Digest.of(data)
        return self.tree / "repositories" / repository / kind / digest.algorithm / digest.hex / "link"

    def tag(self, repository: RepositoryName, tag: str) -> Path:
        """The link file of a tag."""
        return self.tree / "repositories" / repository / "_manifests" / "tags" / tag / "current" / "link"

    def run(self, work: Callable[[Application], Awaitable[T]]) -> T:
        """Run *work* as one process of a server would."""

        async def main() -> T:
            application = Application(Settings(data=self.data, database=self.database))
            try:
                return await work(application)
            finally:
                await application.database.close()

        return asyncio.run(main())

    def sql(self, statement: str, *values: object) -> list[Any]:
        """Run SQL on the SQLite file as nobody should; foreign keys do not hold."""
        with closing(sqlite3.connect(self.data / "moorage" / "moorage.db")) as connection:
            rows = connection.execute(statement, values).fetchall()
            connection.commit()
        return rows

    def files(self) -> Mapping[str, bytes]:
        """All files of the classic tree."""
        return {str(path.relative_to(self.tree)): path.read_bytes() for path in self.tree.rglob("*") if path.is_file()}


async def push(application: Application, repository: RepositoryName, reference: str, *contents: bytes) -> None:
    """Push *contents*: blobs, and last their manifest."""
    registry = application.registry()
    *blobs, manifest = contents
    for data in blobs:
        await registry.uploads.push(repository, Digest.of(data), Bytes(data))
    media_type = INDEX if b'"manifests"' in manifest else MANIFEST
    parsed = parse_reference(reference)
    await registry.push.manifest(repository, parsed, media_type, manifest, [], "cli:test")


async def write_links(application: Application) -> None:
    """Let the link tree follow."""
    while await application.links().work_off():
        pass


def make_volume(data: Path, database: str | None = None) -> Volume:
    """A volume with two repositories, an index, a referrer and a shared blob, and its link tree."""

    async def fill(application: Application) -> None:
        await push(application, DEMO, "1", CONFIG, LAYER, SHARED, IMAGE)
        await push(application, DEMO, "latest", IMAGE)
        await push(application, DEMO, "multi", MULTI)
        await push(application, DEMO, str(Digest.of(SIGNATURE)), b"{}", SIGNATURE)
        await push(application, OTHER, "1", b"{}", SHARED, OTHER_IMAGE)
        await write_links(application)

    asyncio.run(bring_up_to_date(database, data))
    volume = Volume(data, database)
    volume.run(fill)
    return volume
