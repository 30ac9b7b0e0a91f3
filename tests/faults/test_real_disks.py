"""What no library has to fake: a file system that is really full, and folders that really may not be entered."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.content import Client, noise
from tests.faults.injection import Faults
from tests.faults.target import Target, new_blob, pull_blob, push_at_once, push_in_parts, push_manifest
from tests.programs import lacking, need, need_root
from tests.servers import Moorage

USERS = {"alice": "correct horse"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder for a server whose data folder is a file system of 24 MiB."""
    need_root()
    data = tmp_path / "server" / "data"
    data.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "moorage-test", data], check=False)
    if mounted.returncode != 0:
        lacking("file systems cannot be mounted here")
    try:
        yield data.parent
    finally:
        subprocess.run(["umount", "-l", data], check=True)


def fill(path: Path) -> None:
    """Write to *path* until nothing goes in any more."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (1 << 20, 4096, 1):
            with suppress(OSError):
                while True:
                    os.write(descriptor, b"\1" * size)
    finally:
        os.close(descriptor)


@pytest.fixture
def no_faults(fault_library: Path, tmp_path: Path) -> Faults:
    """For a target that needs none."""
    (tmp_path / "unused").mkdir()
    return Faults(fault_library, tmp_path / "unused")


def test_full_disk(small_disk: Path, no_faults: Faults) -> None:
    """Pushes to a full disk get 507, pulls go on, nothing half-done is left; with room again, all is well by itself."""
    with Moorage(small_disk, users=USERS) as server:
        target = Target(server, no_faults, Client(server, *next(iter(USERS.items()))))
        big = [push_at_once(target.client, noise(1_000_000, seed=seed)).status for seed in range(30)]
        fill(server.data / "filler")

        refused = [push(target.client, new_blob()) for push in (push_at_once, push_in_parts, push_manifest)]
        target.serves()
        left = list((server.data / "moorage" / "uploads").iterdir())
        (server.data / "filler").unlink()
        for blob in server.data.glob("docker/registry/v2/blobs/*/*/*/data"):
            if blob.stat().st_size == 1_000_000:
                blob.unlink()

        assert set(big) == {201, 507}
        assert big == sorted(big)
        assert [(answer.status, answer.codes) for answer in refused] == [(507, ["UNAVAILABLE"])] * 3
        assert left == []
        target.is_well()
        assert server.stop() == 0
        assert [line for line in target.log() if "traceback" in line] == []


def test_start_on_a_full_disk(small_disk: Path) -> None:
    """A server that cannot start for want of room says so in a sentence; with room it starts on what is there."""
    fill(small_disk / "data" / "filler")
    server = Moorage(small_disk, users=USERS)

    refused = subprocess.run(server.command(), capture_output=True, text=True, check=False, timeout=60)
    (small_disk / "data" / "filler").unlink()

    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr
    assert "No space left on device" in refused.stderr or "full" in refused.stderr
    with server:
        assert push_at_once(Client(server, *next(iter(USERS.items()))), new_blob()).status == 201


@pytest.mark.parametrize("place", ["moorage/uploads", "docker/registry/v2/blobs/sha256"])
def test_permission_lost(tmp_path: Path, no_faults: Faults, place: str) -> None:
    """A folder that may not be entered any more makes its requests fail with 503, and works again when it may."""
    # Root may enter everything unless it gives that up.
    prefix = [need("setpriv"), "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    with Moorage(tmp_path / "server", users=USERS, prefix=prefix) as server:
        target = Target(server, no_faults, Client(server, *next(iter(USERS.items()))))
        folder = server.data / place
        mode = folder.stat().st_mode

        folder.chmod(0)
        try:
            pushed = [push(target.client, new_blob()) for push in (push_at_once, push_in_parts)]
            tagged = push_manifest(target.client, new_blob())
            pulled = pull_blob(target.client, b"")
        finally:
            folder.chmod(mode)

        assert [(answer.status, answer.codes) for answer in pushed] == [(503, ["UNAVAILABLE"])] * 2
        assert tagged.status == 201
        assert pulled.status == (200 if "uploads" in place else 503)
        target.is_well()
