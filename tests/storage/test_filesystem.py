"""What holds for blobs in files beyond the contract: their paths, locks between processes, and what may lie about."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from moorage.errors import BlobUnknown, BlobUploadUnknown, StartRefused, StorageFull, Unavailable, UploadBusy
from moorage.oci.digest import Digest
from moorage.storage.filesystem import FilesystemBlobStore
from tests.storage.stores import filesystem, new_id, push, read

HELLO = Digest.of(b"hello")
HELLO_512 = Digest.of(b"hello", "sha512")


@pytest.fixture
def store(tmp_path: Path) -> FilesystemBlobStore:
    """An empty store."""
    return filesystem(tmp_path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where its blobs lie."""
    return tmp_path / "docker" / "registry" / "v2"


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """Where its uploads lie."""
    return tmp_path / "moorage" / "uploads"


def names(folder: Path) -> list[str]:
    """Every file and folder below *folder*, without the shards, all made in advance, that are empty."""
    paths = folder.rglob("*")
    return sorted(str(path.relative_to(folder)) for path in paths if len(path.name) != 2 or any(path.iterdir()))


@pytest.mark.parametrize("digest", [HELLO, HELLO_512], ids=lambda digest: digest.algorithm)
def test_classic_layout(store: FilesystemBlobStore, root: Path, uploads: Path, digest: Digest) -> None:
    """A blob lies where the distribution registry looks for it, readable by all, and nothing else is left anywhere."""
    location = push(store, b"hello", digest.algorithm)

    folder = f"blobs/{digest.algorithm}"
    shard = f"{folder}/{digest.hex[:2]}"
    path = root / f"{shard}/{digest.hex}/data"
    assert location == f"{shard}/{digest.hex}/data"
    assert names(root) == ["blobs", folder, shard, f"{shard}/{digest.hex}", location]
    assert path.read_bytes() == b"hello"
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(uploads) == []


def test_deleted_blob_leaves_no_folder(store: FilesystemBlobStore, root: Path) -> None:
    """With a blob goes the folder that was its own."""
    location = push(store, b"hello")

    asyncio.run(store.delete(location))

    assert names(root) == ["blobs", "blobs/sha256"]


@pytest.mark.parametrize(
    "location",
    [
        "",
        "/etc/passwd",
        "../../../etc/passwd",
        f"blobs/sha256/00/{HELLO.hex}/data",
        f"blobs/sha256/{HELLO.hex[:2]}/{HELLO.hex}/data\n",
        f"blobs/sha256/{HELLO.hex[:2]}/{HELLO.hex}/../data",
        f"blobs/sha512/{HELLO.hex[:2]}/{HELLO.hex}/data",
        f"blobs/md5/{HELLO.hex[:2]}/{HELLO.hex}/data",
        f"blobs/sha256/{HELLO.hex[:2].upper()}/{HELLO.hex.upper()}/data",
    ],
)
def test_only_own_locations(store: FilesystemBlobStore, location: str) -> None:
    """What `locate` cannot have returned never becomes a path."""
    for call in (store.stat, store.open, lambda text: asyncio.run(store.delete(text))):
        with pytest.raises(ValueError, match="not a location"):
            call(location)


@pytest.mark.parametrize("digest", [Digest("sha256", "../" * 20), Digest("../x", HELLO.hex)])
def test_only_real_digests(store: FilesystemBlobStore, uploads: Path, digest: Digest) -> None:
    """A digest that no parser made is refused too, and the upload stays."""
    upload = new_id()

    with store.stage(upload, new=True) as staging, pytest.raises(ValueError, match="not a location"):
        asyncio.run(store.commit(staging, digest))

    assert names(uploads) == [upload]


def _symbolic_link(path: Path) -> None:
    path.with_name("elsewhere").write_bytes(b"secret")
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize("make", [_symbolic_link, Path.mkdir, os.mkfifo], ids=["symbolic link", "folder", "pipe"])
def test_only_plain_files(store: FilesystemBlobStore, root: Path, make: Callable[[Path], None]) -> None:
    """What lies in a blob's place and is no plain file is not there, and is not followed."""
    location = store.locate(HELLO)
    path = root / location
    path.parent.mkdir(parents=True)
    make(path)

    assert store.stat(location) is None
    assert list(store.list()) == []
    with pytest.raises(BlobUnknown):
        store.open(location)


