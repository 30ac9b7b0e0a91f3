from __future__ import annotations

import getpass
import json
import re
from pathlib import Path

import pytest

from moorage.oci.digest import Digest
from tests.cli.conftest import Command
from tests.cli.terminal import Terminal
from tests.content import INDEX, MANIFEST, Client
from tests.servers import COMMAND, Moorage
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
    write_links,
)

WHOLE_IMAGE = len(CONFIG) + len(LAYER) + len(SHARED) + len(IMAGE)


def tags(volume: Volume) -> list[str]:
    """All tags there are."""
    return [row[0] for row in volume.sql("SELECT name FROM tags ORDER BY name")]


def test_repositories_are_listed(volume: Volume, moorage: Command) -> None:
    """By name, with the number of their tags and the size of their blobs, each counted once."""
    rows = [line.split() for line in moorage("ls").out.splitlines()]

    assert rows[0] == ["REPOSITORY", "TAGS", "SIZE", "PUSHED", "(UTC)"]
    assert [row[:4] for row in rows[1:]] == [["other", "1", "4.9", "KiB"], ["tools/demo", "3", "297.9", "KiB"]]


def test_tags_are_listed(volume: Volume, moorage: Command) -> None:
    """By name, with what each names: its kind, its size with all that is below it, and its whole digest."""
    lines = moorage("ls", "tools/demo").out.splitlines()

    rows = [re.split(r" {2,}", line) for line in lines]
    assert rows[0] == ["TAG", "TYPE", "SIZE", "PUSHED (UTC)", "DIGEST"]
    assert [(row[0], row[1], row[4]) for row in rows[1:]] == [
        ("1", "OCI image", str(IMAGE_DIGEST)),
        ("latest", "OCI image", str(IMAGE_DIGEST)),
        ("multi", "OCI index", str(Digest.of(MULTI))),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", row[3]) for row in rows[1:])


def test_lists_for_programs_are_exact(volume: Volume, moorage: Command) -> None:
    """--json has bytes, media types and times as they are; an index counts what it names, and a shared layer once."""
    repositories, listed = json.loads(moorage("ls", "--json").out), json.loads(moorage("ls", DEMO, "--json").out)

    assert [(one["name"], one["tags"], one["size"]) for one in repositories] == [
        (OTHER, 1, 2 + len(SHARED)),
        (DEMO, 3, len(CONFIG) + len(LAYER) + len(SHARED) + 2),
    ]
    assert [(one["tag"], one["mediaType"], one["size"], one["digest"]) for one in listed] == [
        ("1", MANIFEST, WHOLE_IMAGE, str(IMAGE_DIGEST)),
        ("latest", MANIFEST, WHOLE_IMAGE, str(IMAGE_DIGEST)),
        ("multi", INDEX, WHOLE_IMAGE + len(MULTI), str(Digest.of(MULTI))),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", one["pushed"]) for one in listed)


def test_an_empty_registry_is_an_empty_list(volume: Volume, moorage: Command) -> None:
    """Nothing is an answer, too."""
    for table in ("tags", "tag_history", "manifests", "repository_blobs", "repositories"):
        volume.sql(f"DELETE FROM {table}")

    assert moorage("ls", "--json") == (0, "[]\n", "")
    assert moorage("ls").code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ls", "nothing"], "there is no repository nothing"),
        (["ls", "tools/demo:1"], "a repository has no tag: tools/demo"),
        (["ls", "127.0.0.1:5000/tools/demo"], "leave the registry's address away: tools/demo"),
        (["ls", "../x"], "invalid repository name"),
        (["rm", "--yes", "tools/demo"], "tools/demo:TAG"),
        (["rm", "--yes", "tools/demo:"], "invalid tag"),
        (["rm", "--yes", "tools/demo:2"], "there is no tools/demo:2"),
        (["rm", "--yes", "nothing:1"], "there is no nothing:1"),
        (["rm", "--yes", "127.0.0.1:5000/tools/demo:1"], "leave the registry's address away: tools/demo"),
        (["rm", "--yes", "127.0.0.1:5000/tools/demo"], "say which tag or digest"),
        (["rm", "--yes", "tools/demo@sha256:12"], "not a sha256 or sha512 digest"),
        (["rm", "--yes", f"other@{IMAGE_DIGEST}"], f"there is no manifest {IMAGE_DIGEST} in other"),
        (["rm", "--yes", f"tools/demo@{Digest.of(LAYER)}"], "is a blob of tools/demo"),
        (["rm", "tools/demo:1"], "--yes"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(volume: Volume, moorage: Command, words: list[str], says: str) -> None:
    """What is not there, not meant or not confirmed: exit code 6, and nothing is removed."""
    before = tags(volume)

    result = moorage(*words)

    assert (result.code, result.out, tags(volume)) == (6, "", before)
    assert says in result.err


def test_a_tag_goes_alone(volume: Volume, moorage: Command) -> None:
    """rm REPOSITORY:TAG keeps what the tag names, and notes who did it."""
    result = moorage("rm", "--yes", "tools/demo:latest")

    assert (result.code, result.err) == (0, f"removed the tag tools/demo:latest, which names {IMAGE_DIGEST}\n")
    assert tags(volume) == ["1", "1", "multi"]
    assert volume.sql("SELECT count(*) FROM manifests") == [(4,)]
    assert volume.sql("SELECT name, digest, principal FROM tag_history ORDER BY id DESC LIMIT 1") == [
        ("latest", None, f"cli:{getpass.getuser()}")
    ]


def test_a_manifest_goes_with_its_tags(volume: Volume, moorage: Command) -> None:
    """rm REPOSITORY@DIGEST removes the manifest and every tag of it; the link tree follows."""
    result = moorage("rm", "--yes", f"tools/demo@{IMAGE_DIGEST}")
    volume.run(write_links)

    assert result.code == 0
    assert tags(volume) == ["1", "multi"]
    assert not volume.link(DEMO, "_manifests/revisions", IMAGE).exists()
    assert not volume.tag(DEMO, "latest").exists()
    assert volume.tag(OTHER, "1").read_text() == str(Digest.of(OTHER_IMAGE))


@pytest.mark.parametrize(
    ("answer", "code", "left"), [("y\n", 0, ["1", "multi"]), ("n\n", 6, ["1", "1", "latest", "multi"])]
)
def test_a_removal_is_confirmed(volume: Volume, answer: str, code: int, left: list[str]) -> None:
    """On a terminal everything that goes is shown, tags and broken indexes too, and only a yes removes it."""
    with Terminal([COMMAND, "rm", f"tools/demo@{IMAGE_DIGEST}", "--data", volume.data], volume.data) as terminal:
        asked = terminal.wait_for("[y/N]")
        terminal.enter(answer)
        ended = terminal.end()

    assert (ended, tags(volume)) == (code, left)
    for shown in (str(IMAGE_DIGEST), "its tag 1", "its tag latest", f"the index {Digest.of(MULTI)}"):
        assert shown in asked
    assert str(Digest.of(SIGNATURE)) not in asked


def test_the_operator_may_delete_where_clients_may_not(volume: Volume, moorage: Command) -> None:
    """Settings that keep clients from deleting do not bind whoever has the machine."""
    Path("moorage.yml").write_text("storage:\n  delete_enabled: false\n  read_only: true\n")

    assert moorage("rm", "--yes", "tools/demo:1").code == 0


def test_what_is_removed_is_gone_from_a_running_server(tmp_path: Path, moorage: Command) -> None:
    """The next request does not find it, and the link tree follows by itself."""
    with Moorage(tmp_path / "server", users={}) as server:
        client = Client(server)
        client.push_image("app", "1", b"layer")
        before = client.ask("GET", "/v2/app/manifests/1").status

        removed = moorage("rm", "--yes", "app:1", "--data", server.data)

        after = client.ask("GET", "/v2/app/manifests/1").status
        server.stop()
        repositories = server.data / "docker" / "registry" / "v2" / "repositories"

    assert (before, removed.code, after) == (200, 0, 404)
    assert not (repositories / "app" / "_manifests" / "tags" / "1").exists()
