"""Coming back to a tree that others may have changed: who is right about what."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import asyncpg
from sqlalchemy import select

from moorage.app import Application
from moorage.metadata.database import Statement
from moorage.metadata.schema import tag_history
from moorage.oci.digest import Digest
from moorage.oci.name import parse_name
from moorage.oci.reference import parse_tag
from moorage.registry.adopt.findings import Fault
from moorage.registry.delete import Delete
from moorage.registry.gates import Gates
from moorage.storage.tree_facts import Flaw
from tests.adopt.foreign import digest_of
from tests.adopt.volume import Adopted
from tests.content import encode, image
from tests.volumes import push

LAYER = b"layer " * 100
NAME = parse_name("team/app")
OTHER = parse_name("team/other")
# Whole seconds: some file systems keep no others, and the comparison allows for them.
APART = 1.1
HISTORY = Statement(lambda insert: select(tag_history.c.digest, tag_history.c.principal).order_by(tag_history.c.id))


def body_of(text: bytes) -> bytes:
    """The manifest of an image with one layer of its own."""
    return encode(image(b"{}", LAYER, text))


def push_here(volume: Adopted, tag: str, text: bytes) -> str:
    """Push an image to Moorage, whose links are not written yet; its digest."""

    async def work(application: Application) -> None:
        await push(application, NAME, tag, b"{}", LAYER, text, body_of(text))

    volume.run(work)
    return digest_of(body_of(text))


def delete_here(volume: Adopted, reference: str) -> None:
    """Delete a tag, or a manifest by its digest, without the links being written."""

    async def work(application: Application) -> None:
        delete = Delete(application.database, application.clock, Gates())
        if ":" in reference:
            await delete.manifest(NAME, Digest.parse(reference), "cli:test")
        else:
            await delete.tag(NAME, parse_tag(reference), "cli:test")

    volume.run(work)


def execute(volume: Adopted, *statements: str) -> None:
    """Run SQL as an administrator would."""

    async def on_server(url: str) -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    if volume.database is not None:
        asyncio.run(on_server(volume.database))
        return
    with closing(sqlite3.connect(volume.data / "moorage" / "moorage.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def leave(volume: Adopted) -> None:
    """Stop cleanly: what was pushed is in the tree, and we know that it was ours until now."""
    volume.adopt()
    time.sleep(APART)


def age(folder: Path) -> None:
    """Give everything in the folder times from before we came, as a restored backup has them."""
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)


def test_everything_is_taken_over_once(volume: Adopted) -> None:
    """After the first adoption, another finds nothing to do."""
    digest = volume.image(NAME, "1", LAYER)
    volume.image(OTHER, "1", LAYER)

    first, second = volume.adopt(), volume.adopt()

    assert (first.added.repositories, first.added.tags, first.added.manifests, first.added.blobs) == (2, 2, 2, 4)
    assert (second.changes, second.rewritten, second.findings) == (0, 0, [])
    assert volume.tags(NAME) == {"1": digest}


def test_what_was_deleted_here_does_not_come_back(volume: Adopted) -> None:
    """A tag and a manifest whose links are still in the tree, since we were killed, stay deleted."""
    digest = volume.image(NAME, "1", LAYER)
    gone = volume.image(NAME, "gone", b"another")
    leave(volume)
    delete_here(volume, "1")
    delete_here(volume, gone)

    report = volume.adopt()

    assert report.added.total == 0
    assert volume.tags(NAME) == {}
    assert not os.path.exists(volume.tag_path(NAME, "1"))
    assert os.path.exists(volume.link_path(NAME, "_manifests/revisions", digest))
    assert not os.path.exists(volume.link_path(NAME, "_manifests/revisions", gone))


def test_a_deletion_is_remembered_without_the_outbox(volume: Adopted) -> None:
    """A tag's link that is older than its deletion here is removed from the tree, and does not come back."""
    volume.image(NAME, "1", LAYER)
    leave(volume)
    shutil.copytree(volume.tree, volume.data / "copy", copy_function=shutil.copy2)
    delete_here(volume, "1")
    volume.write_links()
    shutil.rmtree(volume.tree)
    shutil.move(volume.data / "copy", volume.tree)

    report = volume.adopt()

    assert (report.added.tags, report.rewritten) == (0, 1)
    assert volume.tags(NAME) == {}
    assert not os.path.exists(volume.tag_path(NAME, "1"))


