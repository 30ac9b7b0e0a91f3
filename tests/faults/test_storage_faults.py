"""Every system call that storage makes fails once, in every way: an honest error, no harm, and then all is well."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.injection import KILL, Call, Faults
from tests.faults.scenarios import SCENARIOS

ACTIONS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "killed": KILL}


def run(faults: Faults, *arguments: str) -> str:
    """What a program under faults printed; AssertionError with its words if it failed."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, **faults.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def not_durable(calls: list[Call], folder: Path) -> set[str]:
    """The paths below *folder* that a power cut after *calls* might lose, by what POSIX promises and no more.

    A file's bytes are safe after its fsync, a name after the fsync of its directory. AssertionError when a file got a
    new name while its bytes were not safe: after a crash the name might lead to nothing.
    """
    loose_bytes: set[str] = set()
    loose_names: set[str] = set()
    for call in calls:
        if call.result != "0":
            continue
        if call.name in {"write", "truncate"}:
            loose_bytes.add(call.path)
        if call.name in {"create", "mkdir", "unlink", "rmdir", "rename"}:
            loose_names.add(call.path)
        if call.name in {"rename", "link"}:
            assert call.path not in loose_bytes, f"{call.other} gets its name before its bytes are safe"
            loose_names.add(call.other)
            loose_bytes.discard(call.other)
        if call.name == "sync":
            loose_bytes.discard(call.path)
            loose_names = {path for path in loose_names if str(Path(path).parent) != call.path}
        if call.name == "syncfs":
            loose_bytes, loose_names = set(), set()
    return {path for path in loose_bytes | loose_names if Path(path).exists() and folder in Path(path).parents}


@pytest.mark.parametrize("name", ["push", "push again", "push over garbage", "write file"])
def test_nothing_acknowledged_is_lost_by_a_power_cut(faults: Faults, tmp_path: Path, name: str) -> None:
    """When the operation has returned, every byte and every name it made is flushed, and each in the right order."""
    folder = tmp_path / "run"
    faults.set(f"log 1 0 0 {folder}*")

    run(faults, "tests.faults.scenarios", name, str(folder))

    calls = faults.calls()
    assert {call.name for call in calls} >= {"create", "write", "sync", "rename"}
    assert not_durable(calls, folder) == set()


@pytest.mark.parametrize("then", ["", "unlink", "truncate"])
def test_failed_flush_is_not_tried_again(faults: Faults, tmp_path: Path, then: str) -> None:
    """An upload whose bytes the disk did not take is gone or empty, even where it cannot be removed or cut."""
    folder = tmp_path / "run"
    rules = [f"sync {errno.EIO} 0 1 {folder}/moorage/uploads/*"]
    if then:
        rules.append(f"{then} {errno.EIO} 0 -1 {folder}/moorage/uploads/{'u' * 32}")
    faults.set(*rules)

    run(faults, "tests.faults.scenarios", "failed flush", str(folder))

    assert [call.name for call in faults.calls() if call.result == "fault"] == ["sync", *filter(None, [then])]


def test_links_are_flushed_as_a_batch(faults: Faults, tmp_path: Path) -> None:
    """Links are safe after their flush, which is one call for all of them."""
    folder = tmp_path / "run"
    faults.set(f"log 1 0 0 {folder}*")

    run(faults, "tests.faults.scenarios", "links", str(folder))

    flushes = [call.name for call in faults.calls() if call.name in {"sync", "syncfs"}]
    assert flushes == ["syncfs"]


def test_volume_without_hard_links(faults: Faults, tmp_path: Path) -> None:
    """Where the file system has no hard links, links and manifests are written all the same."""
    folder = tmp_path / "run"
    faults.set(f"link {errno.EPERM} 0 -1 {folder}*")

    run(faults, "tests.faults.scenarios", "links", str(folder))

    assert faults.fired() == 1
    assert len(list(folder.glob("blobs/*/*/*/data"))) == 1


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "failed flush"])
def test_each_call_fails_once(faults: Faults, tmp_path: Path, name: str, action: str) -> None:
    """Whichever call fails or is the last, the operation raises what it may, and the scenario's invariants hold."""
    printed = run(faults, "tests.faults.scenarios", name, str(tmp_path / "run"), str(ACTIONS[action]))

    assert int(printed) >= 4, "hardly any call was seen"
