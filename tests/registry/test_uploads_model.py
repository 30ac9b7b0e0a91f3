"""Upload sessions against a plain model: several workers, requests that overlap, drop and die, restarts, power cuts."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moorage.errors import (
    BlobUnknown,
    BlobUploadUnknown,
    ClientGone,
    DigestInvalid,
    RangeInvalid,
    SizeInvalid,
    UploadBusy,
)
from moorage.metadata.database import Database
from moorage.metadata.migrate import bring_up_to_date
from moorage.metadata.open import open_database
from moorage.oci.digest import Digest
from moorage.registry.gates import Gates, Limits
from moorage.registry.uploads import Chunk, Uploads
from moorage.storage.blobs import BlobStore
from tests.registry.house import ALICE, REPOSITORY, House, Sent, StandingClock, cut_off
from tests.storage.stores import STORES

T = TypeVar("T")

WORKERS = 3
algorithms = st.sampled_from(["sha256", "sha512"])
pieces = st.lists(st.binary(max_size=4) | st.just(b"\0" * 5000), max_size=3)
workers = st.integers(0, WORKERS - 1)


class Gated:
    """A client whose pieces come one by one, when the test says so."""

    length = None

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self._pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._taken = asyncio.Event()

    async def receive(self, sink: Callable[[memoryview], None]) -> int:
        """See `ByteSource`."""
        received = 0
        self.began.set()
        while True:
            piece = await self._pieces.get()
            if isinstance(piece, Exception):
                raise piece
            if piece is None:
                return received
            sink(memoryview(piece))
            received += len(piece)
            self._taken.set()

    async def give(self, piece: bytes) -> None:
        """Send a piece; returns once it is taken in."""
        self._taken.clear()
        self._pieces.put_nowait(piece)
        await self._taken.wait()

    def end(self, error: Exception | None = None) -> None:
        """No more comes."""
        self._pieces.put_nowait(error)


@dataclass
class Running:
    """A request that has locked its session; *received* is what it has taken in so far."""

    task: asyncio.Task[Any]
    source: Gated
    received: bytes
    digest: Digest | None


def one_of(data: st.DataObject, uploads: Iterable[str]) -> str:
    """One of them by its place, since their names are random."""
    known = list(uploads)
    return known[data.draw(st.integers(0, len(known) - 1))]


class UploadsModel(RuleBasedStateMachine):
    """Sessions and blobs as they should be, beside those that are."""

    kind = "memory"

    @initialize()
    def begin(self) -> None:
        """An empty registry."""
        self.folder = tempfile.TemporaryDirectory()
        data = Path(self.folder.name) / "data"
        shutil.copytree(_template(), data)
        self.runner = asyncio.Runner()
        self.store: BlobStore = STORES[self.kind](data)
        self.databases: list[Database] = [open_database(None, data) for _ in range(2)]
        self.house = House(data, self.store)
        self.clock = StandingClock()
        self.boot = 0
        self.make_workers()
        self.sessions: dict[str, bytes] = {}
        self.running: dict[str, Running] = {}
        self.blobs: dict[Digest, bytes] = {}
        self.ended: list[str] = []

    def make_workers(self) -> None:
        """New objects, which remember nothing."""
        self.workers = [
            Uploads(self.databases[number % 2], self.store, self.clock, Gates(), Limits(), f"boot {self.boot}")
            for number in range(WORKERS)
        ]

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it on the machine's loop, where running requests go on."""
        return self.runner.run(coroutine)

    def attempt(self, coroutine: Coroutine[Any, Any, object]) -> type[Exception] | None:
        """Run it; what it raised."""
        try:
            self.run(coroutine)
        except (BlobUploadUnknown, UploadBusy, RangeInvalid, SizeInvalid, DigestInvalid, ClientGone) as error:
            return type(error)
        return None

    def pick(self, data: st.DataObject) -> str:
        """Some session that is open."""
        return one_of(data, self.sessions)

    @rule(worker=workers, algorithm=algorithms)
    def open(self, worker: int, algorithm: str) -> None:
        """Begin a session."""
        if len(self.sessions) < 4:
            self.sessions[self.run(self.workers[worker].begin(REPOSITORY, ALICE, algorithm))] = b""

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), worker=workers, sent=pieces, announced=st.booleans(), gone=st.booleans())
    def append(self, data: st.DataObject, worker: int, sent: list[bytes], announced: bool, gone: bool) -> None:  # noqa: FBT001
        """A PATCH, perhaps of a client that goes away; refused while another request runs."""
        upload = self.pick(data)
        source = cut_off(*sent) if gone else Sent(*sent, announced=announced)

        raised = self.attempt(self.workers[worker].append(REPOSITORY, ALICE, upload, source, None))

        if upload in self.running:
            assert raised is UploadBusy
            return
        assert raised is (ClientGone if gone else None)
        self.sessions[upload] += b"".join(sent)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), worker=workers, sent=pieces, shift=st.integers(-1, 1), wrong=st.integers(-1, 1))
    def append_chunk(self, data: st.DataObject, worker: int, sent: list[bytes], shift: int, wrong: int) -> None:
        """A PATCH with a Content-Range that is right, or shifted, or of another length."""
        upload = self.pick(data)
        content = b"".join(sent)
        first = len(self.sessions[upload]) + shift
        last = first + len(content) + wrong - 1
        if first < 0 or last < first:
            return
        source = Sent(*sent, announced=False)

        raised = self.attempt(self.workers[worker].append(REPOSITORY, ALICE, upload, source, Chunk(first, last)))

        if upload in self.running:
            assert raised is UploadBusy
        elif shift:
            assert raised is RangeInvalid
        elif wrong:
            assert raised is SizeInvalid
        else:
            assert raised is None
            self.sessions[upload] += content

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), worker=workers, sent=pieces, algorithm=algorithms, right=st.booleans())
    def finish(self, data: st.DataObject, worker: int, sent: list[bytes], algorithm: str, right: bool) -> None:  # noqa: FBT001
        """A PUT, with the right digest or another; either ends the session."""
        upload = self.pick(data)
        content = self.sessions[upload] + b"".join(sent)
        digest = Digest.of(content if right else content + b"!", algorithm)

        raised = self.attempt(self.workers[worker].finish(REPOSITORY, ALICE, upload, digest, Sent(*sent), None))

        if upload in self.running:
            assert raised is UploadBusy
            return
        assert raised is (None if right else DigestInvalid)
        self.end(upload)
        if right:
            self.blobs[digest] = content

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), worker=workers)
    def cancel(self, data: st.DataObject, worker: int) -> None:
        """A DELETE."""
        upload = self.pick(data)

        raised = self.attempt(self.workers[worker].cancel(REPOSITORY, ALICE, upload))

        if upload in self.running:
            assert raised is UploadBusy
            return
        assert raised is None
        self.end(upload)

    def end(self, upload: str) -> None:
        """The session is over."""
        del self.sessions[upload]
        self.ended.append(upload)

    @precondition(lambda self: bool(set(self.sessions) - set(self.running)))
    @rule(data=st.data(), worker=workers, closes=st.booleans(), algorithm=algorithms, to_come=pieces)
    def start(self, data: st.DataObject, worker: int, closes: bool, algorithm: str, to_come: list[bytes]) -> None:  # noqa: FBT001
        """A PATCH or a PUT that takes its time; the PUT's client knows what it will have sent."""
        upload = one_of(data, [upload for upload in self.sessions if upload not in self.running])
        digest = Digest.of(self.sessions[upload] + b"".join(to_come), algorithm) if closes else None

        async def begin() -> Running:
            source, uploads = Gated(), self.workers[worker]
            if digest is None:
                request: Awaitable[object] = uploads.append(REPOSITORY, ALICE, upload, source, None)
            else:
                request = uploads.finish(REPOSITORY, ALICE, upload, digest, source, None)
            task = asyncio.ensure_future(request)
            began = asyncio.ensure_future(source.began.wait())
            await asyncio.wait({task, began}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            return Running(task, source, b"", digest)

        self.running[upload] = self.run(begin())

    def pick_running(self, data: st.DataObject) -> str:
        """Some session that a request is at work on."""
        return one_of(data, self.running)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), piece=st.binary(max_size=4))
    def give(self, data: st.DataObject, piece: bytes) -> None:
        """A piece comes."""
        running = self.running[self.pick_running(data)]
        self.run(running.source.give(piece))
        running.received += piece

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from(["done", "gone", "killed"]))
    def stop(self, data: st.DataObject, how: str) -> None:
        """The request comes to its end, its client goes, or its worker dies."""
        upload = self.pick_running(data)
        running = self.running.pop(upload)
        content = self.sessions[upload] + running.received

        async def ending() -> BaseException | None:
            if how == "killed":
                running.task.cancel()
            else:
                running.source.end(ClientGone("gone") if how == "gone" else None)
            with suppress(asyncio.CancelledError, ClientGone, DigestInvalid):
                await running.task
            return None if running.task.cancelled() else running.task.exception()

        raised = self.run(ending())
        if how == "killed":
            return
        if how == "gone" or running.digest is None:
            assert isinstance(raised, ClientGone) if how == "gone" else raised is None
            self.sessions[upload] = content
            return
        right = Digest.of(content, running.digest.algorithm) == running.digest
        assert raised is None if right else isinstance(raised, DigestInvalid)
        self.end(upload)
        if right:
            self.blobs[running.digest] = content

    @precondition(lambda self: not self.running)
    @rule(new_boot=st.booleans())
    def restart(self, new_boot: bool) -> None:  # noqa: FBT001
        """All workers are new, perhaps on a machine that was started anew."""
        self.boot += new_boot
        self.make_workers()

    @precondition(lambda self: self.sessions and not self.running)
    @rule(data=st.data(), fraction=st.floats(0, 1), zeros=st.booleans())
    def cut_power(self, data: st.DataObject, fraction: float, zeros: bool) -> None:  # noqa: FBT001
        """The last bytes of a session never reached the disk, or what did is not what was written."""
        upload = self.pick(data)
        content = self.sessions[upload]
        self.restart(new_boot=True)
        if not content:
            return
        with self.store.stage(upload, new=False) as staging:
            kept = content[: int(len(content) * fraction)]
            staging.truncate(len(kept))
            if zeros:
                kept = kept + b"\0" * (len(content) - len(kept))
                staging.write(kept[staging.size :])
        self.sessions[upload] = kept

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), worker=workers)
    def ask_for_an_old_one(self, data: st.DataObject, worker: int) -> None:
        """A session that is over stays unknown."""
        upload = one_of(data, self.ended)
        uploads = self.workers[worker]
        assert self.attempt(uploads.status(REPOSITORY, ALICE, upload)) is BlobUploadUnknown
        assert self.attempt(uploads.append(REPOSITORY, ALICE, upload, Sent(b"x"), None)) is BlobUploadUnknown
        assert (
            self.attempt(uploads.finish(REPOSITORY, ALICE, upload, Digest.of(b""), Sent(), None)) is BlobUploadUnknown
        )

    @rule(data=st.data(), worker=workers, content=st.binary(max_size=8), algorithm=algorithms)
    def push(self, data: st.DataObject, worker: int, content: bytes, algorithm: str) -> None:
        """A blob in one request."""
        digest = Digest.of(content, algorithm)
        self.run(self.workers[worker].push(REPOSITORY, digest, Sent(content)))
        self.blobs[digest] = content

    @invariant()
    def is_the_same(self) -> None:
        """Every session is as far as it should be, whoever is asked, and every blob is what was pushed."""
        if not hasattr(self, "sessions"):
            return
        for number, (upload, content) in enumerate(self.sessions.items()):
            worker = self.workers[number % WORKERS]
            assert self.run(worker.status(REPOSITORY, ALICE, upload)) == len(content)
        for digest, content in self.blobs.items():
            assert self.run(self.house.read(self.databases[0], digest)) == content
        with suppress(BlobUnknown):
            self.run(self.house.read(self.databases[0], Digest.of(b"nobody pushed this")))
            raise AssertionError("a blob that nobody pushed is there")

    def teardown(self) -> None:
        """Nothing is left of what was finished or cancelled."""
        if not hasattr(self, "runner"):
            return

        async def close() -> None:
            for running in self.running.values():
                running.task.cancel()
            await asyncio.gather(*(running.task for running in self.running.values()), return_exceptions=True)
            for database in self.databases:
                await database.close()

        self.run(close())
        self.runner.close()
        left = {upload for upload, _, _ in self.store.staged()}
        self.folder.cleanup()
        assert left <= set(self.sessions)


_made: list[tempfile.TemporaryDirectory[str]] = []


def _template() -> Path:
    """A data folder with an empty database; made once."""
    if not _made:
        _made.append(tempfile.TemporaryDirectory())
        asyncio.run(bring_up_to_date(None, Path(_made[0].name)))
    return Path(_made[0].name)


class FilesystemModel(UploadsModel):
    """The model beside files."""

    kind = "filesystem"


TestUploadsInMemory = UploadsModel.TestCase
TestUploadsInMemory.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestUploadsInFiles = FilesystemModel.TestCase
TestUploadsInFiles.settings = settings(max_examples=10, stateful_step_count=30, deadline=None)
