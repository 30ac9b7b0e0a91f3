"""Storage under faults: each scenario is an operation, run once for every system call in it, while that call fails.

Run under the library of `faults.c` as `python -m tests.faults.scenarios NAME FOLDER ACTION`, where ACTION is an errno's
number, or 0 for death by SIGKILL. Every call the operation makes fails in turn, until a run in which none did. After
each run, with nothing failing any more, the scenario's invariants are asserted. Without an ACTION the operation runs
once, under the rules that are there.
"""

from __future__ import annotations

import asyncio
import os
import sys
from abc import ABC, abstractmethod
from pathlib import Path

from moorage.durable import fsync_directory, write_file
from moorage.errors import BlobUnknown, BlobUploadUnknown, StartRefused, StorageFull, Unavailable
from moorage.oci.digest import Digest
from moorage.oci.name import parse_name
from moorage.oci.reference import parse_tag
from moorage.storage.links import ClassicLinks
from tests.faults.injection import KILL, Faults
from tests.storage.stores import filesystem, push, read

PIECES = (b"first" * 1000, b"second" * 1000, b"third" * 1000)
DATA = b"".join(PIECES)
DIGEST = Digest.of(DATA)
UPLOAD = "u" * 32
NAME, TAG = parse_name("team/app"), parse_tag("latest")
MOST_CALLS = 500


class Scenario(ABC):
    """One operation on *folder*, which is new for every run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """What is there before, made without faults."""
        return

    @abstractmethod
    def operate(self) -> None:
        """The operation; it may raise what its contract names."""

    @abstractmethod
    def check(self, *, succeeded: bool) -> None:
        """What must hold afterwards, with nothing failing any more."""


def make_most_shards(folder: Path) -> None:
    """All directories of the first blob's making but three: that each of 256 fails alike needs no showing."""
    blobs = folder / "docker/registry/v2/blobs/sha256"
    blobs.mkdir(parents=True)
    for name in {f"{number:02x}" for number in range(256)} - {DIGEST.hex[:2], "00", "ff"}:
        (blobs / name).mkdir()
    for made in (blobs, *list(blobs.parents)[: len(blobs.parents) - len(folder.parents)]):
        fsync_directory(made)


class Push(Scenario):
    """A blob in three pieces, by two holders."""

    def prepare(self) -> None:
        make_most_shards(self.folder)

    def operate(self) -> None:
        store = filesystem(self.folder)
        with store.stage(UPLOAD, new=True) as staging:
            for piece in PIECES[:2]:
                staging.write(piece)
        with store.stage(UPLOAD, new=False) as staging:
            staging.write(PIECES[2])
            asyncio.run(store.commit(staging, DIGEST))

    def check(self, *, succeeded: bool) -> None:
        store = filesystem(self.folder)
        location = store.locate(DIGEST)
        if succeeded or store.stat(location) is not None:
            assert read(store, location) == DATA
        self.go_on()
        assert read(store, location) == DATA
        assert push(store, DATA) == location
        assert [(found, size) for found, _, size in store.list()] == [(location, len(DATA))]
        for upload, _, _ in list(store.staged()):
            store.stage(upload, new=False).discard()
        self.is_tidy(store.locate(DIGEST))

    def go_on(self) -> None:
        """What a client does who was told of a failure: send the rest of the upload, or all of it if that is gone."""
        store = filesystem(self.folder)
        try:
            staging = store.stage(UPLOAD, new=False)
        except BlobUploadUnknown:
            push(store, DATA)
            return
        with staging:
            held = staging.read(0, len(DATA) + 1)
            assert len(held) == staging.size
            assert DATA.startswith(held)
            staging.write(DATA[len(held) :])
            asyncio.run(store.commit(staging, DIGEST))

    def is_tidy(self, location: str) -> None:
        """Nothing lies about but that blob; empty files of the check at start may, where it was killed."""
        files = {
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if path.is_file() and path.stat().st_size
        }
        assert files == {f"docker/registry/v2/{location}"}


class FailedFlush(Scenario):
    """A commit whose data cannot be flushed, once: what the kernel dropped must not be committed by a second try."""

    def operate(self) -> None:
        store = filesystem(self.folder)
        with store.stage(UPLOAD, new=True) as staging:
            staging.write(DATA)
            try:
                asyncio.run(store.commit(staging, DIGEST))
            except Unavailable:
                pass
            else:
                raise AssertionError("the flush did not fail")
        try:
            with store.stage(UPLOAD, new=False) as staging:
                assert staging.size == 0
        except BlobUploadUnknown:
            pass
        assert store.stat(store.locate(DIGEST)) is None

    def check(self, *, succeeded: bool) -> None:
        return


class PushAgain(Push):
    """The same over a blob that is there: at no time may that be lost."""

    def prepare(self) -> None:
        push(filesystem(self.folder), DATA)

    def check(self, *, succeeded: bool) -> None:
        store = filesystem(self.folder)
        assert read(store, store.locate(DIGEST)) == DATA
        super().check(succeeded=succeeded)


class PushOverGarbage(Push):
    """The same over bytes that are wrong: they give way, once the operation has succeeded."""

    def prepare(self) -> None:
        make_most_shards(self.folder)
        store = filesystem(self.folder)
        path = self.folder / "docker/registry/v2" / store.locate(DIGEST)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"garbage")

    def check(self, *, succeeded: bool) -> None:
        store = filesystem(self.folder)
        assert read(store, store.locate(DIGEST)) in ((DATA,) if succeeded else (DATA, b"garbage"))
        self.go_on()
        super().check(succeeded=True)


