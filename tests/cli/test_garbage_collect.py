from __future__ import annotations

import os
from pathlib import Path

import pytest

from moorage.app import Application
from moorage.cli import main
from moorage.durable import FolderLock
from moorage.metadata import bulk
from moorage.oci.digest import Digest
from tests.cli.conftest import Command
from tests.content import Client, encode, image, noise
from tests.servers import Moorage
from tests.volumes import (
    CONFIG,
    DEMO,
    IMAGE,
    IMAGE_DIGEST,
    LAYER,
    MULTI,
    OTHER,
    OTHER_IMAGE,
    SHARED,
    SIGNATURE,
    Volume,
    push,
    write_links,
)

LONELY = noise(70_000, 77)
STRAY = noise(9_000, 78)
UNTAGGED = encode(image(CONFIG, LONELY))


def test_a_volume_in_use_has_nothing_to_collect(volume: Volume, moorage: Command) -> None:
    """Everything that is tagged, named by an index or refers to either stays, also with --delete-untagged."""
    before = volume.files()

    result = moorage("garbage-collect", "--delete-untagged")

    assert result == (
        0,
        "4 blobs marked, 0 blobs and 0 manifests eligible for deletion\nremoved 0 blobs and 0 manifests, freed 0 B\n",
        "",
    )
    assert volume.files() == before


def test_what_a_deleted_manifest_held_goes(volume: Volume, moorage: Command) -> None:
    """A manifest's own blobs and its body are removed, what others share stays, and the volume is sound after."""
    moorage("rm", "--yes", f"{DEMO}@{Digest.of(MULTI)}")
    moorage("rm", "--yes", f"{DEMO}@{IMAGE_DIGEST}")
    moorage("rm", "--yes", f"{DEMO}@{Digest.of(SIGNATURE)}")

    result = moorage("garbage-collect")

    assert result.code == 0, result
    assert [volume.blob(data).exists() for data in (LAYER, CONFIG, IMAGE, MULTI, SIGNATURE)] == [False] * 5
    assert [volume.blob(data).exists() for data in (SHARED, OTHER_IMAGE, b"{}")] == [True] * 3
    assert not volume.link(DEMO, "_layers", SHARED).exists()
    assert moorage("check").code == 0


@pytest.mark.parametrize(("option", "stays"), [((), True), (("--delete-untagged",), False)])
def test_untagged_manifests_go_only_when_asked_for(
    volume: Volume, moorage: Command, option: tuple[str, ...], *, stays: bool
) -> None:
    """A manifest that lost its tag is kept with its blobs, unless untagged ones are to go."""
    volume.run(lambda application: push(application, DEMO, str(Digest.of(UNTAGGED)), CONFIG, LONELY, UNTAGGED))

    result = moorage("garbage-collect", *option)

    assert result.code == 0
    assert [volume.blob(data).exists() for data in (LONELY, UNTAGGED)] == [stays, stays]
    assert (f"manifest eligible for deletion: {DEMO}@{Digest.of(UNTAGGED)}" in result.out) != stays
    assert volume.blob(LAYER).exists()
    assert moorage("check").code == 0


def test_a_dry_run_tells_the_same_and_changes_nothing(volume: Volume, moorage: Command) -> None:
    """What --dry-run names is what is removed then, down to the bytes."""
    volume.run(lambda application: push(application, DEMO, str(Digest.of(UNTAGGED)), CONFIG, LONELY, UNTAGGED))
    volume.run(write_links)
    before = volume.files()

    dry = moorage("garbage-collect", "-d", "-m")
    untouched = volume.files()
    real = moorage("garbage-collect", "-m")

    assert untouched == before
    assert dry.out.splitlines()[:-1] == real.out.splitlines()[:-1]
    assert dry.out.splitlines()[-1].startswith("a dry run: nothing was removed; it would free ")
    assert sum(map(len, before.values())) - sum(map(len, volume.files().values())) >= len(LONELY) + len(UNTAGGED)


def test_a_dry_run_leaves_links_that_are_due(volume: Volume, moorage: Command) -> None:
    """What the link tree has yet to learn it learns from whoever writes; a dry run writes no file."""
    volume.run(lambda application: push(application, DEMO, "new", CONFIG, LONELY, UNTAGGED))
    before = volume.files()

    result = moorage("garbage-collect", "-d")

    assert "0 blobs and 0 manifests eligible for deletion" in result.out
    assert volume.files() == before
    volume.run(write_links)
    assert volume.files() != before


