"""What `moorage adopt` says, and what it refuses in a sentence that says what to change."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.adopt.foreign import Foreign
from tests.content import Client
from tests.programs import need, need_root
from tests.servers import COMMAND, Moorage

LAYER = b"layer " * 100
SECONDS = 120


@pytest.fixture
def foreign(tmp_path: Path) -> Foreign:
    """A volume with one image."""
    foreign = Foreign(tmp_path / "data")
    foreign.image("team/app", "1", LAYER)
    return foreign


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may look into; pytest's own are closed again with each of its runs."""
    with tempfile.TemporaryDirectory(prefix="moorage-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def run(*arguments: object, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """`moorage adopt` with *arguments*."""
    command = [*prefix, str(COMMAND), "adopt", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)


def test_it_reports_and_then_does_it(foreign: Foreign) -> None:
    """First what there is, then what was done; and the second time that there is nothing to do."""
    first, second = run(foreign.data), run(foreign.data)

    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines() == [
        f"{foreign.data}: 1 repository, 1 tag, 1 manifest, 2 blobs (602 B), 5 link files",
        "taken over: 1 new repository, 1 new tag, 1 new manifest, 2 new blobs",
    ]
    assert second.stdout.splitlines()[-1] == "everything in the volume is known to Moorage"


@pytest.mark.parametrize("below", ["", "docker", "docker/registry", "docker/registry/v2"])
def test_a_folder_inside_is_understood(foreign: Foreign, below: str) -> None:
    """Whoever names the tree instead of the volume means the volume."""
    done = run("--dry-run", foreign.data / below)

    assert done.stdout.startswith(f"{foreign.data}: 1 repository")


def test_json_for_programs(foreign: Foreign) -> None:
    """Numbers, what was changed, and each finding with what is done about it."""
    Path(foreign.tag_path("team/app", "1")).write_bytes(b"")

    done = run("--json", foreign.data)

    told = json.loads(done.stdout)
    assert done.returncode == 5
    assert (told["done"], told["added"]["manifests"], told["bytes"]) == (True, 1, 602)
    assert [(finding["kind"], finding["harmless"]) for finding in told["findings"]] == [("tag_without_current", False)]


def test_beside_a_server_it_waits(tmp_path: Path) -> None:
    """What somebody put into the tree while a server runs is taken over when it is asked to."""
    with Moorage(tmp_path, users={}) as server:
        client = Client(server)
        client.push_image("mine", "1", LAYER)
        foreign = Foreign(server.data)
        digest = foreign.image("theirs", "1", LAYER)

        done = run(foreign.data)

        assert done.returncode == 0, done.stderr
        assert client.ask("HEAD", "/v2/theirs/manifests/1").header("docker-content-digest") == digest
        assert client.ask("HEAD", "/v2/mine/manifests/1").status == 200


def test_a_folder_without_a_volume(tmp_path: Path) -> None:
    """A path that holds no volume is named, and which one is meant."""
    done = run(tmp_path)

    assert done.returncode == 6
    assert "is no volume of a registry" in done.stderr
    assert "/var/lib/registry" in done.stderr


def test_a_volume_of_another_owner(foreign: Foreign) -> None:
    """Root leaves no files in a volume that belongs to somebody else."""
    need_root()
    shutil.chown(foreign.data, "nobody")

    done = run(foreign.data)

    assert done.returncode == 6
    assert f"{foreign.data} belongs to nobody: do it as that user, sudo -u nobody" in done.stderr
    assert not (foreign.data / "moorage").exists()


def test_a_volume_that_this_user_may_not_write(open_folder: Path) -> None:
    """Somebody else than the owner is told whose it is, and that a dry run would do."""
    need_root()
    foreign = Foreign(open_folder / "data")
    foreign.image("team/app", "1", LAYER)
    prefix = (need("setpriv"), "--reuid=nobody", "--clear-groups")

    done, dry = run(foreign.data, prefix=prefix), run("--dry-run", foreign.data, prefix=prefix)

    assert done.returncode == 6
    assert "cannot be written by this user: sudo -u root ...; --dry-run reports without writing" in done.stderr
    assert dry.returncode == 0, dry.stderr


def test_a_volume_that_is_mounted_read_only(foreign: Foreign) -> None:
    """It says so, and reports all the same."""
    need_root()
    mount = f"mount --bind {foreign.data} {foreign.data} && mount -o remount,ro,bind {foreign.data} && exec "
    prefix = (need("unshare"), "--mount", "sh", "-c", mount + '"$0" "$@"')

    done, dry = run(foreign.data, prefix=prefix), run("--dry-run", foreign.data, prefix=prefix)

    assert done.returncode == 6
    assert "is mounted read-only" in done.stderr
    assert dry.returncode == 0, dry.stderr
    assert "1 repository" in dry.stdout


def test_blobs_on_another_disk(foreign: Foreign) -> None:
    """A symbolic link out of the volume, to where uploads cannot be moved, is named."""
    need_root()
    elsewhere = Path("/dev/shm") / foreign.data.parent.name
    shutil.copytree(foreign.tree / "blobs", elsewhere)
    shutil.rmtree(foreign.tree / "blobs")
    os.symlink(elsewhere, foreign.tree / "blobs")

    try:
        done = run("--dry-run", foreign.data)
    finally:
        shutil.rmtree(elsewhere)

    assert done.returncode == 6
    assert f"{foreign.tree}/blobs points to {elsewhere}, on another file system" in done.stderr


def test_a_volume_of_a_newer_moorage(foreign: Foreign) -> None:
    """A database whose schema this program does not know is left alone."""
    assert run(foreign.data).returncode == 0
    with closing(sqlite3.connect(foreign.data / "moorage" / "moorage.db")) as connection:
        connection.execute("UPDATE schema_version SET version_num = '9999'")
        connection.commit()

    done = run(foreign.data)

    assert done.returncode == 4
    assert "was made by a newer Moorage (its schema is 9999" in done.stderr