class Delete(Scenario):
    """A blob is deleted."""

    def prepare(self) -> None:
        push(filesystem(self.folder), DATA)

    def operate(self) -> None:
        store = filesystem(self.folder)
        assert asyncio.run(store.delete(store.locate(DIGEST))) is True

    def check(self, *, succeeded: bool) -> None:
        store = filesystem(self.folder)
        location = store.locate(DIGEST)
        if succeeded:
            assert store.stat(location) is None
        else:
            assert store.stat(location) in (None, len(DATA))
        asyncio.run(store.delete(location))
        assert list(store.list()) == []
        assert read(store, push(store, DATA)) == DATA


class Read(Scenario):
    """A blob is read."""

    def prepare(self) -> None:
        push(filesystem(self.folder), DATA)

    def operate(self) -> None:
        store = filesystem(self.folder)
        assert read(store, store.locate(DIGEST)) == DATA

    def check(self, *, succeeded: bool) -> None:
        self.operate()


class Discard(Scenario):
    """An upload is cut, and then dropped."""

    def prepare(self) -> None:
        with filesystem(self.folder).stage(UPLOAD, new=True) as staging:
            staging.write(DATA)

    def operate(self) -> None:
        with filesystem(self.folder).stage(UPLOAD, new=False) as staging:
            staging.truncate(100)
            staging.discard()

    def check(self, *, succeeded: bool) -> None:
        store = filesystem(self.folder)
        left = [(upload, size) for upload, size, _ in store.staged() if size]
        assert left in ([], [(UPLOAD, 100)], [(UPLOAD, len(DATA))])
        if succeeded:
            assert left == []


class WriteFile(Scenario):
    """A file is replaced: it is the old one or the new one."""

    def prepare(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "file").write_bytes(b"old")

    def operate(self) -> None:
        try:
            write_file(self.folder / "file", DATA)
        except OSError as error:
            raise Unavailable from error

    def check(self, *, succeeded: bool) -> None:
        assert (self.folder / "file").read_bytes() in ((DATA,) if succeeded else (DATA, b"old"))
        self.operate()
        assert (self.folder / "file").read_bytes() == DATA


class Links(Scenario):
    """A batch of links is written and removed: whatever failed, doing it once more makes it right."""

    def prepare(self) -> None:
        self.folder.mkdir(parents=True)

    def operate(self) -> None:
        links = ClassicLinks(self.folder)
        other = Digest.of(b"other")
        links.put_layer(NAME, DIGEST)
        links.put_layer(NAME, other)
        links.put_manifest_blob(DIGEST, DATA)
        links.put_revision(NAME, DIGEST)
        links.put_tag(NAME, TAG, other)
        links.put_tag(NAME, TAG, DIGEST)
        links.put_tag(NAME, parse_tag("gone"), DIGEST)
        links.remove_layer(NAME, other)
        links.remove_tag(NAME, parse_tag("gone"))
        links.flush()

    def check(self, *, succeeded: bool) -> None:
        if not succeeded:
            self.operate()
        links = ClassicLinks(self.folder)
        assert list(links.repositories()) == [NAME]
        assert list(links.layers(NAME)) == list(links.revisions(NAME)) == [(DIGEST, DIGEST)]
        assert list(links.tags(NAME)) == [(TAG, DIGEST)]
        folder = self.folder / "blobs" / "sha256" / DIGEST.hex[:2] / DIGEST.hex
        assert (folder / "data").read_bytes() == DATA


SCENARIOS: dict[str, type[Scenario]] = {
    "push": Push,
    "push again": PushAgain,
    "push over garbage": PushOverGarbage,
    "failed flush": FailedFlush,
    "delete": Delete,
    "read": Read,
    "discard": Discard,
    "write file": WriteFile,
    "links": Links,
}


def operate(scenario: Scenario) -> bool:
    """Whether it succeeded; any error that is not in the contract is raised."""
    try:
        scenario.operate()
    except (StorageFull, Unavailable, StartRefused, BlobUnknown):
        return False
    return True


def operate_in_child(scenario: Scenario) -> bool:
    """The same in a process of its own, which may be killed."""
    child = os.fork()
    if child == 0:
        os._exit(0 if operate(scenario) else 1)
    return os.waitpid(child, 0)[1] == 0


def sweep(name: str, action: int, folder: Path) -> int:
    """Let each call in turn fail; how many there were."""
    faults = Faults.here()
    for number in range(MOST_CALLS):
        scenario = SCENARIOS[name](folder / str(number))
        scenario.prepare()
        before = faults.fired()
        descriptors = len(os.listdir("/proc/self/fd"))
        with faults.failing("*", action, f"{folder}/*", skip=number, count=1):
            succeeded = operate_in_child(scenario) if action == KILL else operate(scenario)
        fired = faults.fired() > before
        assert fired or succeeded, f"{name} fails without a fault"
        assert len(os.listdir("/proc/self/fd")) == descriptors, f"{name} leaves an open file at call {number}"
        try:
            scenario.check(succeeded=succeeded)
        except BaseException as error:
            failed = [call for call in faults.calls() if call.result == "fault"][-1:]
            error.add_note(f"{name}, call {number}, succeeded={succeeded}: {failed}")
            raise
        if not fired:
            return number
    raise AssertionError(f"{name} does not end")


def main(name: str, folder: Path, actions: list[str]) -> None:
    """Sweep once for each action and print how many calls there were, or run once."""
    for action in actions:
        sys.stdout.write(f"{sweep(name, int(action), folder)}\n")
    if not actions:
        scenario = SCENARIOS[name](folder)
        scenario.prepare()
        scenario.operate()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
