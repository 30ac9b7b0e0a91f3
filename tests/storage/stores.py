"""The blob stores that one suite runs against, and what both its styles need of them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path

from moorage.oci.digest import Digest
from moorage.storage.blobs import BlobStore
from moorage.storage.filesystem import FilesystemBlobStore
from moorage.storage.memory import MemoryBlobStore


def filesystem(folder: Path) -> FilesystemBlobStore:
    """A store on files, laid out below *folder* as a server lays out its data folder."""
    return FilesystemBlobStore(folder / "docker" / "registry" / "v2", folder / "moorage" / "uploads")


def memory(folder: Path) -> MemoryBlobStore:
    """A store in memory; *folder* is not used."""
    return MemoryBlobStore()


STORES: dict[str, Callable[[Path], BlobStore]] = {"filesystem": filesystem, "memory": memory}


def new_id() -> str:
    """An upload id that nobody has."""
    return secrets.token_hex(16)


def push(store: BlobStore, data: bytes, algorithm: str = "sha256") -> str:
    """Stage and commit *data*; its location."""
    with store.stage(new_id(), new=True) as staging:
        staging.write(data)
        return asyncio.run(store.commit(staging, Digest.of(data, algorithm)))


def read(store: BlobStore, location: str) -> bytes:
    """All bytes of a blob."""
    with store.open(location) as content:
        return content.read(0, content.size)
