"""Volumes that years, crashes and administrators have left: each flaw is told, and everything else is taken over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from moorage.registry.adopt.findings import ACTIONS, Fault
from moorage.storage.tree_facts import Flaw
from tests.adopt.foreign import Foreign, digest_of
from tests.adopt.volume import Adopted
from tests.content import INDEX, encode, image, index
from tests.servers import COMMAND

LAYER = b"layer " * 1000
WHOLE = encode(image(b"{}", LAYER))


@pytest.fixture
def volume(tmp_path: Path) -> Adopted:
    """A volume with an image that nothing happens to."""
    volume = Adopted(tmp_path / "data")
    volume.image("sound", "1", LAYER)
    return volume


def only(name: str) -> bytes:
    """A layer that no other repository has."""
    return f"only in {name}".encode()


def empty_link(volume: Foreign, name: str = "hurt") -> None:
    """A crash before 2.8.3 left a link file without its bytes."""
    volume.image(name, "1", LAYER)
    Path(volume.link_path(name, "_layers", digest_of(LAYER))).write_bytes(b"")


def garbage_in_link(volume: Foreign, name: str = "hurt") -> None:
    """A link file with something else in it."""
    volume.image(name, "1", LAYER)
    Path(volume.link_path(name, "_manifests/revisions", digest_of(WHOLE))).write_bytes(b"\0\xff no digest")


def other_digest_in_link(volume: Foreign, name: str = "hurt") -> None:
    """A link file that names another blob than its folder does."""
    volume.image(name, "1", LAYER)
    Path(volume.link_path(name, "_layers", digest_of(LAYER))).write_text(digest_of(b"{}"))


def missing_blob(volume: Foreign, name: str = "hurt") -> None:
    """A layer whose bytes are gone."""
    volume.image(name, "1", only(name))
    shutil.rmtree(os.path.dirname(volume.blob_path(digest_of(only(name)))))


def missing_body(volume: Foreign, name: str = "hurt") -> None:
    """A manifest whose bytes are gone."""
    digest = volume.image(name, "1", only(name))
    os.unlink(volume.blob_path(digest))


def spoilt_body(volume: Foreign, name: str = "hurt") -> None:
    """A manifest whose bytes are not what its digest says."""
    digest = volume.image(name, "1", only(name))
    Path(volume.blob_path(digest)).write_bytes(b"{}")


def empty_body(volume: Foreign, name: str = "hurt") -> None:
    """A manifest whose file is empty, as a power cut leaves it."""
    digest = volume.image(name, "1", only(name))
    Path(volume.blob_path(digest)).write_bytes(b"")


def tag_without_current(volume: Foreign, name: str = "hurt") -> None:
    """A tag that has only its history."""
    volume.image(name, "1", LAYER)
    shutil.rmtree(os.path.dirname(volume.tag_path(name, "1")))


def tag_of_nothing(volume: Foreign, name: str = "hurt") -> None:
    """A tag of a manifest that was deleted."""
    digest = volume.image(name, "1", LAYER)
    os.unlink(volume.link_path(name, "_manifests/revisions", digest))


def empty_tag(volume: Foreign, name: str = "hurt") -> None:
    """A tag whose link file is empty."""
    volume.image(name, "1", LAYER)
    Path(volume.tag_path(name, "1")).write_bytes(b"")


def forbidden_name(volume: Foreign, name: str = "hurt") -> None:
    """A folder that was copied there by hand, with a name that no repository can have."""
    volume.image(f"{name}/App", "1", LAYER)


def forbidden_tag(volume: Foreign, name: str = "hurt") -> None:
    """A tag that no client could name."""
    volume.tag("sound", "-not a tag", digest_of(WHOLE))


def folder_linked_out(volume: Foreign, name: str = "hurt") -> None:
    """A repository that is a symbolic link out of the volume."""
    elsewhere = Foreign(volume.data.with_name(f"{name}-elsewhere"))
    elsewhere.image(name, "1", LAYER)
    os.symlink(elsewhere.tree / f"repositories/{name}", volume.tree / f"repositories/{name}")


def blob_linked_out(volume: Foreign, name: str = "hurt") -> None:
    """A layer that was moved to a larger disk, with a symbolic link in its place."""
    volume.image(name, "1", only(name))
    path = volume.blob_path(digest_of(only(name)))
    shutil.move(path, volume.data.with_name(f"{name}-moved"))
    os.symlink(volume.data.with_name(f"{name}-moved"), path)


def schema1(volume: Foreign, name: str = "hurt") -> None:
    """An image from before 2016."""
    body = encode({"schemaVersion": 1, "name": name, "tag": "1", "fsLayers": [{"blobSum": digest_of(LAYER)}]})
    volume.layer(name, LAYER)
    volume.tag(name, "1", volume.revision(name, body))


def not_a_manifest(volume: Foreign, name: str = "hurt") -> None:
    """A manifest that is an image to one client and an index to another."""
    body = encode({**image(b"{}", LAYER), "manifests": []})
    volume.tag(name, "1", volume.revision(name, body))


def wrong_size(volume: Foreign, name: str = "hurt") -> None:
    """A layer's file that was cut off."""
    volume.image(name, "1", only(name))
    Path(volume.blob_path(digest_of(only(name)))).write_bytes(b"cut")


