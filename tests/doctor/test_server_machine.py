"""The machine under the server, and machines that are containers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from moorage.doctor.server.machine import available_memory, look_at_clock, look_at_limits, look_at_programs
from moorage.doctor.server.running import Running
from tests.doctor.findings import bad, only
from tests.programs import lacking, need_root
from tests.servers import COMMAND, ROOT, Moorage

ANONYMOUS = "3f" * 32


def test_this_machine_is_well(tmp_path: Path) -> None:
    """Whoever runs the tests has a clock, files to open and memory."""
    (tmp_path / "file").touch()

    found = [*look_at_clock([tmp_path / "file"]), *look_at_limits(Running(None)), *look_at_programs()]

    assert bad(found) == []


def test_a_clock_that_went_back_is_seen_by_what_was_written(tmp_path: Path) -> None:
    """The database was written tomorrow: a board without a battery was started without a network."""
    file = tmp_path / "moorage.db"
    file.touch()
    tomorrow = time.time() + 86400
    os.utime(file, (tomorrow, tomorrow))

    one = only(look_at_clock([file, tmp_path / "none"]))

    assert f"{file} was written on" in one.what


@pytest.mark.parametrize("running", [False, True])
def test_few_open_files_are_a_warning(tmp_path: Path, *, running: bool) -> None:
    """The limit of the running server counts, where there is one, and else that of who would start it."""
    low = ["prlimit", "--nofile=1024:1024"]
    if running:
        with Moorage(tmp_path, users={}, prefix=low) as server:
            code = _limits(f"find_running(Folders(Path({str(server.data)!r})))")
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    else:
        command = [*low, sys.executable, "-c", _limits("Running(None)")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout.strip() == "warning the server may open 1024 files at most"


def _limits(running: str) -> str:
    return (
        "from pathlib import Path; from moorage.app import Folders;"
        "from moorage.doctor.server.running import Running, find_running;"
        "from moorage.doctor.server.machine import look_at_limits;"
        f"found = look_at_limits({running}); print(*(f'{{one.verdict.value}} {{one.what}}' for one in found))"
    )


def test_memory_is_told_in_bytes() -> None:
    """What programs can still have, and not what the machine has."""
    found = available_memory()

    assert found is not None
    assert 1 << 20 < found < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def in_container(folder: Path, data: Path, volume: Path | None) -> list[dict[str, Any]]:
    """What the doctor says of *data* where the root is a stack of layers, as engines make it, with *volume* at *data*.

    The lowest layer is this machine's own root, so that everything is there; what is written goes to a layer in memory.
    """
    need_root()
    for name in ("layers", "root"):
        (folder / name).mkdir()
    bind = f"mkdir -p {folder}/root{data} && mount --bind {volume} {folder}/root{data}" if volume else "true"
    script = f"""
        set -e
        mount --make-rprivate /
        mount -t tmpfs none {folder}/layers && mkdir {folder}/layers/upper {folder}/layers/work
        mount -t overlay overlay -o lowerdir=/,upperdir={folder}/layers/upper,workdir={folder}/layers/work {folder}/root
        mount --rbind /proc {folder}/root/proc && mount --rbind /dev {folder}/root/dev
        {bind}
        exec chroot {folder}/root "$@"
    """
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(COMMAND), "doctor", "--json", "--data", str(data)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HOME": "/nonexistent"}
    )
    if "mount:" in done.stderr:
        lacking(f"layers cannot be mounted here: {done.stderr.strip()[:200]}")
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return [one for one in found if one["verdict"] in {"wrong", "warning"} and one["step"] == "folder"]


def test_data_in_a_containers_own_layer_are_named(tmp_path: Path) -> None:
    """`docker run` without -v: everything goes with the container."""
    (one,) = in_container(tmp_path, Path("/var/lib/moorage-test"), None)

    assert one["verdict"] == "wrong"
    assert "/var/lib/moorage-test is no volume: it lies in the container's own layer" in one["what"]
    assert one["remedy"] == ["docker run -v moorage:/var/lib/moorage-test ..."]


def test_a_volume_without_a_name_is_named(tmp_path: Path) -> None:
    """What an image's VOLUME makes by itself."""
    volume = tmp_path / "volumes" / ANONYMOUS / "_data"
    volume.mkdir(parents=True)

    (one,) = in_container(tmp_path, Path("/var/lib/moorage-test"), volume)

    assert one["verdict"] == "warning"
    assert "is a volume without a name" in one["what"]


def test_a_volume_with_a_name_is_well(tmp_path: Path) -> None:
    """As it should be."""
    volume = tmp_path / "volumes" / "moorage" / "_data"
    volume.mkdir(parents=True)

    assert in_container(tmp_path, Path("/var/lib/moorage-test"), volume) == []