@pytest.mark.parametrize("garbage", [b"", b"hellx", b"something longer"])
def test_garbage_is_replaced(store: FilesystemBlobStore, root: Path, garbage: bytes) -> None:
    """A commit puts the right bytes in the place of wrong ones, whatever left them there."""
    path = root / store.locate(HELLO)
    path.parent.mkdir(parents=True)
    path.write_bytes(garbage)

    location = push(store, b"hello")

    assert read(store, location) == b"hello"
    assert names(path.parent) == ["data"]


def test_strays_are_not_listed(store: FilesystemBlobStore, root: Path, uploads: Path) -> None:
    """Files and folders that are no blobs and no uploads are passed over by the listings."""
    location = push(store, b"hello")
    other = f"{(int(HELLO.hex[:2], 16) + 1) % 256:02x}"
    for stray in (
        f"blobs/sha256/{other}/{HELLO.hex}/data",
        f"blobs/sha256/{HELLO.hex[:2]}/{HELLO.hex[:40]}/data",
        f"blobs/sha256/zz/{HELLO.hex}/data",
        f"blobs/sha256/{other}/data",
        f"blobs/sha256/{other}/{other}{HELLO.hex[2:]}/something",
        f"blobs/md5/{HELLO.hex[:2]}/{HELLO.hex}/data",
    ):
        (root / stray).parent.mkdir(parents=True, exist_ok=True)
        (root / stray).write_bytes(b"stray")
    (uploads / "readme.txt").write_bytes(b"stray")

    assert [found for found, _, _ in store.list()] == [location]
    assert list(store.staged()) == []


def test_removed_folders_come_back(store: FilesystemBlobStore, root: Path) -> None:
    """A commit makes its folders anew when somebody has removed them since the last one."""
    asyncio.run(store.delete(push(store, b"hello")))
    (root / "blobs" / "sha256" / HELLO.hex[:2]).rmdir()

    location = push(store, b"hello")

    assert read(store, location) == b"hello"


def test_commits_and_deletes_at_once(store: FilesystemBlobStore) -> None:
    """A simultaneous delete takes a commit's folder away and at worst makes it fail, cleanly; alone, it succeeds."""
    location = store.locate(HELLO)
    done = threading.Event()

    def delete() -> None:
        while not done.is_set():
            asyncio.run(store.delete(location))

    deleter = threading.Thread(target=delete)
    deleter.start()
    try:
        for _ in range(60):
            with suppress(Unavailable):
                push(store, b"hello")
    finally:
        done.set()
        deleter.join()

    assert read(store, push(store, b"hello")) == b"hello"
    assert list(store.staged()) == []


HOLDER = """
import sys
from pathlib import Path
from tests.storage.stores import filesystem
staging = filesystem(Path(sys.argv[1])).stage(sys.argv[2], new=True)
staging.write(b"held")
print("held", flush=True)
sys.stdin.read()
"""


def test_lock_between_processes(store: FilesystemBlobStore, tmp_path: Path) -> None:
    """An upload that another process holds is busy, and free with every byte as soon as that process is killed."""
    upload = new_id()
    command = [sys.executable, "-c", HOLDER, str(tmp_path), upload]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()

        with pytest.raises(UploadBusy):
            store.stage(upload, new=False)
        holder.kill()
        holder.wait()

    with store.stage(upload, new=False) as staging:
        assert staging.read(0, 100) == b"held"


