"""Blob stores against a plain model: whatever is done in whatever order, both hold the same."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moorage.errors import BlobUnknown, BlobUploadUnknown, UploadBusy
from moorage.oci.digest import Digest
from moorage.storage.blobs import BlobStore, Staging
from tests.storage.stores import STORES, read

# Few ids and small pieces, so that collisions and equal blobs come up.
uploads = st.sampled_from([letter * 32 for letter in "abc"])
pieces = st.binary(max_size=3) | st.sampled_from([b"\0" * 4096, b"\0" * 70000])
fractions = st.floats(0, 1)


class BlobStoreModel(RuleBasedStateMachine):
    """One store, with all that it should hold in three dictionaries."""

    kind = ""

    @initialize()
    def begin(self) -> None:
        """An empty store."""
        self.folder = tempfile.TemporaryDirectory()
        self.store: BlobStore = STORES[self.kind](Path(self.folder.name))
        self.staged: dict[str, bytes] = {}
        self.held: dict[str, Staging] = {}
        self.blobs: dict[str, bytes] = {}

    @rule(upload=uploads)
    def stage_new(self, upload: str) -> None:
        """Begin an upload; refused where one is."""
        try:
            self.held[upload] = self.store.stage(upload, new=True)
        except UploadBusy:
            assert upload in self.staged
        else:
            assert upload not in self.staged
            self.staged[upload] = b""

    @rule(upload=uploads)
    def stage_old(self, upload: str) -> None:
        """Go on with an upload; refused where it is held, unknown where there is none."""
        try:
            staging = self.store.stage(upload, new=False)
        except UploadBusy:
            assert upload in self.held
        except BlobUploadUnknown:
            assert upload not in self.staged
        else:
            assert upload in self.staged
            assert upload not in self.held
            self.held[upload] = staging

    @precondition(lambda self: self.held)
    @rule(data=st.data(), piece=pieces)
    def write(self, data: st.DataObject, piece: bytes) -> None:
        """Append."""
        upload = data.draw(st.sampled_from(sorted(self.held)))
        self.held[upload].write(piece)
        self.staged[upload] += piece

    @precondition(lambda self: self.held)
    @rule(data=st.data(), fraction=fractions)
    def truncate(self, data: st.DataObject, fraction: float) -> None:
        """Cut."""
        upload = data.draw(st.sampled_from(sorted(self.held)))
        size = int(len(self.staged[upload]) * fraction)
        self.held[upload].truncate(size)
        self.staged[upload] = self.staged[upload][:size]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), end=st.sampled_from(["close", "discard", "commit"]))
    def finish(self, data: st.DataObject, end: str) -> None:
        """Let go of an upload, in one of three ways."""
        upload = data.draw(st.sampled_from(sorted(self.held)))
        staging = self.held.pop(upload)
        if end == "close":
            staging.close()
            return
        content = self.staged.pop(upload)
        if end == "discard":
            staging.discard()
        else:
            self.blobs[asyncio.run(self.store.commit(staging, Digest.of(content)))] = content

    @precondition(lambda self: self.blobs)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """Delete a blob, and once more."""
        location = data.draw(st.sampled_from(sorted(self.blobs)))
        del self.blobs[location]
        assert asyncio.run(self.store.delete(location)) is True
        assert asyncio.run(self.store.delete(location)) is False
        try:
            self.store.open(location)
        except BlobUnknown:
            return
        raise AssertionError("a deleted blob can be opened")

    @invariant()
    def holds_the_same(self) -> None:
        """Sizes, bytes and listings are those of the model."""
        if not hasattr(self, "store"):
            return
        for upload, staging in self.held.items():
            assert staging.size == len(self.staged[upload])
            assert staging.read(0, staging.size + 1) == self.staged[upload]
        assert {upload: size for upload, size, _ in self.store.staged()} == {
            upload: len(content) for upload, content in self.staged.items()
        }
        assert {location: size for location, _, size in self.store.list()} == {
            location: len(content) for location, content in self.blobs.items()
        }
        for location, content in self.blobs.items():
            assert read(self.store, location) == content

    def teardown(self) -> None:
        """Release what is held."""
        for staging in getattr(self, "held", {}).values():
            staging.close()
        if hasattr(self, "folder"):
            self.folder.cleanup()


class FilesystemModel(BlobStoreModel):
    """The model beside the store on files."""

    kind = "filesystem"


class MemoryModel(BlobStoreModel):
    """The model beside the store in memory."""

    kind = "memory"


_SETTINGS = settings(max_examples=40, stateful_step_count=40, deadline=None)

TestFilesystemModel = FilesystemModel.TestCase
TestFilesystemModel.settings = _SETTINGS
TestMemoryModel = MemoryModel.TestCase
TestMemoryModel.settings = _SETTINGS