def test_nothing_is_collected_from_half_a_volume(volume: Volume, moorage: Command) -> None:
    """While repositories of another registry's volume wait to be adopted, nobody knows what they use."""
    before = volume.files()

    async def wait(application: Application) -> None:
        await application.database.write(lambda transaction: bulk.add_unadopted(transaction, ["some", "more"]))

    volume.run(wait)
    results = [moorage("garbage-collect", *options) for options in (["-d"], [])]

    assert [result.code for result in results] == [6, 6]
    assert all("of this volume 2 repositories are yet to be taken over" in result.err for result in results)
    assert volume.files() == before


def test_files_that_a_crash_left_go(volume: Volume, moorage: Command) -> None:
    """A blob file without a row is removed too."""
    path = volume.blob(STRAY)
    path.parent.mkdir(parents=True)
    path.write_bytes(STRAY)

    result = moorage("garbage-collect", "--quiet")

    assert result.out.splitlines()[0] == "4 blobs marked, 1 blob and 0 manifests eligible for deletion"
    assert not path.exists()


def test_files_stay_where_the_tree_knows_more(volume: Volume, moorage: Command) -> None:
    """Link files of things that the database does not know keep every file: they may be somebody's registry."""
    path = volume.blob(STRAY)
    path.parent.mkdir(parents=True)
    path.write_bytes(STRAY)
    link = volume.link(DEMO, "_layers", STRAY)
    link.parent.mkdir(parents=True)
    link.write_text(str(Digest.of(STRAY)))

    result = moorage("garbage-collect")

    assert result.code == 5
    assert "had to stay" in result.err
    assert path.exists()


def test_a_blob_that_is_a_manifest_elsewhere_stays(volume: Volume, moorage: Command) -> None:
    """A blob that nothing uses has the bytes of a manifest that is: its file is that manifest's."""

    async def as_blob(application: Application) -> None:
        await push(application, OTHER, "copy", IMAGE, encode(image(IMAGE)))

    volume.run(as_blob)
    moorage("rm", "--yes", f"{OTHER}:copy")

    assert moorage("garbage-collect", "-m").code == 0
    assert volume.blob(IMAGE).exists()
    assert moorage("check").code == 0


def test_it_works_only_while_no_server_runs(volume: Volume, moorage: Command) -> None:
    """Beside a server it would take what is just being pushed: it says who has the folder."""
    with FolderLock(volume.data / "moorage" / "lock"):
        result = moorage("garbage-collect", "--dry-run")

    assert result.code == 4
    assert f"another server (process {os.getpid()})" in result.err


def test_it_goes_by_the_name_and_file_of_distribution(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`registry garbage-collect [options] config.yml` is the same, and finds the volume in that file."""
    config = tmp_path / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {volume.data}}}}}\nhttp: {{addr: ':0'}}\n"
    )
    monkeypatch.setattr("sys.argv", ["registry", "garbage-collect", "--dry-run", str(config)])

    with pytest.raises(SystemExit) as ended:
        main.registry()

    assert ended.value.code == 0
    assert "4 blobs marked, 0 blobs and 0 manifests eligible for deletion" in capsys.readouterr().out


@pytest.mark.slow
def test_a_swept_volume_serves_what_it_kept(volume: Volume, moorage: Command, tmp_path: Path) -> None:
    """After a sweep a server serves every manifest that stayed, and takes again what went."""
    moorage("rm", "--yes", f"{DEMO}@{IMAGE_DIGEST}")
    moorage("rm", "--yes", f"{DEMO}@{Digest.of(MULTI)}")
    moorage("garbage-collect", "-m")

    async def again(application: Application) -> None:
        await push(application, DEMO, "1", CONFIG, LAYER, SHARED, IMAGE)

    volume.run(again)

    assert volume.blob(LAYER).read_bytes() == LAYER
    with Moorage(tmp_path, users={}) as server:
        answer = Client(server).ask("GET", f"/v2/{DEMO}/blobs/{Digest.of(LAYER)}")
    assert (answer.status, answer.body) == (200, LAYER)
