"""Ten thousand repositories; servers killed in the midst of them; a disk that is full."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from moorage.app import Application
from moorage.registry.adopt.findings import Report
from moorage.registry.adopt.volume import Comparison
from tests.adopt.foreign import Foreign
from tests.adopt.test_progress import catalog
from tests.adopt.volume import Adopted, at
from tests.content import Client
from tests.programs import lacking, need_root
from tests.servers import COMMAND, Moorage

MANY = 10_000
LINKS = 5
SECONDS = 300


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder that takes a hundred thousand files in seconds, where there is one."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="moorage-", dir=shared))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def name_of(number: int) -> str:
    """The repository of that number."""
    return f"team{number % 100:02}/app{number:05}"


def fill(data: Path, repositories: int) -> str:
    """So many repositories with the same image, of LINKS link files each; the manifest's digest."""
    foreign = Foreign(data)
    digest = foreign.image(name_of(0), "v1", b"a layer")
    first = foreign.tree / "repositories" / name_of(0)
    folders = [folder.relative_to(first) for folder in sorted(first.rglob("*")) if folder.is_dir()]
    files = [file.relative_to(first) for file in first.rglob("link")]
    assert len(files) == LINKS
    for number in range(1, repositories):
        repository = foreign.tree / "repositories" / name_of(number)
        os.makedirs(repository)
        for folder in folders:
            os.mkdir(repository / folder)
        for file in files:
            os.link(first / file, repository / file)
    return digest


def waiting(data: Path) -> int | None:
    """How many repositories are yet to be adopted; None before their names are known."""
    database = data / "moorage" / "moorage.db"
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as there:
        if there.execute("SELECT listed FROM link_tree").fetchone() == (1,):
            return int(there.execute("SELECT count(*) FROM unadopted").fetchone()[0])
    return None


def test_a_killed_server_goes_on(memory: Path) -> None:
    """Ten thousand repositories are adopted by a server, which is killed in the middle, and by the next one."""
    data = memory / "data"
    digest = fill(data, MANY)
    with Moorage(memory, users={}) as server:
        deadline = time.monotonic() + SECONDS
        while (left := waiting(data)) is None or left > MANY // 2:
            assert time.monotonic() < deadline, server.log_tail()
            time.sleep(0.01)
        server.kill()
    left = waiting(data)
    assert left is not None
    assert left > 0

    with Moorage(memory, users={}) as server:
        subprocess.run([COMMAND, "adopt", data], check=True, capture_output=True, timeout=SECONDS)
        client = Client(server)

        assert catalog(client) == sorted(name_of(number) for number in range(MANY))
        for number in range(0, MANY, 97):
            answer = client.ask("HEAD", f"/v2/{name_of(number)}/manifests/v1")
            assert answer.header("docker-content-digest") == digest
        assert server.stop() == 0
    assert at(data).adopt(thorough=True).changes == 0


def compare(volume: Adopted, *, dry_run: bool = False) -> Report:
    """One comparison."""

    async def work(application: Application) -> Report:
        return await Comparison(application.volume(), dry_run=dry_run, thorough=True).run()

    return volume.run(work)


def test_who_reads_ahead_reports_the_same(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process beside finds what the same process would have found, in a dry run and in an adoption."""
    volume = Adopted(memory / "data")
    fill(volume.data, 50)
    volume.image("hurt", "1", b"only here")
    os.truncate(volume.link_path("hurt", "_layers", volume.layer("hurt", b"another")), 0)
    volume.tag("hurt", "2", f"sha256:{'0' * 64}")
    volume.upload("hurt", "some", b"bytes")
    alone = compare(volume, dry_run=True)
    monkeypatch.setattr("moorage.registry.adopt.volume.is_worthwhile", lambda repositories: repositories > 0)

    beside, adopted = compare(volume, dry_run=True), compare(volume)

    assert alone.broken == 1
    assert (alone.counts.total(), alone.uploads, alone.links) == (2, 1, 50 * LINKS + 8)
    assert beside == alone
    adopted.blobs, adopted.bytes = alone.blobs, alone.bytes
    assert adopted == alone
    assert compare(volume).changes == 0


@pytest.mark.parametrize("program", ["/bin/false", "/nowhere"])
def test_who_cannot_read_ahead_reads_alone(memory: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Where the process beside ends early, or cannot be started, everything is adopted all the same."""
    volume = Adopted(memory / "data")
    fill(volume.data, 50)
    monkeypatch.setattr("moorage.registry.adopt.volume.is_worthwhile", lambda repositories: repositories > 0)
    monkeypatch.setattr(sys, "executable", program)

    assert compare(volume).added.tags == 50


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    need_root()
    data = tmp_path / "data"
    data.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "moorage-test", data], check=False).returncode != 0:
        lacking("file systems cannot be mounted here")
    try:
        yield data
    finally:
        subprocess.run(["umount", "-l", data], check=True)


@pytest.mark.parametrize("room", [0, 64 << 10, 1 << 20], ids=["none", "for the folder", "for a part"])
def test_a_full_disk_is_one_sentence(small_disk: Path, room: int) -> None:
    """Adoption onto a full disk says so and touches nothing in the volume; with room it goes on to the end."""
    fill(small_disk, 1500)
    tree = Foreign(small_disk).tree
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        free = os.statvfs(small_disk)
        file.write(bytes(free.f_bavail * free.f_frsize - room))

    refused = subprocess.run([COMMAND, "adopt", small_disk], check=False, capture_output=True, text=True, timeout=60)
    after = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    filler.unlink()
    subprocess.run([COMMAND, "adopt", small_disk], check=True, capture_output=True, timeout=60)

    assert refused.returncode not in {0, 1}
    (sentence,) = refused.stderr.splitlines()
    assert "full" in sentence or "No space left" in sentence, sentence
    assert after == before
    assert len(at(small_disk).repositories()) == 1500
    assert at(small_disk).adopt(thorough=True).changes == 0