def test_what_was_pushed_here_stays(volume: Adopted) -> None:
    """An image whose links were not written before we were killed is there, and then its links are too."""
    volume.image(NAME, "1", LAYER)
    leave(volume)
    digest = push_here(volume, "2", b"mine")
    moved = push_here(volume, "1", b"newer")

    report = volume.adopt()

    assert report.changes == 0
    assert volume.tags(NAME) == {"1": moved, "2": digest}
    assert Path(volume.tag_path(NAME, "1")).read_text() == moved


def test_a_push_here_wins_over_a_push_there(volume: Adopted) -> None:
    """Where we were killed before our link was written, and another registry moved the tag, ours was acknowledged."""
    volume.image(NAME, "1", LAYER)
    leave(volume)
    mine = push_here(volume, "1", b"mine")
    volume.image(NAME, "1", b"theirs")

    volume.adopt()

    assert volume.tags(NAME) == {"1": mine}
    assert Path(volume.tag_path(NAME, "1")).read_text() == mine


def test_what_was_pushed_there_is_taken_over(volume: Adopted) -> None:
    """A new tag, a moved one, and a new repository are ours too."""
    first = volume.image(NAME, "1", LAYER)
    volume.image(NAME, "latest", LAYER)
    leave(volume)
    second = volume.image(NAME, "2", b"theirs")
    volume.tag(NAME, "latest", second)
    volume.image(OTHER, "1", LAYER)

    report = volume.adopt()

    assert (report.added.tags, report.moved, report.added.repositories) == (2, 1, 1)
    assert volume.tags(NAME) == {"1": first, "2": second, "latest": second}


def test_what_was_deleted_there_is_deleted(volume: Adopted) -> None:
    """A tag whose folder was removed, a manifest without its link, and a repository that an administrator removed."""
    volume.image(NAME, "1", LAYER)
    digest = volume.image(NAME, "2", b"second")
    volume.image(NAME, "3", b"third")
    volume.image(OTHER, "1", LAYER)
    leave(volume)
    shutil.rmtree(os.path.dirname(os.path.dirname(volume.tag_path(NAME, "1"))))
    os.unlink(volume.link_path(NAME, "_manifests/revisions", digest))
    shutil.rmtree(volume.tree / "repositories" / OTHER)

    report = volume.adopt()

    assert (report.removed.tags, report.removed.manifests, report.rewritten) == (2, 2, 0)
    assert volume.tags(NAME).keys() == {"3"}
    assert volume.tags(OTHER) == {}


def test_a_restored_tree_loses_nothing(volume: Adopted) -> None:
    """Links that are lost and not removed, as in a tree from an older backup, are written again."""
    digest = volume.image(NAME, "1", LAYER)
    volume.adopt()
    shutil.copytree(volume.tree, volume.data / "backup", copy_function=shutil.copy2)
    later = push_here(volume, "2", b"later")
    moved = push_here(volume, "1", b"moved")
    leave(volume)
    shutil.rmtree(volume.tree / "repositories")
    shutil.copytree(volume.data / "backup/repositories", volume.tree / "repositories", copy_function=shutil.copy2)
    age(volume.tree / "repositories")

    report = volume.adopt(thorough=True)

    assert (report.changes, report.rewritten) == (0, 6)
    assert volume.tags(NAME) == {"1": moved, "2": later}
    assert Path(volume.tag_path(NAME, "2")).read_text() == later
    assert Path(volume.tag_path(NAME, "1")).read_text() == moved != digest


def test_an_unmounted_tree_changes_nothing(volume: Adopted) -> None:
    """Where there is not one repository, nobody believes that all were deleted."""
    digest = volume.image(NAME, "1", LAYER)
    leave(volume)
    shutil.rmtree(volume.tree / "repositories")

    report = volume.adopt()

    assert report.counts[Fault.TREE_EMPTY] == 1
    assert volume.tags(NAME) == {"1": digest}