def child_missing(volume: Foreign, name: str = "hurt") -> None:
    """An index whose child was collected as garbage, as registry:2 does with --delete-untagged."""
    body = encode(index({"mediaType": INDEX, "digest": digest_of(b"gone"), "size": 4}))
    volume.tag(name, "1", volume.revision(name, body))


TAKEN = {"1": digest_of(WHOLE)}
Damage = Callable[..., None]
DAMAGE: list[tuple[Damage, Flaw | Fault, bool]] = [
    (empty_link, Flaw.LINK_EMPTY, True),
    (garbage_in_link, Flaw.LINK_GARBAGE, True),
    (other_digest_in_link, Flaw.LINK_OTHER, True),
    (missing_blob, Fault.CONTENT_MISSING, True),
    (missing_body, Fault.BODY_MISSING, False),
    (spoilt_body, Fault.BODY_DAMAGED, False),
    (empty_body, Fault.BODY_DAMAGED, False),
    (tag_without_current, Flaw.TAG_WITHOUT_CURRENT, False),
    (tag_of_nothing, Fault.TAG_DANGLING, False),
    (empty_tag, Flaw.TAG_WITHOUT_CURRENT, False),
    (forbidden_name, Flaw.NAME, False),
    (forbidden_tag, Flaw.TAG_NAME, False),
    (folder_linked_out, Flaw.SYMLINK, False),
    (blob_linked_out, Fault.SYMLINKED, True),
    (schema1, Fault.SCHEMA1, False),
    (not_a_manifest, Fault.MANIFEST_INVALID, False),
    (wrong_size, Fault.CONTENT_SIZE, True),
    (child_missing, Fault.CONTENT_MISSING, True),
]


def _files(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize(("damage", "what", "tagged"), DAMAGE, ids=lambda value: getattr(value, "__name__", None))
def test_damage_is_told_and_the_rest_taken_over(
    volume: Adopted,
    damage: Damage,
    what: Flaw | Fault,
    tagged: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Each flaw is found and named, an image beside it is served, and no file of the volume is touched."""
    damage(volume)
    before = _files(volume.tree)

    report = volume.adopt(thorough=True)

    assert report.counts[what], report.findings
    assert volume.tags("sound") == TAKEN
    hurt = volume.tags("hurt") if "hurt" in volume.repositories() else {}
    assert ("1" in hurt) is tagged
    assert _files(volume.tree) == before


@pytest.mark.parametrize("damage", [row[0] for row in DAMAGE], ids=lambda damage: damage.__name__)
def test_damage_does_no_more_harm_the_second_time(volume: Adopted, damage: Damage) -> None:
    """What was taken over once is kept when the tree is compared again, broken as it is."""
    damage(volume)
    volume.adopt()

    again = volume.adopt()

    assert again.changes == 0
    assert again.rewritten == 0


def test_every_flaw_has_its_remedy() -> None:
    """For each kind of thing that is found somebody is told what becomes of it."""
    assert ACTIONS.keys() == {*Flaw, *Fault}


def test_all_blobs_are_read_where_that_is_asked_for(volume: Adopted) -> None:
    """A blob of the right size with wrong bytes is found with --verify, and then not taken over."""
    volume.image("hurt", "1", b"only here")
    Path(volume.blob_path(digest_of(b"only here"))).write_bytes(b"ONLY HERE")

    report = volume.adopt(verify=True)

    assert report.counts[Fault.BLOB_DAMAGED] == 1
    assert report.counts[Fault.CONTENT_MISSING] == 1


def test_a_blob_file_that_cannot_be_read(volume: Adopted, tmp_path: Path) -> None:
    """A folder in a blob file's place is a blob that is missing."""
    digest = volume.layer("hurt", b"only here")
    os.unlink(volume.blob_path(digest))
    os.mkdir(volume.blob_path(digest))

    report = volume.adopt()

    assert report.counts[Fault.BLOB_MISSING] == 1


def test_a_dry_run_writes_nothing(volume: Adopted) -> None:
    """`moorage adopt --dry-run` on ten kinds of damage tells of each, and leaves not one new file."""
    for number, (damage, _, _) in enumerate(DAMAGE):
        damage(volume, f"hurt{number}")
    before = _files(volume.data)

    done = subprocess.run(
        [COMMAND, "adopt", "--dry-run", "--json", volume.data], check=False, capture_output=True, text=True, timeout=60
    )

    told = json.loads(done.stdout)
    found = {finding["kind"] for finding in told["findings"]}
    assert done.returncode == 5, done.stderr
    assert found == {what.name.lower() for _, what, _ in DAMAGE} | {"tag_dangling", "blob_missing"}
    assert all(finding["action"] for finding in told["findings"])
    assert (told["done"], told["tags"] > 0, told["blobs"] > 0) == (False, True, True)
    assert _files(volume.data) == before
