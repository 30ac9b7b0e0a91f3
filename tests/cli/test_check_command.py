from __future__ import annotations

import re
import shutil
import threading

import pytest

from moorage.durable import FolderLock
from moorage.oci.digest import Digest
from tests.cli.conftest import Command
from tests.cli.terminal import Terminal
from tests.content import Client, noise
from tests.servers import COMMAND, Moorage
from tests.volumes import DEMO, IMAGE_DIGEST, LAYER, MULTI, OTHER, Volume

READ = (
    "checked 2 repositories, 4 tags, 4 manifests, 4 blobs (297.9 KiB read back), 14 link files\neverything is in order"
)


def test_a_sound_volume_is_in_order(volume: Volume, moorage: Command) -> None:
    """What was looked at is told, and the exit code is 0."""
    assert moorage("check") == (0, f"{READ}\n", "")


def test_fast_reads_no_blob(volume: Volume, moorage: Command) -> None:
    """A fast check does not say that it has read anything back."""
    result = moorage("check", "--fast")

    assert result.code == 0
    assert "4 blobs, " in result.out


def test_damage_is_told_with_its_remedy(volume: Volume, moorage: Command) -> None:
    """A lost blob is named with its images and tags, a repair lets it be pushed again; it is 5 until then."""
    volume.blob(LAYER).unlink()

    found = moorage("check")
    repaired = moorage("check", "--repair")
    again = moorage("check")

    assert [result.code for result in (found, repaired, again)] == [5, 5, 5]
    assert found.out.splitlines()[:4] == [
        f"damaged   blob {Digest.of(LAYER)} is missing: there is no file {volume.blob(LAYER).relative_to(volume.tree)}",
        f"          needed by {DEMO}@{Digest.of(MULTI)}, tagged multi",
        f"          needed by {DEMO}@{IMAGE_DIGEST}, tagged 1, latest",
        "          with --repair the registry asks for it again; then push one of these from a machine that has it",
    ]
    assert found.err == "moorage: 1 thing is damaged, see above; --repair mends what can be mended\n"
    assert "the registry asks for this blob again" in repaired.out
    assert f"manifest {DEMO}@{IMAGE_DIGEST} names {Digest.of(LAYER)}" in again.out
    assert "moorage rm" in again.out


def test_what_is_repaired_counts_as_sound(volume: Volume, moorage: Command) -> None:
    """A repair that mends everything ends with 0 and says what it did; the next check has nothing to say."""
    volume.tag(DEMO, "latest").unlink()

    found = moorage("check")
    repaired = moorage("check", "--repair")

    assert (found.code, repaired.code) == (5, 0)
    assert repaired.out.splitlines()[0] == f"repaired  the link file of tag latest in {DEMO} is missing or wrong"
    assert repaired.out.endswith("everything is in order now\n")
    assert moorage("check").out == f"{READ}\n"


def test_many_things_alike_are_not_all_told(volume: Volume, moorage: Command) -> None:
    """Ten of each kind are enough for a person; --all tells of each."""
    shutil.rmtree(volume.tree / "repositories")

    short, long = moorage("check"), moorage("check", "--all")

    assert short.out.count("the link file of") == 10
    assert "and 4 more like these; --all tells of each" in short.out
    assert long.out.count("the link file of") == 14
    assert short.err == long.err == "moorage: 14 things are damaged, see above; --repair mends what can be mended\n"


def test_garbage_is_harmless(volume: Volume, moorage: Command) -> None:
    """Files that no row names are told, and the exit code is 0; a repair without a server removes them."""
    stray = volume.blob(b"stray")
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"stray")

    told, swept = moorage("check"), moorage("check", "--repair")

    assert (told.code, swept.code, stray.exists()) == (0, 0, False)
    assert told.out.startswith("harmless  1 blob file, 5 B, that no row names\n")
    assert "repaired  1 blob file, 5 B, that no row names" in swept.out


def test_files_stay_while_a_server_holds_the_folder(volume: Volume, moorage: Command) -> None:
    """Beside a server a repair removes no file, since one may be about to get its row."""
    stray = volume.blob(b"stray")
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"stray")

    with FolderLock(volume.data / "moorage" / "lock"):
        result = moorage("check", "--repair")

    assert (result.code, stray.exists()) == (0, True)
    assert "removes them while no server runs" in result.out


def test_a_folder_without_its_disk_is_told(volume: Volume, moorage: Command) -> None:
    """Where the images' folder is not there at all, nothing is made in its place."""
    shutil.rmtree(volume.tree)

    result = moorage("check", "--repair")

    assert (result.code, volume.tree.exists()) == (6, False)
    assert "is its disk mounted" in result.err


def test_progress_is_for_a_terminal_alone(volume: Volume, moorage: Command) -> None:
    """On a terminal a line tells how far it has come and how fast, and is gone in the end; elsewhere nothing is."""
    with Terminal([COMMAND, "check", "--data", volume.data], volume.data) as terminal:
        code = terminal.end()
    elsewhere = moorage("check")

    assert code == 0
    assert re.search(r"blobs +\d+%  .* of 297\.9 KiB, .*/s", terminal.text)
    assert terminal.text.rpartition("\x1b[K")[2] == f"{READ}\n"
    assert elsewhere.err == ""


@pytest.mark.slow
def test_a_check_beside_pushes_finds_nothing(tmp_path_factory: pytest.TempPathFactory, moorage: Command) -> None:
    """While clients push, re-tag and delete, what is in flight is no damage, whenever one looks."""
    with Moorage(tmp_path_factory.mktemp("server"), "--workers", "2", users={}) as server:
        stop = threading.Event()

        def push(number: int) -> None:
            client, turn = Client(server), 0
            while not stop.is_set():
                turn += 1
                digest = client.push_image(f"app{number}", f"v{turn % 3}", noise(20_000, number * 1000 + turn))
                if turn % 4 == 0:
                    client.ask("DELETE", f"/v2/app{number}/manifests/{digest}")

        pushers = [threading.Thread(target=push, args=(number,)) for number in range(3)]
        for pusher in pushers:
            pusher.start()
        try:
            results = [moorage("check", "--data", server.data) for _ in range(4)]
        finally:
            stop.set()
            for pusher in pushers:
                pusher.join()
        server.stop()
        afterwards = moorage("check", "--data", server.data)

    assert [(result.code, result.err) for result in (*results, afterwards)] == [(0, "")] * 5
    assert "damaged" not in "".join(result.out for result in results)


def test_a_running_server_mends_links_that_are_asked_for(
    tmp_path_factory: pytest.TempPathFactory, moorage: Command
) -> None:
    """A repair beside a server leaves the writing of links to it, and waits for that."""
    with Moorage(tmp_path_factory.mktemp("server"), users={}) as server:
        Client(server).push_image(OTHER, "1", b"layer")
        assert moorage("check", "--data", server.data).code == 0
        shutil.rmtree(server.data / "docker" / "registry" / "v2" / "repositories")

        repaired = moorage("check", "--repair", "--data", server.data)
        again = moorage("check", "--data", server.data)

    assert (repaired.code, again.code) == (0, 0)
    assert repaired.out.count("repaired  the link file of") == 4