@pytest.mark.parametrize("end", ["commit", "discard"])
def test_nobody_gets_a_finished_upload(tmp_path: Path, end: str) -> None:
    """Who opens an upload just when it is committed or discarded does not get it, and cannot spoil the blob."""
    writer, thief = filesystem(tmp_path), filesystem(tmp_path)
    current = [""]
    stolen = []
    done = threading.Event()

    def steal() -> None:
        while not done.is_set():
            try:
                with thief.stage(current[0], new=False) as staging:
                    stolen.append(staging.size)
                    staging.write(b"spoilt")
            except (UploadBusy, BlobUploadUnknown):
                pass

    threads = [threading.Thread(target=steal) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(200):
            upload = new_id()
            with writer.stage(upload, new=True) as staging:
                current[0] = upload
                staging.write(b"%d" % number)
                if end == "commit":
                    asyncio.run(writer.commit(staging, Digest.of(b"%d" % number)))
                else:
                    staging.discard()
    finally:
        done.set()
        for thread in threads:
            thread.join()

    assert stolen == []
    assert all(Digest.of(read(writer, location)) == digest for location, digest, _ in writer.list())


def test_full_disk_in_the_middle_of_a_write(store: FilesystemBlobStore) -> None:
    """A write that the disk takes only in part leaves what was there before, and goes on once there is room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with store.stage(new_id(), new=True) as staging:
        staging.write(b"a" * 6000)

        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
        try:
            with pytest.raises(StorageFull):
                staging.write(b"b" * 4000)
            size = staging.size
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        staging.write(b"c" * 4000)
        location = asyncio.run(store.commit(staging, Digest.of(b"a" * 6000 + b"c" * 4000)))

    assert size == 6000
    assert read(store, location) == b"a" * 6000 + b"c" * 4000


def test_large_upload_while_the_disk_works_on_it(store: FilesystemBlobStore) -> None:
    """Beginning early to write an upload out changes nothing for its holders: closed it is free, and can be cut."""
    piece, upload = os.urandom(9 << 20), new_id()
    staging = store.stage(upload, new=True)
    for size in (len(piece), 100):
        staging.write(piece)
        staging.close()
        staging = store.stage(upload, new=False)
        staging.truncate(size)

    staging.write(piece[100:])
    staging.write(piece)
    location = asyncio.run(store.commit(staging, Digest.of(piece * 2)))

    assert read(store, location) == piece * 2


def _commit_in_child(store: FilesystemBlobStore) -> None:
    os._exit(0 if read(store, push(store, b"hello")) == b"hello" else 1)


def test_made_before_a_fork(store: FilesystemBlobStore) -> None:
    """A store that was made in the parent works in its children."""
    process = multiprocessing.get_context("fork").Process(target=_commit_in_child, args=(store,))

    process.start()
    process.join()

    assert process.exitcode == 0
    assert read(store, push(store, b"hello")) == b"hello"


def test_two_file_systems(tmp_path: Path) -> None:
    """Blobs and uploads on two file systems are refused at start."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system in /dev/shm")
    uploads = memory / f"moorage-test-{new_id()}"

    try:
        with pytest.raises(StartRefused, match="one file system"):
            FilesystemBlobStore(tmp_path / "root", uploads)
        assert names(uploads) == names(tmp_path / "root") == []
    finally:
        uploads.rmdir()


def test_unusable_folder(tmp_path: Path) -> None:
    """A folder that cannot be made is refused at start, by its name."""
    (tmp_path / "docker").write_bytes(b"a file in the way")

    with pytest.raises(StartRefused, match="docker"):
        filesystem(tmp_path)


def test_no_descriptor_is_left(store: FilesystemBlobStore, uploads: Path) -> None:
    """However an operation ends, it leaves no open file behind."""
    push(store, b"first, so that the threads run")
    before = len(os.listdir("/proc/self/fd"))

    location = push(store, b"hello")
    upload = new_id()
    with store.stage(upload, new=True) as staging:
        for new in (True, False):
            with pytest.raises(UploadBusy):
                store.stage(upload, new=new)
        (uploads / upload).unlink()
        with pytest.raises(ValueError, match="not a location"):
            asyncio.run(store.commit(staging, Digest("sha256", "x")))
    with pytest.raises(BlobUploadUnknown):
        store.stage(upload, new=False)
    with store.open(location) as content:
        content.read(0, 1)
    with pytest.raises(BlobUnknown):
        store.open(store.locate(HELLO_512))

    assert len(os.listdir("/proc/self/fd")) == before