def test_a_closed_folder_deletes_nothing(volume: Adopted) -> None:
    """What cannot be seen, since a symbolic link stands in its place, is kept as it was."""
    digest = volume.image(NAME, "1", LAYER)
    volume.image(OTHER, "1", LAYER)
    leave(volume)
    folder = volume.tree / "repositories" / NAME / "_manifests"
    shutil.move(folder, volume.data / "moved")
    os.symlink(volume.data / "moved", folder)

    report = volume.adopt()

    assert report.counts[Flaw.SYMLINK] == 1
    assert (report.changes, report.rewritten) == (0, 0)
    assert volume.tags(NAME) == {"1": digest}


def test_garbage_that_was_collected_there(volume: Adopted) -> None:
    """A blob whose file another registry has removed is asked for again, and one that a disk has lost is not."""
    volume.layer(NAME, b"collected")
    volume.layer(NAME, b"lost")
    leave(volume)
    for data in (b"collected", b"lost"):
        shutil.rmtree(os.path.dirname(volume.blob_path(digest_of(data))))
    age(Path(volume.blob_path(digest_of(b"lost"))).parent.parent)

    report = volume.adopt()

    assert report.lost == 1
    assert report.counts[Fault.BLOB_MISSING] == 1


def test_a_lost_database_is_made_anew(volume: Adopted, tmp_path: Path) -> None:
    """From the tree alone come all repositories, tags, what they named, and referrers."""
    push_here(volume, "1", b"first")
    latest = push_here(volume, "1", b"second")
    volume.adopt()
    again = Adopted(volume.data, f"sqlite:///{tmp_path}/another.db")

    report = again.adopt()

    assert (report.added.tags, report.added.manifests) == (1, 2)
    assert again.tags(NAME) == {"1": latest}
    assert again.repositories() == [NAME]


def test_a_tags_history_is_kept(volume: Adopted) -> None:
    """What a tag has named there is in its history here, in order."""
    digests = [volume.image(NAME, "1", b"%d" % number) for number in range(3)]
    for number, digest in enumerate([*digests, digests[0]]):
        path = volume.link_path(NAME, "_manifests/tags/1/index", digest)
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
    volume.tag(NAME, "1", digests[0])

    volume.adopt()

    async def work(application: Application) -> list[tuple[bytes, str]]:
        return [(row[0], row[1]) for row in await application.database.rows(HISTORY, {})]

    keys = [Digest.parse(digest).key for digest in (digests[1], digests[2], digests[0])]
    assert volume.run(work) == [(key, "volume:adopted") for key in keys]


def test_uploads_and_referrers_tags_are_counted(volume: Adopted) -> None:
    """Interrupted uploads stay where they are; a tag of the referrers tag schema is a tag."""
    digest = volume.image(NAME, "1", LAYER)
    volume.tag(NAME, digest.replace(":", "-"), digest)
    volume.upload(NAME, "0b4a0ac0-0000-4000-8000-000000000000", b"half of it")
    volume.upload("only/uploads", "0b4a0ac0-0000-4000-8000-000000000001", b"")

    report = volume.adopt()

    assert (report.uploads, report.upload_bytes, report.referrers_tags) == (2, 10, 1)
    assert len(volume.tags(NAME)) == 2
    assert volume.repositories() == [NAME]


def test_we_say_until_when_the_tree_was_ours(volume: Adopted) -> None:
    """Each batch of links that we write moves that time on, and a comparison by another process does too."""
    volume.image(NAME, "1", LAYER)
    volume.adopt()
    first = volume.seen()

    volume.adopt()

    assert volume.seen() > first


def test_a_database_of_the_version_before_knows_its_tree(volume: Adopted) -> None:
    """One that has served already believes itself more than a tree that seems older, and adopts what it lacks."""
    digest = push_here(volume, "1", b"mine")
    volume.write_links()
    older = ("DROP TABLE link_tree", "DROP TABLE unadopted", "UPDATE schema_version SET version_num = '0001'")
    execute(volume, *older)
    age(volume.tree)
    volume.image(OTHER, "1", LAYER)

    report = volume.adopt()

    assert (report.added.repositories, report.removed.total, report.rewritten) == (1, 0, 0)
    assert volume.tags(NAME) == {"1": digest}
